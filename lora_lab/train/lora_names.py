"""LoRA files of diffusers and PEFT under kohya's names, with the alpha that they act with.

Sources: diffusers/utils/state_dict_utils.py (its ways to name tensors, old and new), loaders/lora_base.py
(`lora_adapter_metadata`), peft's save_and_load.py. diffusers' own converter to kohya's names sets every alpha to the
rank, names SD 1's text encoder as SDXL's, and loses DoRA's magnitudes.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

_PREFIXES: Final = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}
_BARE: Final = (("lora_unet", ("down_blocks.", "mid_block.", "up_blocks.")), ("lora_te", ("text_model.", "encoder.")))
_PEFT: Final = re.compile(r"(.+)\.lora_([AB])(?:\.[^.]+)?\.weight")
_OLD: Final = re.compile(r"(.+?)(?:\.processor)?\.(?:(to_[a-z]+)_lora|lora_linear_layer|lora)\.(down|up)\.weight")
_MAGNITUDE: Final = re.compile(r"(.+)\.lora_magnitude_vector(?:\.[^.]+)?(?:\.weight)?")
_OTHER: Final = re.compile(r"(.+)\.(alpha|dora_scale|hada_\w+|lokr_\w+)")
_TEXT_LAYERS: Final = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_SIDES: Final = {"A": "lora_down.weight", "B": "lora_up.weight", "down": "lora_down.weight", "up": "lora_up.weight"}
ADAPTER_METADATA: Final = "lora_adapter_metadata"
"""Where diffusers keeps PEFT's configs in a file, as JSON: `unet.r`, `unet.lora_alpha`, `text_encoder.r`, …"""


def in_kohyas_names(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors under kohya's names, the U-Net's with the paths of diffusers, and their alphas beside them.

    What is not named as diffusers or PEFT do stays as it is.
    """
    told = _told(metadata)
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        part, path, ending = _split(str(key))
        if not part:
            found[str(key)] = tensor
            continue
        layer = f"{_PREFIXES[part]}.{path}".replace(".", "_")
        found[f"{layer}.{ending}"] = tensor
        if ending == "lora_down.weight" and part in told:
            found.setdefault(f"{layer}.alpha", torch.tensor(_alpha(told[part], path, len(tensor))))
    for key, tensor in found.items():
        if key.endswith(".dora_scale") and tensor.ndim == 1:
            down = found.get(f"{key.rpartition('.')[0]}.lora_down.weight", tensor)
            found[key] = tensor.reshape(-1, *(1 for _ in down.shape[1:]))
    return found


def _split(key: str) -> tuple[str, str, str]:
    """Return a tensor's part of the model, its layer's path there and its name in kohya's files; part "" if unknown."""
    name = key.removeprefix("base_model.model.")
    part, _, rest = name.partition(".")
    if part not in _PREFIXES:
        own = next((own for own, starts in _BARE if name.startswith(starts)), None)
        if own is None:
            return "", "", ""
        part, rest = ("unet" if own == "lora_unet" else "text_encoder"), name
    path, ending = _ending(rest, part == "unet")
    if not path:
        return "", "", ""
    if part != "unet" and not path.startswith("text_model."):
        path = f"text_model.{path}"
    return part, path, ending


def _ending(rest: str, unet: bool) -> tuple[str, str]:
    """Return a layer's path and the tensor's name in kohya's files; "" where it is named in no known way."""
    if found := _PEFT.fullmatch(rest):
        return found[1], _SIDES[found[2]]
    if found := _OLD.fullmatch(rest):
        layer = found[2] or ""
        layer = _TEXT_LAYERS.get(layer, layer) if not unet else "to_out.0" if layer == "to_out" else layer
        return f"{found[1]}.{layer}" if layer else found[1], _SIDES[found[3]]
    if found := _MAGNITUDE.fullmatch(rest):
        return re.sub(r"\.to_out$", ".to_out.0", found[1]), "dora_scale"
    found = _OTHER.fullmatch(rest)
    return (found[1], found[2]) if found else ("", "")


def _told(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return PEFT's config of each part, as far as a file carries them."""
    try:
        whole = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
    except ValueError:
        return {}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in whole.items() if isinstance(whole, dict) else ():
        part, _, name = str(key).partition(".")
        parts.setdefault(part, {})[name] = value
    return {part: config for part, config in parts.items() if isinstance(config.get("lora_alpha"), int | float)}


def _alpha(config: Mapping[str, Any], path: str, rank: int) -> float:
    """Return the alpha of a layer: PEFT's, or one of a pattern that ends its path; rsLoRA divides by √rank."""
    alpha = float(config["lora_alpha"])
    patterns = config.get("alpha_pattern")
    for pattern, own in patterns.items() if isinstance(patterns, dict) else ():
        if isinstance(own, int | float) and (path == pattern or path.endswith(f".{pattern}")):
            alpha = float(own)
    return alpha * math.sqrt(rank) if config.get("use_rslora") is True else alpha


def with_own_names(state: Mapping[str, Tensor], other_names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors under the family's own names of their layers, where `other_names` has one for theirs."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        layer, dot, part = key.partition(".")
        renamed[f"{other_names.get(layer, layer)}{dot}{part}"] = tensor
    return renamed
