"""Names, number formats and shapes of the tensors in a model file, read without loading one.

A .safetensors file begins with 8 bytes (the header's length, little-endian) and the header, a JSON object.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from lora_lab.failure import Failure
from lora_lab.plain_files import open_file

LARGEST_HEADER: Final = 64 * 1024 * 1024
"""Bytes. An SDXL checkpoint's header has some 400 thousand, that of a LoRA with very many tags some million."""

MOST_TENSORS: Final = 50_000
"""Tensors of a file; an SDXL checkpoint has 2,500, its largest LoRAs some 10,000."""


class Tensor(NamedTuple):
    """One tensor: its number format in safetensors' words (F32, F16, BF16, ...) and its sides."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Return how many numbers it holds."""
        count = 1
        for side in self.shape:
            count *= side
        return count


class TensorTable(NamedTuple):
    """What a model file says about itself: its texts, and its tensors by name."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]


def read_safetensors(path: Path) -> TensorTable:
    """Read a .safetensors file's header; raises `Failure` if the file can't be read or is none."""
    try:
        with open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= LARGEST_HEADER:
                raise Failure(f"{path} is no safetensors file: its header would have {length:,} bytes")
            raw = file.read(length)
    except FileNotFoundError:
        raise Failure(f"no such file: {path}", "check the spelling and the folder") from None
    except (OSError, ValueError) as error:
        raise Failure(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise Failure(f"{path} is no safetensors file: its header is no JSON") from None
    if not isinstance(header, dict):
        raise Failure(f"{path} is no safetensors file: its header is no JSON object")
    if len(header) > MOST_TENSORS:
        raise Failure(f"{path} names {len(header):,} tensors, more than any model has")
    metadata = header.pop("__metadata__", None)
    texts = metadata if isinstance(metadata, dict) else {}
    tensors = {name: _tensor(about) for name, about in header.items() if isinstance(about, dict)}
    return TensorTable({str(key): str(value) for key, value in texts.items()}, tensors)


def _tensor(about: Mapping[str, object]) -> Tensor:
    """Return what a header says of a tensor; sides that are none are left out together."""
    shape = about.get("shape")
    sides = tuple(shape) if isinstance(shape, list) and all(type(side) is int for side in shape) else ()
    return Tensor(str(about.get("dtype", "")), sides)
