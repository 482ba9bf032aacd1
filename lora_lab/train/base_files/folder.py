"""A base in diffusers' layout: a folder with model_index.json and one folder for each part."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lora_lab.failure import Failure
from lora_lab.train.base_files.later import Later, LaterParts
from lora_lab.train.base_files.narrow import unet_class, without_peft
from lora_lab.train.base_files.parts import DTYPES, Asked, Parts, TextPart, frozen, loaded
from lora_lab.train.base_files.vae import load_vae, vae_folder
from lora_lab.train.base_files.weights import DAMAGED, load_pretrained

PARTS = ("unet", "text_encoder", "vae", "tokenizer", "scheduler")
SECOND = ("text_encoder_2", "tokenizer_2")
"""What SDXL has beside them."""


def load_folder(asked: Asked, layout: Path, texts: Sequence[TextPart]) -> Parts:
    """Load the parts of a folder, offline; `layout` has the configs for a VAE that is a single file.

    Raises Failure when a part is missing, damaged or does not fit the others.
    """
    own_vae = asked.vae or asked.path / "vae"
    path, dtype = asked.path, DTYPES[asked.precision]
    if len(texts) == 1 and _has_second_encoder(path):
        raise Failure(
            f"base_model {path} is an SDXL model by its text encoders, and by its U-Net it is none",
            "the folder mixes two models; copy it anew",
        )
    check_folder(path)
    schedule = read_schedule(path)
    unet = frozen(without_peft(load_pretrained(unet_class(), path / "unet", dtype)), asked.device)
    shapes = [_shape_of(path, text) for text in texts]
    width = sum(shape["hidden_size"] for shape in shapes)
    if width != unet.config.cross_attention_dim:
        raise Failure(
            f"{path / texts[-1].encoder} gives states of width {width}, "
            f"the U-Net wants {unet.config.cross_attention_dim}",
            "the folder mixes two models; copy it anew",
        )
    return Parts(
        unet=unet,
        text_encoders=LaterParts(
            len(texts), lambda: [frozen(_load_encoder(path, text, dtype), asked.device) for text in texts]
        ),
        vae=cast("nn.Module", Later(lambda: frozen(load_vae(own_vae, layout), asked.device))),
        tokenizers=LaterParts(
            len(texts),
            lambda: [_load_tokenizer(path, one, shape) for one, shape in zip(texts, shapes, strict=True)],
        ),
        text_layers=max(shape["num_hidden_layers"] for shape in shapes),
        scaling_factor=scaling_factor_of(own_vae, layout),
        prediction=schedule.get("prediction_type", "epsilon"),
        beta_start=schedule["beta_start"],
        beta_end=schedule["beta_end"],
    )


def _load_encoder(path: Path, text: TextPart, dtype: torch.dtype) -> Any:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection  # noqa: PLC0415  # as above

    kind = CLIPTextModelWithProjection if text.projected else CLIPTextModel
    return load_pretrained(kind, path / text.encoder, dtype)


_SHAPE = {"hidden_size": 512, "num_hidden_layers": 12, "vocab_size": 49408, "projection_dim": 512}
"""What a text encoder's config leaves out where it is so (transformers' CLIPTextConfig)."""


def _shape_of(path: Path, text: TextPart) -> dict[str, int]:
    """Return what there is to know of a text encoder before it is loaded. Raises Failure."""
    where = path / text.encoder
    config = _config_of(where)
    inner = config.get("text_config")
    own = inner if config.get("model_type") == "clip" and isinstance(inner, dict) else config
    shape = {key: own.get(key, usual) for key, usual in _SHAPE.items()}
    if not all(isinstance(value, int) for value in shape.values()):
        raise Failure(f"{where} cannot be loaded: its config.json is no text encoder's", DAMAGED)
    return shape


def scaling_factor_of(vae: Path | None, layout: Path) -> float:
    """Return the factor of a VAE's latents: its config's or, of a single file and of what is part of one, the family's.

    Raises Failure.
    """
    where = layout / "vae" if vae is None or vae.is_file() else vae_folder(vae)
    factor = _config_of(where).get("scaling_factor", 0.18215)
    if not isinstance(factor, int | float):
        raise Failure(f"{where} cannot be loaded: its config.json has no number as scaling_factor", DAMAGED)
    return float(factor)


def _config_of(part: Path) -> dict[str, Any]:
    try:
        return read_json(part / "config.json")
    except Failure as failure:
        raise Failure(f"{part} cannot be loaded: its config.json is missing or damaged", DAMAGED) from failure


def _load_tokenizer(path: Path, text: TextPart, shape: Mapping[str, int]) -> Any:
    from transformers import CLIPTokenizer  # noqa: PLC0415  # as above

    where = path / text.tokenizer
    tokenizer = loaded(where, lambda: CLIPTokenizer.from_pretrained(where, local_files_only=True), DAMAGED)
    if tokenizer.model_max_length != 77 or len(tokenizer) != shape["vocab_size"]:
        raise Failure(f"{where} does not fit its text encoder", "the folder is incomplete; copy it anew")
    return tokenizer


def is_whole(path: Path) -> bool:
    """Say whether a folder has every part of a model in diffusers' layout."""
    return not _missing(path)


def _missing(path: Path) -> list[str]:
    second = SECOND if _has_second_encoder(path) else ()
    return [part for part in ("model_index.json", *PARTS, *second) if not (path / part).exists()]


def _has_second_encoder(path: Path) -> bool:
    index = path / "model_index.json"
    return index.exists() and ("text_encoder_2" in read_json(index) or (path / "text_encoder_2").exists())


def check_folder(path: Path) -> None:
    """Raise Failure where a folder lacks a part of a model in diffusers' layout."""
    missing = _missing(path)
    if missing:
        raise Failure(
            f"base_model {path} is not a diffusers folder: it has no {', '.join(missing)}",
            "give the folder that holds model_index.json, unet, text_encoder, vae, tokenizer and scheduler",
        )


def read_schedule(path: Path) -> dict[str, Any]:
    """Return the settings of a folder's noise schedule. Raises Failure for one that is not Stable Diffusion's."""
    schedule = read_json(path / "scheduler" / "scheduler_config.json")
    if schedule.get("beta_schedule", "scaled_linear") != "scaled_linear" or schedule.get("trained_betas"):
        raise Failure(f"base_model {path} has a noise schedule of its own", "only scaled_linear can be trained so far")
    return {"beta_start": 0.00085, "beta_end": 0.012, **schedule}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a model's JSON file. Raises Failure when there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Failure(f"{path} cannot be read: {error}", DAMAGED) from error
    if not isinstance(value, dict):
        raise Failure(f"{path} is not a JSON object", DAMAGED)
    return value
