"""A base in diffusers' layout: a folder with model_index.json and one folder for each part."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lora_lab.failure import Failure
from lora_lab.train.base_files.parts import DTYPES, Asked, Parts, TextPart, loaded
from lora_lab.train.base_files.vae import load_vae
from lora_lab.train.base_files.weights import DAMAGED, load_pretrained

PARTS = ("unet", "text_encoder", "vae", "tokenizer", "scheduler")
SECOND = ("text_encoder_2", "tokenizer_2")
"""What SDXL has beside them."""


def load_folder(asked: Asked, layout: Path, texts: Sequence[TextPart]) -> Parts:
    """Load the parts of a folder, offline; `layout` has the configs for a VAE that is a single file.

    Raises Failure when a part is missing, damaged or does not fit the others.
    """
    from diffusers import UNet2DConditionModel  # noqa: PLC0415  # seconds; a bad folder fails first

    path, dtype = asked.path, DTYPES[asked.precision]
    if len(texts) == 1 and _has_second_encoder(path):
        raise Failure(
            f"base_model {path} is an SDXL model by its text encoders, and by its U-Net it is none",
            "the folder mixes two models; copy it anew",
        )
    check_folder(path)
    schedule = read_schedule(path)
    unet = load_pretrained(UNet2DConditionModel, path / "unet", dtype)
    encoders = tuple(_load_encoder(path, text, dtype) for text in texts)
    vae = load_vae(asked.vae or path / "vae", layout)
    width = sum(encoder.config.hidden_size for encoder in encoders)
    if width != unet.config.cross_attention_dim:
        raise Failure(
            f"{path / texts[-1].encoder} gives states of width {width}, "
            f"the U-Net wants {unet.config.cross_attention_dim}",
            "the folder mixes two models; copy it anew",
        )
    return Parts(
        unet=unet,
        text_encoders=encoders,
        vae=vae,
        tokenizers=tuple(_load_tokenizer(path, text, one) for text, one in zip(texts, encoders, strict=True)),
        prediction=schedule.get("prediction_type", "epsilon"),
        beta_start=schedule["beta_start"],
        beta_end=schedule["beta_end"],
    )


def _load_encoder(path: Path, text: TextPart, dtype: torch.dtype) -> Any:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection  # noqa: PLC0415  # as above

    kind = CLIPTextModelWithProjection if text.projected else CLIPTextModel
    return load_pretrained(kind, path / text.encoder, dtype)


def _load_tokenizer(path: Path, text: TextPart, encoder: Any) -> Any:
    from transformers import CLIPTokenizer  # noqa: PLC0415  # as above

    where = path / text.tokenizer
    tokenizer = loaded(where, lambda: CLIPTokenizer.from_pretrained(where, local_files_only=True), DAMAGED)
    if tokenizer.model_max_length != 77 or len(tokenizer) != encoder.config.vocab_size:
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
