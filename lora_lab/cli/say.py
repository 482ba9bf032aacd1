"""The only way to the terminal: what other people wrote gets there without its control characters.

ruff refuses `click.echo` everywhere else in this package.
"""

import contextlib
import errno
import sys
from collections.abc import Iterator

import click

from lora_lab.printable import printable_lines


def say(text: object = "", *, err: bool = False) -> None:
    """Print a text for people; control characters in it become harmless signs, line ends and tabs stay."""
    with _terminal_may_be_gone():
        click.echo(printable_lines(str(text)), err=err)


def say_coloured(text: str, *, err: bool = False, colour: bool | None = None) -> None:
    """Print a text that `click.style` has coloured, all parts of it `printable` before that."""
    with _terminal_may_be_gone():
        click.echo(text, err=err, color=colour)


def say_exactly(text: str, *, newline: bool = True, err: bool = False) -> None:
    """Print a text for programs as it is; where a terminal reads it, like `say`."""
    with _terminal_may_be_gone():
        click.echo(printable_lines(text) if _is_terminal(err) else text, nl=newline, err=err)


def _is_terminal(err: bool) -> bool:
    return (sys.stderr if err else sys.stdout).isatty()


@contextlib.contextmanager
def _terminal_may_be_gone() -> Iterator[None]:
    """Within: a window that was closed while something was printed to it is no error; nobody is there to be told."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
