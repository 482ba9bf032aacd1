"""Bases in one file: the same model as the folder that it was made from, and never code."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from lora_lab.failure import Failure
from lora_lab.train.base_files import single_file
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.families.base import Base
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.families.sd2 import SD2
from lora_lab.train.families.sdxl import SDXL
from lora_lab.train.families.stable_diffusion import StableDiffusion

State = dict[str, torch.Tensor]
FAMILIES: dict[str, type[StableDiffusion]] = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without network and with an empty hub cache: not even a name is looked up."""

    def refuse(*args: Any, **named: Any) -> None:
        raise AssertionError(f"a name was looked up: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))


def save(state: Any, path: Path) -> Path:
    """Write a file in the format of its ending; a .ckpt as its trainer did, with the tensors under `state_dict`."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save({"state_dict": state, "epoch": 3, "global_step": 470000}, path)
    return path


def family(name: str, folders: Mapping[str, Path]) -> StableDiffusion:
    """The family whose single files are read by the small model's configs."""
    return FAMILIES[name](layout=folders[name])


def parts_of(base: Base) -> list[torch.nn.Module]:
    """The models of a base."""
    return [base.unet, *base.text_encoders, base.vae]


def answers(name: str, base: Base) -> dict[str, torch.Tensor]:
    """What every part of a base says: to a caption of two chunks, to noise, to a picture."""
    kind = FAMILIES[name]()
    draws = torch.Generator().manual_seed(0)
    noisy, picture = torch.randn(1, 4, 8, 8, generator=draws), torch.rand(1, 3, 64, 64, generator=draws)
    vae: Any = base.vae
    with torch.no_grad():
        ids = kind.tokenize(base, "lumi, a red circle " * 20, 150)[None]
        text = kind.encode(base, ids, 1)
        said = kind.predict(base, noisy, torch.tensor([500]), text)
        latents = vae.encode(picture).latent_dist.mean
        return {"text": text.states, "said": said, "latents": latents, "picture": vae.decode(latents).sample}


def test_originals_are_like_published_files(originals: Mapping[str, State]) -> None:
    """The made-up files have as many U-Net and VAE tensors as SD 1.5's and SD 2.1's: no layer is left untested."""
    for state in originals.values():
        counts = [sum(name.startswith(start) for name in state) for start in ("model.diffusion", "first_stage_model")]
        assert counts == [686, 248]


@pytest.mark.parametrize("name", ["sd1", "sd2"])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_same_as_the_folder(
    originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path, name: str, ending: str
) -> None:
    """A single file gives, part by part, exactly the tensors of the folder it was made from, so the same answers."""
    file = save(originals[name], tmp_path / f"model.{ending}")
    single = family(name, whole_bases).load(Asked(file, v_prediction=name == "sd2"))
    folder = FAMILIES[name]().load(Asked(whole_bases[name]))
    pairs = zip(parts_of(single), parts_of(folder), strict=True)
    for mine, theirs in ((one.state_dict(), other.state_dict()) for one, other in pairs):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    wanted = answers(name, folder)
    for key, value in answers(name, single).items():
        torch.testing.assert_close(value, wanted[key], rtol=1e-5, atol=1e-5)  # equal weights; kernels round by address
    assert (single.prediction_type, single.scaling_factor) == (folder.prediction_type, folder.scaling_factor)
    assert torch.equal(single.alphas_cumprod, folder.alphas_cumprod)


def test_prediction_is_the_configs_where_the_file_is_silent(
    originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path
) -> None:
    """A file says nothing of what it predicts, so the config's word counts; modelspec's word is stronger."""
    silent = save(originals["sd1"], tmp_path / "silent.safetensors")
    kind = family("sd1", whole_bases)
    assert kind.load(Asked(silent)).prediction_type == "epsilon"
    assert kind.load(Asked(silent, v_prediction=True)).prediction_type == "v_prediction"
    telling = tmp_path / "telling.safetensors"
    about = {"modelspec.prediction_type": "v"}
    safetensors.torch.save_file({k: v.contiguous() for k, v in originals["sd1"].items()}, telling, metadata=about)
    assert kind.load(Asked(telling)).prediction_type == "v_prediction"


def test_names_from_before_transformers_4_4(
    originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path
) -> None:
    """Older files lack `text_model.` in the text encoder's names."""
    state = {name.replace("transformer.text_model.", "transformer."): t for name, t in originals["sd1"].items()}
    assert state.keys() != originals["sd1"].keys()
    base = family("sd1", whole_bases).load(Asked(save(state, tmp_path / "old.safetensors")))
    wanted = SD1().load(Asked(whole_bases["sd1"])).text_encoders[0].state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in base.text_encoders[0].state_dict().items())


