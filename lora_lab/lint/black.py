"""Whether a small PNG is black all over, without a picture library: what a mask that hides everything looks like."""

import zlib
from pathlib import Path
from typing import Final

from lora_lab.lint.disk import start_of

MOST_BYTES: Final = 16_384
"""A black mask of 4096 × 4096 pixels has no more; what is larger is not black all over, or not worth the time."""

_MOST_PIXELS: Final = 1 << 25
_GREY, _COLOURED = 0, 2


def is_black(path: Path) -> bool:
    """Say whether a PNG in greys or colours, without transparency, has nothing but zeros; False where it can't be told.

    A row is a byte that names its filter and the filtered values: where all of these are 0, so are the pixels.
    """
    data = start_of(path, MOST_BYTES + 1)
    if data is None or not 33 <= len(data) <= MOST_BYTES or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return False
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, kind, interlaced = data[24], data[25], data[28]
    if kind not in (_GREY, _COLOURED) or interlaced or not 0 < width * height <= _MOST_PIXELS:
        return False
    row = 1 + (width * depth * (3 if kind == _COLOURED else 1) + 7) // 8
    try:
        pixels = zlib.decompressobj().decompress(_pixels(data), row * height)
    except zlib.error:
        return False
    return len(pixels) == row * height and not any(
        pixels[at + 1 : at + row].strip(b"\0") for at in range(0, len(pixels), row)
    )


def _pixels(data: bytes) -> bytes:
    """Return what the IDAT chunks hold."""
    at, found = 8, b""
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            found += data[at + 8 : at + 8 + size]
        at += 12 + size
    return found
