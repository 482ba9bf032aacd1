"""The header of a .safetensors file: 8 bytes of length, then JSON. No tensor is read."""

import json
from pathlib import Path
from typing import NamedTuple

LONGEST = 8 * 1024 * 1024
"""Bytes of a header; that of an SDXL LoRA with all layers has half a million."""


class LoraHeader(NamedTuple):
    """What a LoRA's header tells: its ranks, alpha and clip_skip from the metadata, and the parts that it adapts."""

    ranks: frozenset[int]
    alpha: float | None
    clip_skip: int | None
    unet: bool
    text_encoder: bool
    example: str


def read_lora_header(path: Path) -> LoraHeader | None:
    """Return the header of a .safetensors file; None if it can't be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= LONGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(header, dict):
        return None
    metadata = header.pop("__metadata__", None)
    down = {name: about for name, about in header.items() if name.endswith(".lora_down.weight")}
    ranks = frozenset(rank for about in down.values() if (rank := _rank(about)))
    known = metadata if isinstance(metadata, dict) else {}
    skip = _number(known.get("ss_clip_skip"))
    return LoraHeader(
        ranks,
        _number(known.get("ss_network_alpha")),
        int(skip) if skip and skip <= 23 else None,
        any(name.startswith("lora_unet") for name in down),
        any(name.startswith("lora_te") for name in down),
        min(header, default=""),
    )


def _rank(about: object) -> int:
    """Return the first side of a tensor, 0 where it has none."""
    shape = about.get("shape") if isinstance(about, dict) else None
    return shape[0] if isinstance(shape, list) and shape and isinstance(shape[0], int) else 0


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return value if value and value > 0 else None