def test_half_precision_files(originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path) -> None:
    """A file in fp16 loads into the precision of training; the VAE is in float32 whatever it is."""
    file = save({name: tensor.half() for name, tensor in originals["sd2"].items()}, tmp_path / "half.safetensors")
    for precision, dtype in (("no", torch.float32), ("bf16", torch.bfloat16)):
        base = family("sd2", whole_bases).load(Asked(file, precision=precision))
        found = [{p.dtype for p in part.parameters()} for part in (base.unet, *base.text_encoders, base.vae)]
        assert found == [{dtype}, {dtype}, {torch.float32}]


def test_hashes_of_a_file(originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path) -> None:
    """A file's hash is the SHA-256 of its bytes; the old one is of 64 KiB at 1 MiB, as user interfaces compute it."""
    import hashlib

    file = save(originals["sd1"], tmp_path / "model.safetensors")
    base, content = family("sd1", whole_bases).load(Asked(file)), file.read_bytes()
    assert len(content) > 0x110000
    assert base.hash == base.vae_hash == hashlib.sha256(content).hexdigest()
    assert base.old_hash == base.old_vae_hash == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]


class Code:
    """An object whose unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.marker, "executed"))


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("ending", ["ckpt", "pt", "bin"])
def test_code_in_a_pickle_never_runs(
    originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path, new_format: bool, ending: str
) -> None:
    """A checkpoint or VAE that would run code when opened is refused by name, and the code did not run."""
    marker, file = tmp_path / "marker", tmp_path / f"evil.{ending}"
    torch.save({**originals["sd1"], "code": Code(marker)}, file, _use_new_zipfile_serialization=new_format)
    kind = family("sd1", whole_bases)
    for asked in (Asked(file), Asked(whole_bases["sd1"], vae=file)):
        with pytest.raises(Failure, match=r"evil\.\w+ would run getattr when it is opened") as caught:
            kind.load(asked)
        assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_bookkeeping_of_the_trainer_is_passed_over(
    originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints of Lightning name its classes beside the tensors, as SD 1.4's did; nothing of them is imported."""
    import sys
    import types

    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    kind = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = kind  # type: ignore[attr-defined]
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    file = tmp_path / "sd-v1-4.ckpt"
    torch.save({"state_dict": originals["sd1"], "callbacks": {kind: {"best": kind()}}}, file)
    monkeypatch.delitem(sys.modules, module.__name__)
    assert family("sd1", whole_bases).load(Asked(file)).text_layers == 3
    assert module.__name__ not in sys.modules


def without(start: str) -> Callable[[State], State]:
    """A way to break a file: these tensors are missing."""
    return lambda state: {name: tensor for name, tensor in state.items() if not name.startswith(start)}


def inpainting(state: State) -> State:
    """A model for inpainting: its U-Net takes nine channels."""
    name = "model.diffusion_model.input_blocks.0.0.weight"
    return {**state, name: torch.randn(state[name].shape[0], 9, 3, 3)}


