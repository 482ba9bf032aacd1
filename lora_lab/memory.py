"""Main memory: how much a process can still have, and how it shows that there was not enough.

Sizes are in bytes. What cannot be learned on a system is None.
"""

import atexit
import contextlib
import errno
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_WORDS: Final = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|not enough memory|bad_alloc"
    r"|CU(BLAS|DNN|SOLVER)_STATUS_ALLOC_FAILED|killed by signal: Killed",
    re.IGNORECASE,
)
"""What torch (whose CPU allocator raises a plain RuntimeError), CUDA's libraries and a lost data worker say."""

_NO_LIMIT: Final = 1 << 60
"""A limit of a cgroup that is none."""


def ran_out(error: BaseException) -> bool:
    """Return whether an exception says that memory, of the machine or of a card, ran out.

    torch's own exception is known by its name, as torch is not imported for this.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Within: no garbage collector, which would only look through what is being imported and built.

    It is on afterwards, if it was before: an outer one ends last.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def no_last_collection() -> None:
    """Let the process end without one: 0.8 s of looking through all that torch and diffusers have brought along."""
    atexit.register(gc.freeze)


def held() -> int | None:
    """Return what this process holds of main memory."""
    status = _status()
    return None if status is None else status.get("VmRSS")


def available() -> int | None:
    """Return what this process could take besides what it holds: of the machine, of its cgroup, of its own limit."""
    known = [room for room in (_of_machine(), _of_cgroup(), _of_limit()) if room is not None]
    return max(min(known), 0) if known else None


def killed_for_memory() -> int:
    """Return how many processes of this machine the kernel has ended so far because memory ran out."""
    return (_numbers(Path("/proc/vmstat")) or {}).get("oom_kill", 0)


def _of_machine() -> int | None:
    found = (_numbers(Path("/proc/meminfo")) or {}).get("MemAvailable")
    if found is not None:
        return found
    try:
        import psutil  # noqa: PLC0415 -- only where /proc is missing, and where the trainer is installed
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _of_cgroup() -> int | None:
    """What the strictest cgroup above this process leaves; pages of files count as free, as they can be dropped."""
    rooms = [room for folder in _cgroups() if (room := _room_in(folder)) is not None]
    return min(rooms, default=None)


def _cgroups(top: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the cgroups that limit this process's memory, of either version: its own and those above it."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
    found: list[Path] = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "" or "memory" in controllers.split(","):
            root = top / "memory" if controllers else top
            folder = root / path.strip("/")
            found += [one for one in (folder, *folder.parents) if one.is_relative_to(root)]
    return found


def _room_in(folder: Path) -> int | None:
    """What a cgroup leaves, None where it has no limit."""
    for limit_name, used_name, files_name in _NAMES:
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None and limit < _NO_LIMIT:
            return limit - used + (_numbers(folder / "memory.stat") or {}).get(files_name, 0)
    return None


_NAMES: Final = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a cgroup of version 2 and of version 1, and the line of `memory.stat` with the pages of files."""


def _of_limit() -> int | None:
    """What `ulimit -v` leaves of the address space."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 -- there is none on Windows

    limit, status = resource.getrlimit(resource.RLIMIT_AS)[0], _status()
    return None if limit in (resource.RLIM_INFINITY, -1) or status is None else limit - status.get("VmSize", 0)


def _status() -> dict[str, int] | None:
    return _numbers(Path("/proc/self/status"))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max" is no number
        return None


def _numbers(path: Path) -> dict[str, int] | None:
    """Read lines of `name: number kB` or `name number`; None where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.findall(r"^(\w+):?\s+(\d+)( kB)?$", text, re.MULTILINE)
    return {name: int(number) * (1024 if unit else 1) for name, number, unit in found}
