"""Names of models by their content; a file that was hashed before and has not changed since is not read again."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_lab.cache_folder import default_folder, path_of
from lora_lab.whole_files import write_whole

_OLD_WINDOW = (0x100000, 0x10000)  # offset and length of the piece that the old hash is made of

SETTLED = 2 * 10**9
"""Nanoseconds since a file's last change before its hash is kept: within a tick of the clock it may change unseen."""


_known: dict[str, str] = {}
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Hashes:
    """What names a model: SHA-256 of its weights, and the 8 hex digits that older user interfaces knew it by."""

    full: str
    old: str


def hashes_of(path: Path, *parts: str) -> Hashes:
    """Name a file by its bytes, a folder by the weight files in its `parts`, in order of their names.

    The old hash of a file is of 64 KiB at offset 1 MiB (AUTOMATIC1111's, sd-scripts `train_util.model_hash`); a folder
    never had one and gets the first digits of the full hash.
    """
    if path.is_file():
        return Hashes(_sha256(path), _old_hash(path))
    folders = [path / part for part in parts] if parts else [path]
    full = _sha256(*(file for folder in folders for file in _weights(folder)))
    return Hashes(full, full[:8])


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _sha256(*files: Path) -> str:
    """Return the hash of some files' bytes one after another, from the cache's folder where it knows them.

    Two threads that want the same do not both read: they come one after another.
    """
    with _one_at_a_time:
        return _hashed(files)


def _hashed(files: Sequence[Path]) -> str:
    state = [_state(file) for file in files]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    if key in _known:
        return _known[key]
    note = path_of(default_folder(), "hashes", key)
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(note.read_text())
        if isinstance(known, str) and len(bytes.fromhex(known)) == 32:
            os.utime(note)
            return known
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    found = digest.hexdigest()
    settled = all(time.time_ns() - max(row[2], row[3]) > SETTLED for row in state)
    if settled:
        _known[key] = found
    if settled and state == [_state(file) for file in files]:
        with contextlib.suppress(OSError):  # then it is computed again next time
            note.parent.mkdir(parents=True, exist_ok=True)
            write_whole(note, json.dumps(found))
    return found


def _state(file: Path) -> tuple[str, int, int, int, int]:
    """What changes when a file does: place, size, times of the last change of content and of status, number."""
    known = file.stat()
    return str(file.resolve()), known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino


def _old_hash(path: Path) -> str:
    offset, length = _OLD_WINDOW
    with path.open("rb") as stream:
        stream.seek(offset)
        return hashlib.sha256(stream.read(length)).hexdigest()[:8]
