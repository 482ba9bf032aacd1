"""Another VAE than the base's: one file under either names, a folder, the one inside a model; in float32 always."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from lora_lab.failure import Failure
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.base_files.vae import load_vae
from lora_lab.train.families.sd1 import SD1

State = dict[str, torch.Tensor]


@pytest.fixture
def other(whole_bases: Mapping[str, Path]) -> Path:
    """The folder of a VAE."""
    return whole_bases["sd2"] / "vae"


def forms(other: Path, original: State, originals: Mapping[str, State], folder: Path) -> dict[str, Path]:
    """The same VAE in every form that people have."""
    named = safetensors.torch.load_file(other / "diffusion_pytorch_model.safetensors")
    training = {**original, "loss.logvar": torch.zeros(()), "model_ema.decay": torch.ones(())}
    safetensors.torch.save_file({k: v.contiguous() for k, v in original.items()}, folder / "ldm.safetensors")
    torch.save({"state_dict": training, "epoch": 1}, folder / "ldm.vae.pt")
    safetensors.torch.save_file(named, folder / "diffusers.safetensors")
    torch.save(named, folder / "diffusers.bin")
    whole = {k: v.contiguous() for k, v in originals["sd2"].items()}
    safetensors.torch.save_file(whole, folder / "model.safetensors")
    names = ("ldm.safetensors", "ldm.vae.pt", "diffusers.safetensors", "diffusers.bin", "model.safetensors")
    return {"folder": other, "model folder": other.parent, **{name: folder / name for name in names}}


def test_every_form_is_the_same_vae(
    other: Path,
    vae_state: Callable[[Path], State],
    originals: Mapping[str, State],
    whole_bases: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """A VAE gives the same float32 weights as a folder, inside a model, and as a file under old or new names."""
    wanted = safetensors.torch.load_file(other / "diffusion_pytorch_model.safetensors")
    for name, path in forms(other, vae_state(other), originals, tmp_path).items():
        found = load_vae(path, whole_bases["sd1"]).state_dict()
        assert found.keys() == wanted.keys(), name
        assert all(torch.equal(found[key], wanted[key]) for key in wanted), name


def test_a_file_replaces_the_bases_own(
    other: Path, vae_state: Callable[[Path], State], whole_bases: Mapping[str, Path], tmp_path: Path
) -> None:
    """With `vae` a file, pictures are encoded by it, and the hashes name it; U-Net and hash of the base stay."""
    file = tmp_path / "half.safetensors"
    safetensors.torch.save_file({k: v.half().contiguous() for k, v in vae_state(other).items()}, file)
    kind = SD1(layout=whole_bases["sd1"])
    plain, changed = (
        kind.load(Asked(whole_bases["sd1"])),
        kind.load(Asked(whole_bases["sd1"], vae=file, precision="bf16")),
    )
    assert (changed.hash, changed.vae_hash == plain.vae_hash) == (plain.hash, False)
    vae: Any = changed.vae
    assert {p.dtype for p in vae.parameters()} == {torch.float32}
    picture = torch.rand(1, 3, 64, 64)
    theirs: Any = load_vae(other, whole_bases["sd1"])
    with torch.no_grad():
        got, wanted = vae.encode(picture).latent_dist.mean, theirs.encode(picture).latent_dist.mean
    torch.testing.assert_close(got, wanted, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("state", [{"unet.x": torch.zeros(1)}, {"encoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}])
def test_what_is_no_such_vae(state: State, whole_bases: Mapping[str, Path], tmp_path: Path) -> None:
    """A file without a VAE, or with one of another shape, is refused in one line that names it."""
    file = tmp_path / "odd.safetensors"
    safetensors.torch.save_file(state, file)
    with pytest.raises(
        Failure, match=r"odd\.safetensors (holds no VAE|has encoder.conv_in.weight of its Autoenc)"
    ) as why:
        load_vae(file, whole_bases["sd1"])
    assert "\n" not in str(why.value)