BROKEN: dict[str, tuple[Callable[[State], State], str]] = {
    "no U-Net": (without("model.diffusion_model."), "holds no U-Net"),
    "no text encoder": (without("cond_stage_model."), "holds no text encoder"),
    "no VAE": (without("first_stage_model."), "holds no VAE"),
    "a tensor of the U-Net less": (without("model.diffusion_model.out.2.bias"), "no weights for conv_out.bias"),
    "a tensor of the VAE less": (without("first_stage_model.decoder.conv_in.bias"), "no weights for decoder.conv_in"),
    "a tensor of the text encoder less": (
        without("cond_stage_model.transformer.text_model.final_layer_norm.bias"),
        "no weights for .*final_layer_norm.bias",
    ),
    "inpainting": (inpainting, "a model for inpainting: its U-Net takes 9 channels"),
    "a LoRA": (lambda _: {"lora_unet_x.lora_down.weight": torch.zeros(2, 3)}, "is a LoRA, not a whole model"),
}


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize(("break_", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file(
    originals: Mapping[str, State],
    whole_bases: Mapping[str, Path],
    tmp_path: Path,
    break_: Callable[[State], State],
    message: str,
    ending: str,
) -> None:
    """Whatever is wrong with a file, one line says it with the file's path."""
    file = save(break_(originals["sd1"]), tmp_path / f"model.{ending}")
    with pytest.raises(Failure, match=message) as caught:
        family("sd1", whole_bases).load(Asked(file))
    assert str(file) in caught.value.what
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_half_a_file(
    originals: Mapping[str, State], whole_bases: Mapping[str, Path], tmp_path: Path, ending: str
) -> None:
    """A file that ends in the middle is refused in one line."""
    file = save(originals["sd1"], tmp_path / f"model.{ending}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(Failure, match=rf"model\.{ending}") as caught:
        family("sd1", whole_bases).load(Asked(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("said", "found"), [("sd1", "sd2"), ("sd2", "sd1")])
def test_other_family_is_refused_before_it_is_loaded(
    originals: Mapping[str, State],
    whole_bases: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    found: str,
) -> None:
    """A file or folder of the other family is one line about `v2`, and no tensor was read."""
    monkeypatch.setattr(safetensors.torch, "load_file", lambda *args: 1 / 0)
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({k: v.contiguous() for k, v in originals[found].items()}, file)
    for path in (file, whole_bases[found]):
        with pytest.raises(Failure, match="model, the config trains") as caught:
            FAMILIES[said]().load(Asked(path))
        assert caught.value.remedy == f'set "v2": {"true" if found == "sd2" else "false"}'


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_sdxl_same_as_the_folder(original_sdxl: State, whole_xl: Path, tmp_path: Path, ending: str) -> None:
    """SDXL in one file gives, part by part, exactly the tensors of the folder it was made from."""
    single = SDXL(layout=whole_xl).load(Asked(save(original_sdxl, tmp_path / f"model.{ending}")))
    folder = SDXL().load(Asked(whole_xl))
    for one, other in zip(parts_of(single), parts_of(folder), strict=True):
        mine, theirs = one.state_dict(), other.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    ids = [SDXL().tokenize(base, "lumi, a red circle " * 20, 225) for base in (single, folder)]
    assert ids[0].shape == (2, 3, 77)
    assert torch.equal(*ids)
    assert single.scaling_factor == folder.scaling_factor == 0.13025
    assert torch.equal(single.alphas_cumprod, folder.alphas_cumprod)


def test_marks_of_v_prediction_in_an_sdxl_file(original_sdxl: State, whole_xl: Path, tmp_path: Path) -> None:
    """The empty tensor `v_pred`, which NoobAI and its like carry, says what an SDXL file predicts."""
    kind = SDXL(layout=whole_xl)
    assert kind.load(Asked(save(original_sdxl, tmp_path / "plain.safetensors"))).prediction_type == "epsilon"
    marked = {**original_sdxl, "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    file = save(marked, tmp_path / "marked.safetensors")
    assert kind.load(Asked(file)).prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("conditioner.embedders.0.", "holds no text encoder"),
        ("conditioner.embedders.1.", "holds no second text encoder"),
        ("conditioner.embedders.1.model.text_projection", "no weights for text_projection.weight"),
        ("model.diffusion_model.label_emb.0.2.bias", "no weights for label_emb.0.2.bias"),
    ],
)
def test_broken_sdxl_file(original_sdxl: State, whole_xl: Path, tmp_path: Path, start: str, message: str) -> None:
    """Whatever an SDXL file lacks is said in one line."""
    with pytest.raises(Failure, match=message) as caught:
        SDXL(layout=whole_xl).load(Asked(save(without(start)(original_sdxl), tmp_path / "xl.safetensors")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_sdxl_loaded_as_another_family(original_sdxl: State, tmp_path: Path, name: str) -> None:
    """SDXL's file is named as such where the config says another family."""
    with pytest.raises(Failure, match="is an SDXL model, the config trains an SD") as caught:
        FAMILIES[name]().load(Asked(save(original_sdxl, tmp_path / "xl.safetensors")))
    assert caught.value.remedy == 'set "v2": false'


SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "model.diffusion_model.input_blocks.0.0.weight": ((320, 4, 3, 3), (320, 4, 3, 3)),
    "model.diffusion_model.input_blocks.1.1.proj_in.weight": ((320, 320, 1, 1), (320, 320)),
    "model.diffusion_model.input_blocks.4.0.skip_connection.weight": ((640, 320, 1, 1), (640, 320, 1, 1)),
    "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": ((1280, 768), (1280, 1024)),
    "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": ((2560, 320), (2560, 320)),
    "first_stage_model.encoder.mid.attn_1.q.weight": ((512, 512, 1, 1), (512, 512, 1, 1)),
    "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight": ((128, 256, 1, 1), (128, 256, 1, 1)),
    "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight": ((3072, 768), ()),
    "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_weight": ((), (3072, 1024)),
    "cond_stage_model.model.transformer.resblocks.23.mlp.c_fc.weight": ((), (4096, 1024)),
    "cond_stage_model.model.positional_embedding": ((), (77, 1024)),
}
"""Names and shapes in the files of SD 1.5 and SD 2.1 as they were published; () where one has no such tensor."""

SHAPES_XL: dict[str, tuple[int, ...]] = {
    "model.diffusion_model.input_blocks.4.1.proj_in.weight": (640, 640),
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight": (640, 2048),
    "model.diffusion_model.input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
    "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
    "model.diffusion_model.output_blocks.5.2.conv.weight": (640, 640, 3, 3),
    "model.diffusion_model.output_blocks.8.0.skip_connection.weight": (320, 640, 1, 1),
    "conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
    "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
    "conditioner.embedders.1.model.text_projection": (1280, 1280),
    "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
}
"""The same of SDXL base 1.0."""


@pytest.mark.parametrize(("place", "name"), [(0, "sd1"), (1, "sd2"), (2, "sdxl")])
def test_packaged_configs_fit_the_published_files(
    published: Mapping[str, State], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: int, name: str
) -> None:
    """In their true sizes, all tensors of SD 1.5, SD 2.1 and SDXL find their place by the configs in the package."""
    state = published[name]
    for key, shapes in SHAPES.items() if name != "sdxl" else ():
        assert tuple(state[key].shape if key in state else ()) == shapes[place], key
    for key, shape in SHAPES_XL.items() if name == "sdxl" else ():
        assert tuple(state[key].shape) == shape, key
    monkeypatch.setattr(single_file, "read_state", lambda path: state)
    asked = Asked(tmp_path / "x.safetensors", device="meta")
    parts = single_file.load_file(asked, single_file.LAYOUTS / name, FAMILIES[name]().texts)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (parts.unet, *parts.text_encoders, parts.vae)]
    wanted = (
        [859_520_964, 123_060_480, 83_653_863],
        [865_910_724, 340_387_840, 83_653_863],
        [2_567_463_684, 123_060_480, 694_659_840, 83_653_863],
    )
    assert sizes == wanted[place]
