"""The folder of the caches: where it is, what lies in it, what may go.

One folder for all runs of a user, on whatever data and base. An entry is a file named after everything that it depends
on, `KIND/ab/abcd….safetensors`, so none is ever outdated. The time of its last change is that of its last use.
"""

import contextlib
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lora_lab.failure import Failure
from lora_lab.locks import held_if_free

FOLDER, LIMIT = "LORA_LAB_CACHE", "LORA_LAB_CACHE_LIMIT"
"""The variables that name another folder, and its limit."""

USUAL_LIMIT = 20 * 10**9

KINDS = {
    "latents": "pictures as the VAE encodes them",
    "texts": "captions as the text encoder gives them",
    "masks": "masks in the size of the latents",
    "ids": "captions as token numbers",
    "hashes": "hashes of model files",
}

IN_USE = "in-use"
"""Where each process that uses the folder holds the lock of a file of its own."""

_ABANDONED = 24 * 3600
"""Seconds after which an unfinished file is one that a crash has left."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TIMES = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


class Entry(NamedTuple):
    """A file of the cache: its size in bytes, and when it was last used, in seconds since 1970."""

    path: Path
    kind: str
    size: int
    used: float


def default_folder() -> Path:
    """Return `$LORA_LAB_CACHE`, else the system's place for what can be made again.

    `~/.cache/lora-lab` or below `$XDG_CACHE_HOME` (XDG Base Directory Specification 0.8), on macOS
    `~/Library/Caches/lora-lab`, on Windows `%LOCALAPPDATA%\\lora-lab\\Cache`.
    """
    named = os.environ.get(FOLDER)
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lora-lab"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lora-lab" / "Cache"
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (given if given.is_absolute() else Path.home() / ".cache") / "lora-lab"


def limit() -> int | None:
    """Return the bytes that the cache may have, None for any number: `$LORA_LAB_CACHE_LIMIT`, else 20 GB.

    Raises Failure for a value that is no size.
    """
    given = os.environ.get(LIMIT, "").strip()
    if not given:
        return USUAL_LIMIT
    return None if given.lower() == "none" else size_of(given, LIMIT)


def size_of(text: str, name: str) -> int:
    """Return the bytes that `20GB`, `500 MB` or `1000` says. Raises Failure, naming where it stands."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise Failure(f"{name} is no size: {text!r}", "write it like 20GB or 500MB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def age_of(text: str, name: str) -> float:
    """Return the seconds that `30d`, `12h` or `2w` says. Raises Failure, naming where it stands."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdw])", text.strip(), re.IGNORECASE)
    if match is None:
        raise Failure(f"{name} is no time: {text!r}", "write it like 30d, 12h or 2w")
    return float(match[1]) * _TIMES[match[2].lower()]


def path_of(folder: Path, kind: str, key: str) -> Path:
    """Return where an entry lies."""
    return folder / kind / key[:2] / f"{key}.{'json' if kind == 'hashes' else 'safetensors'}"


def entries(folder: Path) -> list[Entry]:
    """Return everything in the cache, what was not used for longest first. What vanishes meanwhile is left out."""
    found = []
    for kind in KINDS:
        for file in _files(folder / kind):
            with contextlib.suppress(OSError):
                known = file.stat()
                abandoned = file.name.startswith(".") and time.time() - known.st_mtime > _ABANDONED
                if abandoned or not file.name.startswith("."):
                    found.append(Entry(Path(file.path), kind, known.st_size, known.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def _files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with contextlib.suppress(OSError), os.scandir(folder) as inside:
        for one in inside:
            if one.is_dir(follow_symlinks=False):
                yield from _files(Path(one.path))
            elif one.is_file(follow_symlinks=False):
                yield one


def to_remove(
    found: list[Entry], *, keep_under: int | None = None, before: float | None = None, in_use_since: float | None = None
) -> list[Entry]:
    """Choose what goes of `entries`: what was last used before a time, then the longest unused until the size fits.

    What was used since `in_use_since` stays: a running process may need it.
    """
    free = [entry for entry in found if in_use_since is None or entry.used < in_use_since]
    chosen = [entry for entry in free if before is not None and entry.used < before]
    if keep_under is not None:
        left = sum(entry.size for entry in found) - sum(entry.size for entry in chosen)
        for entry in free[len(chosen) :]:  # sorted by use, as those before are
            if left <= keep_under:
                break
            chosen.append(entry)
            left -= entry.size
    return chosen


def remove(chosen: list[Entry]) -> list[Entry]:
    """Remove entries and the folders that they leave empty; return those that are gone."""
    gone = []
    for entry in chosen:
        try:
            entry.path.unlink(missing_ok=True)
        except OSError:  # another user's; it stays
            continue
        gone.append(entry)
    for folder in {entry.path.parent for entry in gone}:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    return gone


class Lease:
    """Says that this process uses the cache, from now until it ends, however it ends. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        (folder / IN_USE).mkdir(parents=True, exist_ok=True)
        self._path = folder / IN_USE / uuid.uuid4().hex
        self._held = contextlib.ExitStack()
        self._held.enter_context(held_if_free(self._path))

    def end(self) -> None:
        """Say that nothing is used any more."""
        self._held.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def in_use_since(folder: Path) -> float | None:
    """Return when the first of the processes that use the cache now began to; None where there is none.

    The marks of processes that have gone are removed.
    """
    since = []
    for mark in _files(folder / IN_USE):
        with contextlib.suppress(OSError), held_if_free(Path(mark.path)) as free:
            if free:
                Path(mark.path).unlink()
            else:
                since.append(mark.stat().st_mtime)
    return min(since, default=None)
