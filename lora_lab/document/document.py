"""The values that reading a config file gives."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

ProblemKind = Literal["comment", "trailing-comma", "bom", "spelling", "syntax"]
"""How bad a departure from JSON is for the reader of this package.

`comment`, `trailing-comma` and `bom` are read without a doubt about what was meant. `spelling` is read by a guess that
is nearly always right (Python's True, single quotes, single backslashes). With `syntax` something was lost or invented.
"""


class Span(NamedTuple):
    """A piece of the text: offsets in characters, and the 1-based line and column where it starts."""

    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True)
class Entry:
    """One key of the top level with its value and where both stand."""

    key: str
    value: object
    key_span: Span
    value_span: Span


@dataclass(frozen=True)
class ParseProblem:
    """Something in the text that is not JSON, and how it was read all the same."""

    message: str
    span: Span
    kind: ProblemKind = "syntax"


@dataclass(frozen=True)
class Document:
    """A config file as it was read. Of keys that occur twice the last one wins; the earlier ones are `duplicates`."""

    path: Path | None
    text: str
    entries: Mapping[str, Entry]
    duplicates: tuple[Entry, ...] = ()
    problems: tuple[ParseProblem, ...] = ()

    @property
    def values(self) -> dict[str, object]:
        """Return key and value of every entry."""
        return {key: entry.value for key, entry in self.entries.items()}

    @property
    def folder(self) -> Path:
        """Return the folder that relative paths in the file start from."""
        return self.path.parent if self.path else Path()

    @property
    def broken(self) -> bool:
        """Say whether something was lost in reading, so that a missing key need not be missing."""
        return any(problem.kind == "syntax" for problem in self.problems)


class Lines:
    """Turns offsets into lines and columns; `\\n`, `\\r\\n` and a lone `\\r` end a line."""

    def __init__(self, text: str) -> None:
        ends = [i for i, char in enumerate(text) if char in "\r\n"] if "\r" in text else _newlines(text)
        self._starts = [0] + [i + 1 for i in ends if text[i : i + 2] != "\r\n"]

    def span(self, start: int, end: int) -> Span:
        """Return the span of the characters from `start` up to but without `end`."""
        line = bisect_right(self._starts, start)
        return Span(start, end, line, start - self._starts[line - 1] + 1)


def _newlines(text: str) -> list[int]:
    """Return the offsets of the `\\n` characters."""
    found: list[int] = []
    at = text.find("\n")
    while at != -1:
        found.append(at)
        at = text.find("\n", at + 1)
    return found
