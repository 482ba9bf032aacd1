"""Stable Diffusion 1.x: what is adapted, what the U-Net hears of a caption, what is refused as a base."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from lora_lab.failure import Failure
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.families.base import Base
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.pack import AdapterOptions, Pack

FACTS = Path(__file__).parents[1] / "facts" / "sd15_layers.json"
PROMPT = "lumi, a red circle on a blue background"


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    """The tiny base, loaded."""
    return SD1().load(Asked(base_folder))


@pytest.fixture(scope="module")
def real_size() -> Base:
    """SD 1.5's U-Net and text encoder as their published configs make them, without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                projection_dim=768,
                vocab_size=49408,
            )
        )
    nothing = torch.zeros(1000)
    return Base(
        name="sd15",
        path=Path("sd15"),
        unet=unet,
        text_encoders=(text_encoder,),
        vae=torch.nn.Module(),
        tokenizers=(None,),
        alphas_cumprod=nothing,
        own_alphas_cumprod=nothing,
        scaling_factor=0.18215,
        text_layers=12,
        prediction_type="epsilon",
        hash="",
        vae_hash="",
    )


def test_layers_are_those_of_kohya(real_size: Base) -> None:
    """Names, widths and kernels of the 264 layers of SD 1.5 are those that sd-scripts prints, text encoder first."""
    facts = json.loads(FACTS.read_text())
    found = {}
    for name, (owner, attribute) in SD1().layers(real_size).items():
        layer = getattr(owner, attribute)
        pointwise = isinstance(layer, torch.nn.Conv2d)
        found[name] = [layer.weight.shape[1], layer.weight.shape[0], layer.kernel_size[0] if pointwise else None]
    wanted = {
        name: [*sizes[:2], sizes[2][0] if isinstance(sizes[2], list) else sizes[2]] for name, sizes in facts.items()
    }
    assert len(wanted) == 264
    assert found == wanted
    assert [name.startswith("lora_te_") for name in found] == [True] * 72 + [False] * 192


def test_parameters_per_rank(real_size: Base) -> None:
    """An adapter of rank 2 on SD 1.5 has 2 × 589,824 weights, the number known of kohya's files."""
    pack = Pack(SD1().layers(real_size))
    try:
        options = AdapterOptions(rank=2, alpha=1.0, dropout=0.0, unet=True, text_encoder=True, seed=0)
        pack.add(0, options)
        count = sum(p.numel() for _, weights in pack.weights(0) for p in weights.parameters())
    finally:
        pack.detach()
    assert count == 2 * 589_824


