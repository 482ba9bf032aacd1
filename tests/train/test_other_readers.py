"""A LoRA file in other hands: a reader written from the format's description alone, and plain diffusers."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from lora_lab.config import TrainConfig
from lora_lab.train.lora_file import save_lora, state_dict

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]

PREFIXES = {"text": "lora_te", "unet": "lora_unet"}


def read(path: Path) -> dict[str, numpy.ndarray[Any, Any]]:
    """The tensors of a safetensors file in float32, read byte by byte."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__")
    found = {}
    for name, about in header.items():
        assert about["dtype"] == "F32"
        start, end = about["data_offsets"]
        values = numpy.frombuffer(content[8 + size + start : 8 + size + end], "<f4")
        found[name] = values.reshape(about["shape"])
    return found


def merge(path: Path, models: Mapping[str, nn.Module]) -> int:
    """Write a LoRA into models: W += alpha / rank · up · down where the layer's path is the tensor's name.

    A name is a prefix for the model and the path with every dot an underscore; returns how many tensors were used.
    """
    tensors, used = read(path), set()
    for kind, model in models.items():
        for where, layer in model.named_modules():
            within = where if kind == "unet" or where.startswith("text_model.") else f"text_model.{where}"
            name = f"{PREFIXES[kind]}.{within}".replace(".", "_")
            if f"{name}.lora_down.weight" not in tensors:
                continue
            parts = [f"{name}.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha")]
            down, up, alpha = (tensors[part] for part in parts)
            rank = down.shape[0]
            update = float(alpha) / rank * up.reshape(-1, rank) @ down.reshape(rank, -1)
            weight: Any = layer.weight
            weight.data += torch.from_numpy(update).view_as(weight)
            used |= set(parts)
    assert used == set(tensors)
    return len(used)


@pytest.fixture
def trained(
    open_pack: Open, make_config: Make, whole_bases: Mapping[str, Path], tmp_path: Path
) -> Callable[[str], tuple[Path, Path, Callable[[Tensor, Tensor, Tensor], Tensor]]]:
    """Return a function: family → its base's folder, the file of a LoRA that plainly changes it, its own prediction."""

    def of(name: str) -> tuple[Path, Path, Callable[[Tensor, Tensor, Tensor], Tensor]]:
        base = whole_bases[name]
        v2 = name == "sd2"
        opened = open_pack(make_config(base_model=str(base), v2=v2, v_parameterization=v2), up=0.2)
        session = opened.session
        save_lora(tmp_path / "lora.safetensors", state_dict(opened.members[0].layers, torch.float32), {"ss_v2": "x"})

        def predict(noisy: Tensor, t: Tensor, ids: Tensor) -> Tensor:
            with torch.no_grad(), session.pack.serving(0):
                text = session.family.encode(session.base, ids[:, None], 1)
                return session.family.predict(session.base, noisy, t, text)

        return base, tmp_path / "lora.safetensors", predict

    return of


def question(base: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps, token ids."""
    draws = torch.Generator().manual_seed(0)
    ids = torch.full((2, 77), 49407)
    ids[:, 0] = 49406
    ids[:, 1:6] = torch.randint(1, 40000, (2, 5), generator=draws)
    return torch.randn(2, 4, 16, 16, generator=draws), torch.tensor([10, 800]), ids


def answer(text: Any, unet: Any, asked: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What plain models of the libraries say."""
    noisy, t, ids = asked
    with torch.no_grad():
        said: Tensor = unet(noisy, t, text(ids).last_hidden_state).sample
    return said


@pytest.mark.parametrize(("name", "layers"), [("sd1", 18 + 192), ("sd2", 18 + 192)])
def test_merged_by_an_independent_reader(trained: Callable[[str], Any], name: str, layers: int) -> None:
    """Merged into the libraries' own models by the format's description, every tensor used, it predicts to 1e-5."""
    base, file, predict = trained(name)
    text = CLIPTextModel.from_pretrained(base / "text_encoder")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    asked = question(base)
    before = answer(text, unet, asked)
    assert merge(file, {"text": text, "unet": unet}) == 3 * layers
    wanted = predict(*asked)
    torch.testing.assert_close(answer(text, unet, asked), wanted, rtol=1e-4, atol=1e-5)
    assert (wanted - before).abs().max() > 0.05


@pytest.mark.filterwarnings("ignore::FutureWarning")  # about the sampler's steps_offset
@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_loaded_by_plain_diffusers(trained: Callable[[str], Any], name: str, caplog: pytest.LogCaptureFixture) -> None:
    """`load_lora_weights` takes every layer of the file, complains of none, and predicts what the trainer does."""
    base, file, predict = trained(name)
    pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipe.load_lora_weights(file)
    sides = {"text": pipe.text_encoder, "unet": pipe.unet}
    taken = {
        kind: sum(type(module).__module__.startswith("peft.tuners.lora") and hasattr(module, "lora_A")
                  for module in model.modules())
        for kind, model in sides.items()
    }  # fmt: skip
    assert taken == {"text": 18, "unet": 192}
    assert not [record for record in caplog.records if "key" in record.getMessage().lower()]
    asked = question(base)
    torch.testing.assert_close(answer(pipe.text_encoder, pipe.unet, asked), predict(*asked), rtol=1e-4, atol=1e-5)


def test_projections_are_matrices_whatever_the_base_was(trained: Callable[[str], Any]) -> None:
    """SD 2's proj_in and proj_out are written 2-D, as diffusers has them; SD 1's are 1 × 1 convolutions."""
    for name, ndim in (("sd1", 4), ("sd2", 2)):
        _, file, _ = trained(name)
        found = [tensor.ndim for key, tensor in read(file).items() if "_proj_in.lora" in key]
        assert len(found) == 2 * 16
        assert set(found) == {ndim}
