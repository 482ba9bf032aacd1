"""A base in diffusers' layout: a folder with model_index.json and one folder for each part."""

import json
from pathlib import Path
from typing import Any

from lora_lab.failure import Failure
from lora_lab.train.base_files.parts import DTYPES, Asked, Parts, loaded
from lora_lab.train.base_files.vae import load_vae
from lora_lab.train.base_files.weights import DAMAGED, load_pretrained

PARTS = ("unet", "text_encoder", "vae", "tokenizer", "scheduler")


def load_folder(asked: Asked, layout: Path) -> Parts:
    """Load the parts of a folder, offline; `layout` has the configs for a VAE that is a single file.

    Raises Failure when a part is missing, damaged or does not fit the others.
    """
    from diffusers import UNet2DConditionModel  # noqa: PLC0415  # seconds; a bad folder fails first
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: PLC0415

    path, dtype = asked.path, DTYPES[asked.precision]
    check_folder(path)
    if "text_encoder_2" in read_json(path / "model_index.json") or (path / "text_encoder_2").exists():
        raise Failure(f"base_model {path} is an SDXL model", "only SD 1.x and SD 2.x can be trained so far")
    schedule = read_schedule(path)
    unet = load_pretrained(UNet2DConditionModel, path / "unet", dtype)
    text_encoder = load_pretrained(CLIPTextModel, path / "text_encoder", dtype)
    vae = load_vae(asked.vae or path / "vae", layout)
    if text_encoder.config.hidden_size != unet.config.cross_attention_dim:
        raise Failure(
            f"{path / 'text_encoder'} gives states of width {text_encoder.config.hidden_size}, "
            f"the U-Net wants {unet.config.cross_attention_dim}",
            "the folder mixes two models; copy it anew",
        )
    where = path / "tokenizer"
    tokenizer = loaded(where, lambda: CLIPTokenizer.from_pretrained(where, local_files_only=True), DAMAGED)
    if tokenizer.model_max_length != 77 or len(tokenizer) != text_encoder.config.vocab_size:
        raise Failure(f"{where} does not fit its text encoder", "the folder is incomplete; copy it anew")
    return Parts(
        unet=unet,
        text_encoders=(text_encoder,),
        vae=vae,
        tokenizers=(tokenizer,),
        prediction=schedule.get("prediction_type", "epsilon"),
        beta_start=schedule["beta_start"],
        beta_end=schedule["beta_end"],
    )


def is_whole(path: Path) -> bool:
    """Say whether a folder has every part of a model in diffusers' layout."""
    return not _missing(path)


def _missing(path: Path) -> list[str]:
    return [part for part in ("model_index.json", *PARTS) if not (path / part).exists()]


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
    except (OSError, ValueError) as error:
        raise Failure(f"{path} cannot be read: {error}", DAMAGED) from error
    if not isinstance(value, dict):
        raise Failure(f"{path} is not a JSON object", DAMAGED)
    return value