def layer_outputs(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """What each transformer layer of a CLIP text model gives, caught by hooks."""
    caught: list[torch.Tensor] = []
    layers = [module for module in model.modules() if type(module).__name__ == "CLIPEncoderLayer"]
    assert len(layers) == 3

    def keep(module: Any, inputs: Any, output: Any) -> None:
        caught.append(output if isinstance(output, torch.Tensor) else output[0])

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return caught


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_reads_an_earlier_layer(base: Base, base_folder: Path, clip_skip: int) -> None:
    """With clip_skip n the U-Net hears the n-th layer from the end after the final layer norm, caught by hooks."""
    model = CLIPTextModel.from_pretrained(base_folder / "text_encoder")
    ids = torch.tensor(
        [CLIPTokenizer.from_pretrained(base_folder / "tokenizer")(PROMPT, padding="max_length").input_ids]
    )
    with torch.no_grad():
        inner = getattr(model, "text_model", model)
        wanted = inner.final_layer_norm(layer_outputs(model, ids)[-clip_skip])
        states = SD1().encode(base, SD1().tokenize(base, PROMPT, 75)[None], clip_skip).states
        last = model(ids).last_hidden_state
    torch.testing.assert_close(states, wanted)
    assert torch.allclose(states, last, atol=1e-5) == (clip_skip == 1)


@pytest.mark.parametrize(("limit", "tokens"), [(75, 77), (150, 152), (225, 227)])
def test_long_captions_are_chunks(base: Base, base_folder: Path, limit: int, tokens: int) -> None:
    """Limits of 75, 150 and 225 give 77, 152 and 227 states, each chunk encoded by itself between begin and end."""
    words = "circle square " * 120
    model = CLIPTextModel.from_pretrained(base_folder / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(base_folder / "tokenizer")
    inner = tokenizer(words, add_special_tokens=False).input_ids[:limit]
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    with torch.no_grad():
        parts = [
            model(torch.tensor([[begin, *inner[start : start + 75], end]])).last_hidden_state[0]
            for start in range(0, limit, 75)
        ]
        states = SD1().encode(base, SD1().tokenize(base, words, limit)[None], 1).states
    wanted = torch.cat([parts[0][:1], *(part[1:-1] for part in parts), parts[-1][-1:]])
    assert states.shape == (1, tokens, 16)
    torch.testing.assert_close(states[0], wanted)


def test_loaded_is_frozen_and_quiet(base: Base, base_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No part takes gradients or is in training mode, nothing is printed, and the libraries' bars are on again."""
    SD1().load(Asked(base_folder))
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.is_progress_bar_enabled()
    assert diffusers_logging.is_progress_bar_enabled()
    for part in (base.unet, *base.text_encoders, base.vae):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
    assert base.prediction_type == "epsilon"
    assert base.text_layers == 3
    assert base.scaling_factor == 0.18215


def test_precision_of_the_parts(base_folder: Path) -> None:
    """U-Net and text encoder are held in the precision of training, the VAE in float32."""
    base = SD1().load(Asked(base_folder, precision="bf16"))
    assert {p.dtype for p in base.unet.parameters()} == {p.dtype for p in base.text_encoders[0].parameters()}
    assert {p.dtype for p in base.unet.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in base.vae.parameters()} == {torch.float32}


def test_hashes_name_the_weights(base: Base, base_folder: Path, tmp_path: Path) -> None:
    """The hash is that of the weight files' bytes: a copy has it too; another VAE has another, and only the VAE's."""
    import hashlib

    weights = [
        base_folder / "unet" / "diffusion_pytorch_model.safetensors",
        base_folder / "text_encoder" / "model.safetensors",
    ]
    assert base.hash == hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()
    other = shutil.copytree(base_folder, tmp_path / "other")
    vae = SD1().load(Asked(base_folder, other / "vae")).vae
    vae.requires_grad_(True).decoder.conv_out.bias.data += 1
    vae.save_pretrained(other / "vae")
    changed = SD1().load(Asked(base_folder, other))
    assert changed.hash == base.hash
    assert changed.vae_hash != base.vae_hash


def remove(*names: str) -> Callable[[Path], None]:
    """A way to break a base: these parts are missing."""

    def break_(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return break_


def edit(name: str, **values: object) -> Callable[[Path], None]:
    """A way to break a base: a JSON file says something else."""

    def break_(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return break_


def cut(name: str) -> Callable[[Path], None]:
    """A way to break a base: a file ends in the middle."""

    def break_(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return break_


def without_a_tensor(folder: Path) -> None:
    """A way to break a base: the U-Net's file lacks one tensor, which the library would make up."""
    import safetensors.torch

    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = safetensors.torch.load_file(path)
    del state["conv_in.weight"]
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no parts": (remove("unet", "vae"), "it has no unet, vae"),
    "no index": (remove("model_index.json"), "it has no model_index.json"),
    "index is no JSON": (lambda folder: cut("model_index.json")(folder), r"model_index\.json cannot be read"),
    "index is a list": (lambda f: (f / "model_index.json").write_text("[]") and None, "is not a JSON object"),
    "SDXL by its index": (edit("model_index.json", text_encoder_2=["transformers", "x"]), "is an SDXL model"),
    "SDXL by its folder": (lambda folder: (folder / "text_encoder_2").mkdir(), "is an SDXL model"),
    "SD 2": (edit("unet/config.json", cross_attention_dim=1024), "is an SD 2.x model"),
    "another schedule": (edit("scheduler/scheduler_config.json", beta_schedule="linear"), "noise schedule of its own"),
    "broken config": (cut("unet/config.json"), "unet cannot be loaded"),
    "broken text config": (cut("text_encoder/config.json"), "text_encoder cannot be loaded"),
    "truncated U-Net": (cut("unet/diffusion_pytorch_model.safetensors"), "unet cannot be loaded"),
    "truncated text encoder": (cut("text_encoder/model.safetensors"), "text_encoder cannot be loaded"),
    "truncated VAE": (cut("vae/diffusion_pytorch_model.safetensors"), "vae cannot be loaded"),
    "no weights": (remove("vae/diffusion_pytorch_model.safetensors"), "vae cannot be loaded"),
    "a tensor less": (without_a_tensor, r"unet (has no fitting weights|cannot be loaded)"),
    "other tokenizer": (edit("tokenizer/tokenizer_config.json", model_max_length=64), "does not fit its text encoder"),
    "broken vocabulary": (cut("tokenizer/vocab.json"), "tokenizer cannot be loaded"),
    "another width": (edit("unet/config.json", cross_attention_dim=32), "unet"),
}


@pytest.mark.parametrize(("break_", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_base(
    base_folder: Path, tmp_path: Path, break_: Callable[[Path], None], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong with a folder, one line says it with the folder's path."""
    folder = shutil.copytree(base_folder, tmp_path / "broken")
    break_(folder)
    with pytest.raises(Failure, match=message) as caught:
        SD1().load(Asked(folder))
    assert str(folder) in caught.value.what
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_text_encoder_of_another_model(base_folder: Path, tmp_path: Path) -> None:
    """A text encoder whose states have not the width that the U-Net listens to is refused."""
    folder = shutil.copytree(base_folder, tmp_path / "mixed")
    config = CLIPTextConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    shutil.rmtree(folder / "text_encoder")
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    with pytest.raises(Failure, match="states of width 8, the U-Net wants 16"):
        SD1().load(Asked(folder))


def test_no_folder(tmp_path: Path) -> None:
    """A path to nothing, and a file that is no model, are refused by name."""
    with pytest.raises(Failure, match="nowhere does not exist"):
        SD1().load(Asked(tmp_path / "nowhere"))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(Failure, match=r"model\.safetensors is no model that can be read"):
        SD1().load(Asked(tmp_path / "model.safetensors"))


def test_vae_that_is_none(base_folder: Path, tmp_path: Path) -> None:
    """A `vae` that is no VAE folder is refused by name."""
    with pytest.raises(Failure, match="other-vae cannot be loaded"):
        SD1().load(Asked(base_folder, tmp_path / "other-vae"))
