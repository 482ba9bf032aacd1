"""A picture small enough to lie in a page."""

import contextlib
import io
from pathlib import Path

MOST_PIXELS = 64_000_000
"""Larger pictures are left alone: no trainer draws one, and decoding it could take all memory."""


def thumbnail(path: Path, side: int) -> bytes | None:
    """Return a picture as WebP, at most `side` pixels wide and high; None where it can't be read, or without PIL."""
    try:
        from PIL import Image
    except ImportError:
        return None
    with (
        contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError),
        Image.open(path) as opened,
    ):
        if opened.width * opened.height > MOST_PIXELS:
            return None
        picture = opened.convert("RGB")
        picture.thumbnail((side, side))
        content = io.BytesIO()
        picture.save(content, format="WEBP", quality=80, method=2)
        return content.getvalue()
    return None
