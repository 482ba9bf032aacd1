"""A base in one file, .safetensors or a pickle, under the names of the original training code (LDM).

diffusers' own converters give the tensors their new names; the configs of the parts and the tokenizer travel with this
package, so that nothing is asked of a hub.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from lora_lab.config.paths import PACKAGE
from lora_lab.failure import Failure
from lora_lab.train.base_files.folder import read_json, scaling_factor_of
from lora_lab.train.base_files.later import Later, LaterParts
from lora_lab.train.base_files.narrow import converters, unet_class, without_peft
from lora_lab.train.base_files.parts import DTYPES, Asked, Parts, TextPart, frozen
from lora_lab.train.base_files.vae import load_vae, vae_of
from lora_lab.train.base_files.weights import WHOLE, State, filled, read_state

LAYOUTS = Path(__file__).parent / "layouts"
"""The configs of the published models: a folder for each family, in it one for each part."""

TOKENIZER = PACKAGE / "quickstart" / "base" / "tokenizer"
"""CLIP's vocabulary, which every Stable Diffusion model shares."""

UNET = "model.diffusion_model."
"""What the names of the U-Net's tensors begin with; those of the VAE with `first_stage_model.`."""


def load_file(asked: Asked, layout: Path, texts: Sequence[TextPart]) -> Parts:
    """Load the parts of a single file, offline; `layout` is the folder of the family's configs.

    Raises Failure when it is damaged, holds more than tensors, or is no whole model of the family.
    """
    path, dtype = asked.path, DTYPES[asked.precision]

    def text_encoders() -> list[Any]:
        state = read_state(path)
        own = (_text_encoder_of(path, state, (layout, text), dtype) for text in texts)
        return [frozen(encoder, asked.device) for encoder in own]

    def vae() -> Any:
        own = load_vae(asked.vae, layout) if asked.vae else vae_of(path, read_state(path), layout)
        return frozen(own, asked.device)

    shapes = [read_json(layout / text.encoder / "config.json") for text in texts]
    return Parts(
        unet=frozen(without_peft(_unet_of(path, read_state(path), layout, dtype)), asked.device),
        text_encoders=LaterParts(len(texts), text_encoders),
        vae=cast("nn.Module", Later(vae)),
        tokenizers=LaterParts(len(texts), lambda: [load_tokenizer(text.pad_token) for text in texts]),
        text_layers=max(shape["num_hidden_layers"] for shape in shapes),
        scaling_factor=scaling_factor_of(asked.vae, layout),
    )


def load_tokenizer(pad_token: str) -> Any:
    """Return CLIP's tokenizer with a family's padding."""
    from transformers import CLIPTokenizer  # noqa: PLC0415  # seconds; a bad file fails first

    return CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=pad_token, local_files_only=True)


def _only(path: Path, state: State, prefix: str, what: str) -> State:
    found = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not found:
        raise Failure(f"{path} holds no {what}", WHOLE)
    return found


def _unet_of(path: Path, state: State, layout: Path, dtype: torch.dtype) -> Any:
    kind = unet_class()
    config = kind.load_config(layout / "unet", local_files_only=True)
    own = _only(path, state, UNET, "U-Net")
    try:
        renamed = converters().convert_ldm_unet_checkpoint(own, config)
    except KeyError as error:  # SDXL's layers for sizes; of the others `filled` tells
        raise Failure(f"{path} has no weights for {error.args[0]} of its U-Net", WHOLE) from error
    return filled(path, lambda: kind.from_config(config), renamed, dtype)


def _text_encoder_of(path: Path, state: State, place: tuple[Path, TextPart], dtype: torch.dtype) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection  # noqa: PLC0415

    layout, text = place
    clip, open_clip = text.prefix + "transformer.", text.prefix + "model."
    config = CLIPTextConfig.from_pretrained(layout / text.encoder, local_files_only=True)
    found = _only(path, state, text.prefix, "second text encoder" if text.projected else "text encoder")
    own = {_with_text_model(name, clip): tensor for name, tensor in found.items()}
    if any(name.startswith(open_clip) for name in own):
        like: Any = SimpleNamespace(config=config)
        renamed = converters().convert_open_clip_checkpoint(like, own, prefix=open_clip)
    else:
        renamed = converters().convert_ldm_clip_checkpoint(own, remove_prefix=clip)
    short = {name.removeprefix("text_model."): tensor for name, tensor in renamed.items()}
    long = {f"text_model.{name}": tensor for name, tensor in short.items()}  # its names before transformers 5.6
    kind = CLIPTextModelWithProjection if text.projected else CLIPTextModel
    return filled(path, lambda: kind(config), {**short, **long}, dtype)


def _with_text_model(name: str, clip: str) -> str:
    """Give a CLIP tensor the name that it has today: files from before transformers 4.4 lack `text_model.`."""
    inner = name.removeprefix(clip)
    if inner != name and inner.startswith(("embeddings.", "encoder.", "final_layer_norm.")):
        return f"{clip}text_model.{inner}"
    return name
