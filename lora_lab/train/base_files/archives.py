"""Zip archives that torch wrote, and those that grow when they are read."""

import zipfile
from pathlib import Path

from lora_lab.failure import Failure

MOST_GROWTH = 4
"""torch stores tensors as they are; an archive that grows more than so many times was packed by somebody else."""

LEAST = 64 * 1024 * 1024
"""Bytes of content that are read whatever the file's own size."""


def refuse_bomb(path: Path) -> None:
    """Raise Failure for an archive whose content is far larger than the file: reading it would fill the memory."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            content = sum(one.file_size for one in archive.infolist())
        size = path.stat().st_size
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # whoever opens it says what is wrong
    if content > max(LEAST, MOST_GROWTH * size):
        raise Failure(
            f"{path} has {size:,} bytes and would grow to {content:,} when it is opened",
            "no model does that: take its .safetensors version, from somebody you trust",
        )
