"""The only way to the terminal: what other people wrote gets there without its control characters.

ruff refuses `click.echo` everywhere else in this package. A terminal may be closed while something runs that goes on:
whatever is said to it from then on goes nowhere, and nothing ends for that.
"""

import contextlib
import errno
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

import click

from lora_lab.printable import printable_lines


class Unsaid(OSError):
    """What is printed goes to a file or program that takes no more of it: a full disk."""


def say(text: object = "", *, err: bool = False) -> None:
    """Print a text for people; control characters in it become harmless signs, line ends and tabs stay.

    Raises Unsaid, as all of these, where nothing more can be written, and BrokenPipeError where nobody reads any more.
    """
    with _printing(err=err):
        click.echo(printable_lines(str(text)), err=err)


def say_coloured(text: str, *, err: bool = False, colour: bool | None = None) -> None:
    """Print a text that `click.style` has coloured, all parts of it `printable` before that."""
    with _printing(err=err):
        click.echo(text, err=err, color=colour)


def say_exactly(text: str, *, newline: bool = True, err: bool = False) -> None:
    """Print a text for programs as it is; where a terminal reads it, like `say`."""
    with _printing(err=err):
        click.echo(printable_lines(text) if _is_terminal(err) else text, nl=newline, err=err)


class Drawn:
    """The standard output for what draws on it by itself (rich), in a thread of its own: what `say` does holds here."""

    def __init__(self) -> None:
        """Draw on what is the standard output now."""
        self._stream = sys.stdout

    def write(self, text: str) -> int:
        """Write a text whose parts are `printable`."""
        with _printing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Let the terminal have it."""
        with _printing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """Within: nothing that is printed ends a training, whoever has closed what; from then on it goes nowhere.

    Nor a signal that comes while a line is printed, and says another (RuntimeError).
    """
    try:
        yield
    except BrokenPipeError:
        _let_go()
    except (OSError, RuntimeError):
        pass


def empty_buffers() -> None:
    """Let out what is still to be printed: Python does so at its end, and makes a wrong exit code of a reader's end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # noqa: PERF203 -- two streams; nobody is there to be told
            with contextlib.suppress(OSError, ValueError):
                _to_nowhere(stream.fileno())


def _is_terminal(err: bool) -> bool:
    return (sys.stderr if err else sys.stdout).isatty()


@contextlib.contextmanager
def _printing(*, err: bool = False) -> Iterator[None]:
    """Within: a window that was closed while something was printed to it is no error; nobody is there to be told.

    Nor is a reader of error messages that has gone. What libraries print would end the training that `say` saves, so
    their words go nowhere from then on, too.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EIO:
            _let_go()
        elif not isinstance(error, BrokenPipeError):
            raise Unsaid(error.errno, error.strerror) from error
        elif not err:
            raise


def _let_go() -> None:
    """Send to nowhere what goes to a terminal that is gone, or into a pipe that nobody reads."""
    for number in (1, 2):
        if _is_gone(number):
            _to_nowhere(number)


def _is_gone(number: int) -> bool:
    try:
        os.write(number, b"")  # a terminal that is gone refuses nothing, too
    except OSError:
        return True
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
