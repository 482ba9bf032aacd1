"""Opening what a config, a data folder or a search came upon: files, and nothing that waits for ever or never ends.

A pipe (FIFO) makes whoever opens it wait for a writer, a device such as /dev/zero has no end: folders of other people
may hold both, or links to them.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

NO_FILE = "it is a pipe, a device or a socket, no file"

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes. Raises OSError, also for what is no file, and ValueError (a NUL in it)."""
    _refuse(path.stat().st_mode, path)  # first, as to open a device may do something to it
    handle = os.open(path, _FLAGS)
    try:
        _refuse(os.fstat(handle).st_mode, path)  # it may have been another one meanwhile
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises OSError."""
    with open_file(path) as file:
        return file.read()


def _refuse(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NO_FILE, str(path))
