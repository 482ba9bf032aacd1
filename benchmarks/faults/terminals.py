"""A terminal to run commands in, which can be closed under them as a window is."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

OWNED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes the terminal the one that a process hears SIGHUP of."""


class Terminal:
    """A command that runs in a terminal of its own."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        errors: IO[bytes] | None = None,
    ) -> None:
        """Start the command in a folder; its error messages go to the terminal, or to a file."""
        self.said = b""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNED, *command],
            cwd=folder,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=errors or theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        """Type something into it."""
        os.write(self._ours, text.encode())

    def read_until(self, true: Callable[[], bool], seconds: float = 120.0) -> None:
        """Read what is printed until something is true, or the command has ended."""
        end = time.monotonic() + seconds
        while not true() and self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)

    def close(self) -> None:
        """Close the window: whoever it belongs to is told by SIGHUP, and nothing can be printed any more."""
        os.close(self._ours)

    def _read(self, seconds: float) -> None:
        if select.select([self._ours], [], [], seconds)[0]:
            try:
                self.said += os.read(self._ours, 65536)
            except OSError:  # nobody has it open any more
                time.sleep(seconds)
