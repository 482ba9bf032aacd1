"""What a model file or folder is, from its header alone: its family, what it predicts, its number formats."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from lora_lab.document import model_names
from lora_lab.document.lora_facts import LoraFacts, lora_facts
from lora_lab.document.model_names import WIDTHS, Kind, Part
from lora_lab.document.tensor_table import TensorTable, read_safetensors
from lora_lab.failure import Failure
from lora_lab.plain_files import open_file

PICKLED: Final = (".ckpt", ".pt", ".pth", ".bin")
"""Suffixes of pickled models."""

PARTS: Final[tuple[Part, ...]] = ("unet", "vae", "text_encoder")

_CONFIG_BYTES: Final = 1024 * 1024

Prediction = Literal["epsilon", "v_prediction"]

_PIPELINES: Final = (
    ("StableDiffusionXLImg2Img", None),  # also the refiner's class
    ("StableDiffusionXL", "sdxl"),
    ("StableDiffusion3", "sd3"),
    ("Flux", "flux"),
    ("PixArt", "pixart"),
    ("AuraFlow", "auraflow"),
    ("Lumina", "lumina"),
    ("QwenImage", "qwen-image"),
    ("Wan", "wan"),
    ("Kolors", "kolors"),
    ("Sana", "sana"),
    ("HunyuanVideo", "hunyuan-video"),
    ("StableCascade", "cascade"),
)
_ARCHITECTURES: Final = (
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("stable-diffusion-v1", "sd1"),
    ("sd_v1", "sd1"),
    ("stable-diffusion-v2", "sd2"),
    ("sd_v2", "sd2"),
    ("stable-diffusion-3", "sd3"),
    ("sd3", "sd3"),
    ("flux", "flux"),
    ("chroma", "chroma"),
    ("lumina", "lumina"),
    ("hunyuan", "hunyuan"),
)


class ModelHeader(NamedTuple):
    """What a model says of itself. None stands for what its header does not tell."""

    kind: Kind
    family: str | None = None
    """sd1, sd2, sdxl, or another: sdxl-refiner, sd3, flux, ..."""

    prediction: Prediction | None = None
    zero_terminal_snr: bool | None = None
    dtypes: Mapping[Part, str] = {}
    """The format that most numbers of a part have, in safetensors' words: F32, F16, BF16, F8_E4M3, ..."""

    parameters: Mapping[Part, int] = {}
    """How many numbers a part has, where its weights lie there."""

    metadata: Mapping[str, str] = {}
    in_channels: int | None = None
    """Channels that the U-Net takes: 4; 9 for inpainting, 8 for editing, 5 with depth."""

    latent_channels: int | None = None
    """Channels of the VAE's latents: 4 in Stable Diffusion and SDXL, 16 in Flux and SD3."""

    sample_size: int | None = None
    """Side of the latents that the U-Net was made at; only folders tell."""

    lora: LoraFacts | None = None
    example: str = ""
    """The first name of a tensor, to show what was found."""


def read_model_header(path: Path) -> ModelHeader | None:
    """Return what a model file (.safetensors, .ckpt, .pt, .pth, .bin) or a diffusers folder is.

    No tensor is read and no pickle is run. None if there is nothing, or nothing of that kind; nothing is raised.
    """
    try:
        if path.is_dir():
            return _folder(path)
    except (OSError, ValueError):
        return None
    table = _table(path)
    return None if table is None else _header(table)


def _table(path: Path) -> TensorTable | None:
    """Return the tensors of a file, None if it has none that can be listed."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            return read_safetensors(path)
        if suffix in PICKLED:
            from lora_lab.document.pickle_table import read_pickled  # noqa: PLC0415  # zipfile: only where one is met

            return read_pickled(path)
    except Failure:
        pass
    return None


def _header(table: TensorTable) -> ModelHeader:
    """Tell a model from its tensors and texts."""
    metadata, tensors = table
    kind = model_names.kind_of(tensors)
    base = kind in ("checkpoint", "unet")
    family = model_names.base_family(tensors) if base else None
    if kind == "lora":
        family = model_names.lora_family(tensors)
    parts = model_names.parts_of(tensors, kind)
    zero = "ztsnr" in tensors or metadata.get("ss_zero_terminal_snr") == "True"
    dtypes = {part: dtype for part, inside in parts.items() if (dtype := model_names.main_dtype(inside))}
    return ModelHeader(
        kind,
        family or (_stated_family(metadata) if base or kind == "lora" else None),
        "v_prediction" if "v_pred" in tensors else _stated_prediction(metadata),
        True if zero else (False if metadata.get("ss_zero_terminal_snr") == "False" else None),
        dtypes,
        {part: model_names.parameters(inside) for part, inside in parts.items()},
        metadata,
        model_names.in_channels(tensors) if base else None,
        model_names.latent_channels(tensors),
        None,
        lora_facts(tensors, metadata),
        min(tensors, default=""),
    )


def _stated_family(metadata: Mapping[str, str]) -> str | None:
    """Return the family that the texts of a file name."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = metadata.get(key, "").lower()
        for mark, family in _ARCHITECTURES:
            if mark in text:
                return family
    return None


