"""The files that a command line names: themselves, the standard input, what folders hold."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_PASSED_OVER = {"node_modules", "__pycache__", "venv", "mlruns", "mlartifacts"}


class Source(NamedTuple):
    """A file to judge; `found` says that a search through a folder came upon it."""

    path: Path | None
    name: str
    found: bool


def sources(files: Iterable[str], failures: list[str]) -> Iterator[Source]:
    """Yield what is to be judged, each once; what can't be is added to `failures`."""
    seen: set[Path] = set()
    for name in files:
        path = Path(name)
        if name == "-":
            yield Source(None, "<stdin>", found=False)
        elif _is_folder(path):
            inside = [one for one in sorted(path.rglob("*.json")) if not _is_passed_over(one.relative_to(path))]
            if not inside:
                failures.append(f"no .json file in {name}")
            yield from (Source(one, str(one), found=True) for one in inside if one not in seen)
            seen.update(inside)
        elif path not in seen:
            seen.add(path)
            yield Source(path, name, found=False)


def _is_folder(path: Path) -> bool:
    """Say whether a path is a folder; an impossible name is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_passed_over(path: Path) -> bool:
    """Say whether a search leaves a path out: hidden folders and those of tools."""
    return any(part.startswith(".") or part in _PASSED_OVER for part in path.parts)
