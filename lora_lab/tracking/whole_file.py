"""Small files that are there whole or not at all."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path`, fsync it, and rename it into place; raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