def _stated_prediction(metadata: Mapping[str, str]) -> Prediction | None:
    """Return what the texts of a file say that it predicts (modelspec, and sd-scripts' names of v-models)."""
    for key in ("modelspec.prediction_type", "modelspec.predict_key"):
        text = metadata.get(key, "").lower()
        if text in ("v", "v_prediction", "v-prediction", "vpred", "velocity"):
            return "v_prediction"
        if text in ("epsilon", "eps"):
            return "epsilon"
    if "-768-v" in metadata.get("modelspec.architecture", ""):
        return "v_prediction"
    return "v_prediction" if metadata.get("ss_base_model_version", "").endswith("_v") else None


def _json(path: Path) -> Mapping[str, object]:
    """Return a small JSON file, empty if there is none."""
    try:
        with open_file(path) as file:
            value = json.loads(file.read(_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _folder(path: Path) -> ModelHeader | None:
    """Tell a folder in diffusers' layout, or one of its parts, from the configs in it."""
    if (path / "adapter_config.json").is_file():
        return ModelHeader("lora", lora=LoraFacts("peft", frozenset(), None, None, False, False))
    index, own = _json(path / "model_index.json"), _json(path / "config.json")
    if own and not index:
        return _part(own)
    unet = _json(path / "unet" / "config.json")
    if not (index or unet or (path / "model_index.json").is_file()):
        return None
    schedule = _json(path / "scheduler" / "scheduler_config.json")
    predicts = schedule.get("prediction_type")
    zero = schedule.get("rescale_betas_zero_snr")
    tables = {part: table for part in PARTS if (table := _folder_table(path / part))}
    dtypes = {part: dtype for part, table in tables.items() if (dtype := model_names.main_dtype(table.tensors))}
    return ModelHeader(
        "diffusers",
        _folder_family(index, unet, _json(path / "text_encoder" / "config.json")),
        predicts if predicts in ("epsilon", "v_prediction") else None,
        zero if isinstance(zero, bool) else None,
        dtypes,
        {part: model_names.parameters(table.tensors) for part, table in tables.items()},
        in_channels=_whole(unet.get("in_channels")),
        latent_channels=_whole(_json(path / "vae" / "config.json").get("latent_channels")),
        sample_size=_whole(unet.get("sample_size")),
    )


def _part(config: Mapping[str, object]) -> ModelHeader:
    """Tell a folder that holds one part of a model."""
    name = str(config.get("_class_name") or config.get("architectures") or "")
    if "Autoencoder" in name:
        return ModelHeader("vae", latent_channels=_whole(config.get("latent_channels")))
    if "UNet" in name or "Transformer2D" in name:
        width = _whole(config.get("cross_attention_dim"))
        return ModelHeader("unet", WIDTHS.get(width or 0), in_channels=_whole(config.get("in_channels")))
    return ModelHeader("text_encoder" if "CLIPText" in name or "T5" in name else "unknown")


def _folder_family(index: Mapping[str, object], unet: Mapping[str, object], text: Mapping[str, object]) -> str | None:
    """Return the family of a folder: by its U-Net, its pipeline's name, then its text encoder's activation."""
    if unet.get("encoder_hid_dim"):
        return "kolors"
    by_width = WIDTHS.get(_whole(unet.get("cross_attention_dim")) or 0)
    if by_width:
        return by_width
    if unet.get("addition_embed_type") == "text_time":
        return "sdxl"
    name = str(index.get("_class_name", ""))
    for start, family in _PIPELINES:
        if name.startswith(start):
            return family
    # OpenAI's CLIP, which SD 1.x has, computes a quick GELU; OpenCLIP, which SD 2.x has, a whole one
    return {"quick_gelu": "sd1", "gelu": "sd2"}.get(str(text.get("hidden_act"))) if unet else None


def _folder_table(folder: Path) -> TensorTable | None:
    """Return the tensors of one part of a diffusers folder."""
    return next((table for path in _weights(folder) if (table := _table(path)) is not None), None)


def _weights(folder: Path) -> Iterable[Path]:
    """Return the files that may hold a part's weights, under the names that diffusers and transformers look for."""
    names = ("diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin")
    return (folder / name for name in names if (folder / name).is_file())
