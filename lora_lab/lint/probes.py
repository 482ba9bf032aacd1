"""Questions to the machine that cost little: no framework is imported, and nothing waits longer than some seconds.

What only some questions need is imported when they are asked: the linter's start must not pay for it.
"""

import os
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

MIB: Final = 1024 * 1024
TIMEOUT: Final = 5.0
"""Seconds that nvidia-smi may take; it answers in 0.05 to 2."""


class Gpu(NamedTuple):
    """One graphics card that CUDA programs see. Memory in bytes; None is what could not be learned."""

    name: str
    capability: tuple[int, int] | None = None
    memory: int | None = None


class Probes:
    """The real machine. No method raises; None means that it can't be told."""

    def gpus(self) -> tuple[Gpu, ...] | None:
        """Return the NVIDIA cards that a program would see, none where there is none.

        None where another maker's card may be used: AMD's, Intel's or Apple's.
        """
        cards = _from_nvidia_smi() or _from_proc()
        if cards:
            return visible(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))
        return None if _has_other_card() else ()

    def installed(self, module: str) -> bool:
        """Say whether a module could be imported, without importing it."""
        from importlib.util import find_spec  # noqa: PLC0415  # see above

        try:
            return find_spec(module) is not None
        except (ImportError, ValueError, OSError):
            return False

    def version(self, package: str) -> str | None:
        """Return the version of an installed distribution."""
        from importlib import metadata  # noqa: PLC0415  # see above

        try:
            return metadata.version(package)
        except (metadata.PackageNotFoundError, ValueError, OSError):
            return None

    def free(self, folder: Path) -> int | None:
        """Return the free bytes where a folder lies or will lie."""
        from shutil import disk_usage  # noqa: PLC0415  # see above

        try:
            place = next(place for place in (folder, *folder.parents) if place.exists())
            return disk_usage(place).free
        except (OSError, ValueError, StopIteration):
            return None

    def memory(self) -> int | None:
        """Return the bytes of main memory."""
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return None

    def cores(self) -> int | None:
        """Return the processor cores that this process may use."""
        try:
            return len(os.sched_getaffinity(0))
        except (AttributeError, OSError):
            return os.cpu_count()

    def compiler(self) -> bool:
        """Say whether there is a C++ compiler where PyTorch looks for one."""
        from shutil import which  # noqa: PLC0415  # see above

        names = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
        return any(map(which, (os.environ.get("CXX") or names[0], *names)))


def _from_nvidia_smi() -> tuple[Gpu, ...]:
    """Ask the driver's own tool; an old one knows no `compute_cap`."""
    from shutil import which  # noqa: PLC0415  # see above

    program = which("nvidia-smi")
    if program is None:
        return ()
    for fields in ("name,compute_cap,memory.total", "name,memory.total"):
        answer = _answer([program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"])
        if answer is not None:
            return parse_nvidia_smi(answer)
    return ()


def _answer(command: list[str]) -> str | None:
    """Return what a program says, None if it fails or takes too long."""
    import subprocess  # noqa: PLC0415  # see above

    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """Read lines of `name, compute capability, MiB`, or without the middle one."""
    cards = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, *rest = (part.strip() for part in line.split(","))
        capability = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})", rest[0]) if len(rest) > 1 else None
        size = rest[-1] if rest else ""
        pair = (int(capability[1]), int(capability[2])) if capability else None
        cards.append(Gpu(name, pair, int(size) * MIB if re.fullmatch(r"[0-9]{1,9}", size) else None))
    return tuple(cards)


def _from_proc() -> tuple[Gpu, ...]:
    """Ask the kernel's driver, which tells the names alone; containers often have it without the tool."""
    cards = []
    try:
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            found = re.search(r"^Model:\s*(.+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
            cards.append(Gpu(found[1].strip() if found else "an NVIDIA card"))
    except OSError:
        return ()
    return tuple(cards)


def visible(cards: tuple[Gpu, ...], setting: str | None) -> tuple[Gpu, ...]:
    """Return the cards that CUDA_VISIBLE_DEVICES leaves; a number that there is not ends the list, as in CUDA."""
    if setting is None:
        return cards
    left: list[Gpu] = []
    for part in map(str.strip, setting.split(",")):
        if part.startswith(("GPU-", "MIG-")):
            return cards  # named by identity: which one that is needs another question
        if not re.fullmatch(r"[0-9]{1,4}", part) or int(part) >= len(cards):
            break
        left.append(cards[int(part)])
    return tuple(left)


def _has_other_card() -> bool:
    """Say whether a card may be there that torch uses without CUDA: Apple's, or AMD's and Intel's compute drivers."""
    if sys.platform == "darwin":
        return os.uname().machine == "arm64"
    try:
        return Path("/dev/kfd").exists() or any(Path("/dev/dri").glob("renderD*"))
    except OSError:
        return False
