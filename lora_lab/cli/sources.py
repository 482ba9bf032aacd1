"""The files that a command line names: themselves, the standard input, what folders hold and globs match."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

SUFFIXES: Final = (".json", ".jsonc", ".toml", ".yaml", ".yml", ".sh", ".bat", ".cmd", ".ps1")
"""What a search through a folder looks at: settings, and the scripts that start a training."""

_PASSED_OVER: Final = frozenset(
    ["node_modules", "__pycache__", "venv", "env", "site-packages", "mlruns", "mlartifacts", "lora-lab-runs"]
)
_VIRTUAL_ENVIRONMENT: Final = "pyvenv.cfg"


class Source(NamedTuple):
    """A file to judge; `found` says that a search through a folder came upon it."""

    path: Path | None
    name: str
    found: bool


_STANDARD_INPUT: Final = Source(None, "<stdin>", found=False)


def sources(files: Iterable[str], failures: list[str]) -> Iterator[Source]:
    """Yield what is to be judged, each once; what can't be is added to `failures`.

    The order is that of `files`; what a folder or a glob stands for comes in the order of the names. A glob is
    resolved here where no shell has done it, as on Windows; a file that is called so comes first.
    """
    seen: set[str] = set()
    for name in files:
        for source in [_STANDARD_INPUT] if name == "-" else _named(name, failures):
            key = os.path.abspath(source.path) if source.path else "-"  # noqa: PTH100 - a path of many dots stays cheap
            if key not in seen:
                seen.add(key)
                yield source


def standard_input() -> bytes:
    """Return what the standard input holds; raises `Failure` where that is too large for a config."""
    from lora_lab.document.read import LARGEST, too_large

    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise too_large("<stdin>")
    return data


def may_be_config(source: Source) -> bool:
    """Say by its words whether a file that a search came upon can be a config."""
    from lora_lab.document.dialects import recognise

    return source.path is None or recognise.may_be_config(source.path)


def _named(name: str, failures: list[str]) -> Iterator[Source]:
    """Yield what one name stands for."""
    path = Path(name)
    if _is_folder(path):
        inside = sorted(_search(path))
        if not inside:
            failures.append(f"no file in {name} that could be a config: none ends with {', '.join(SUFFIXES)}")
        yield from (Source(one, str(one), found=True) for one in inside)
    elif any(sign in name for sign in "*?[") and not _exists(path):
        matches = sorted(_matches(name))
        if not matches:
            failures.append(f"nothing matches {name}")
        for match in matches:
            one = Path(match)
            if not _is_folder(one):
                yield Source(one, match, found=False)
            elif not _is_left_out(one):
                yield from (Source(inner, str(inner), found=True) for inner in sorted(_search(one)))
    else:
        yield Source(path, name, found=False)


def _matches(pattern: str) -> list[str]:
    """Return what a pattern matches; a pattern that the system can't look for matches nothing."""
    try:
        return glob.glob(pattern, recursive=True)  # noqa: PTH207 - also for absolute patterns and drives
    except (OSError, ValueError):
        return []


def _search(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and the folders in it that may be configs; links to folders are not followed."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not _is_left_out(here / name)]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield here / name


def _is_left_out(folder: Path) -> bool:
    """Say whether a search leaves a folder out: hidden ones and those of tools and environments."""
    name = folder.name
    return name.startswith(".") or name in _PASSED_OVER or (folder / _VIRTUAL_ENVIRONMENT).exists()


def _is_folder(path: Path) -> bool:
    """Say whether a path is a folder; an impossible name is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
