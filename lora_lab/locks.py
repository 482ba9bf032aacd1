"""Locks between processes. They are the operating system's, so that a process which dies gives its own back."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where need be, and wait for it as long as another process holds it."""
    with path.open("a+b") as file:
        while not _lock(file.fileno()):
            time.sleep(0.05)
        try:
            yield
        finally:
            _unlock(file.fileno())


@contextlib.contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for the time within, and say whether it was free. Raises OSError."""
    with path.open("a+b") as file:
        free = _lock(file.fileno())
        try:
            yield free
        finally:
            if free:
                _unlock(file.fileno())


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
