"""Ctrl-C, SIGTERM and a closed terminal while training: once asks for an end after the step, twice ends at once."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows knows no SIGHUP, which the end of a terminal or an ssh connection sends."""


SAME_SECONDS = 5.0
"""Two SIGTERM within so many seconds are one: a cluster sends it to all processes, and a sweep passes it on.

Two SIGHUP too: of a closed terminal the shell tells its jobs, and when it has gone the system tells them once more.
"""


@dataclass
class Stop:
    """Whether somebody asked for an end: the number of the signal, else 0."""

    number: int = 0


@contextmanager
def listening(tell: Callable[[str], None]) -> Iterator[Stop]:
    """Within, the first signal only notes the wish and tells so; the second raises KeyboardInterrupt.

    A signal that the process ignores (nohup) stays ignored. Outside the main thread nothing can be listened to.
    """
    stop, heard = Stop(), 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if is_the_same(number, stop.number, time.monotonic() - heard):
            return
        if stop.number:
            raise KeyboardInterrupt
        stop.number, heard = number, time.monotonic()
        tell("stopping after this step; once more ends at once")

    before = {number: signal.getsignal(number) for number in ASKING} if _in_main_thread() else {}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def is_the_same(number: int, before: int, seconds: float) -> bool:
    """Say whether a signal is the same wish for an end as one `seconds` ago; a person's second Ctrl-C never is."""
    return bool(before) and signal.SIGINT not in (number, before) and seconds < SAME_SECONDS


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
