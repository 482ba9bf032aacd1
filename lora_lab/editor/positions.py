"""Offsets in a text and the positions that editors count by.

Editors count lines from 0, ended by `\\n`, `\\r\\n` or `\\r` only, and within a line units of UTF-16 (an emoji is
two) unless the two sides agreed on UTF-8 or whole characters.
https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/#position
"""

import re
from bisect import bisect_right
from typing import NamedTuple

_ENDS = re.compile(r"\r\n|\n|\r")


class Place(NamedTuple):
    """A line and a number of units within it, both from 0."""

    line: int
    unit: int


class Positions:
    """Translates for one text. `encoding` is "utf-8", "utf-16" or "utf-32"."""

    def __init__(self, text: str, encoding: str = "utf-16") -> None:
        self._text = text
        self._encoding = encoding
        self._starts = [0, *(end.end() for end in _ENDS.finditer(text))]

    def place(self, offset: int) -> Place:
        """Return the place of an offset in characters; what lies outside the text is at its nearest end."""
        offset = min(max(offset, 0), len(self._text))
        line = bisect_right(self._starts, offset) - 1
        return Place(line, sum(map(self._units, self._text[self._starts[line] : offset])))

    def offset(self, place: Place) -> int:
        """Return the offset in characters of a place; what lies behind a line's end is at its end."""
        if place.line >= len(self._starts):
            return len(self._text)
        at = self._starts[place.line]
        next_line = self._starts[place.line + 1] if place.line + 1 < len(self._starts) else len(self._text)
        left = place.unit
        while at < next_line and left > 0 and self._text[at] not in "\r\n":
            left -= self._units(self._text[at])
            at += 1
        return at

    def _units(self, char: str) -> int:
        if self._encoding == "utf-16":
            return 2 if char > "\uffff" else 1
        return len(char.encode("utf-8", "surrogatepass")) if self._encoding == "utf-8" else 1


class Change(NamedTuple):
    """What replaces a piece of a text; without a place it replaces all."""

    text: str
    start: Place | None = None
    end: Place | None = None


def changed(text: str, change: Change, encoding: str = "utf-16") -> str:
    """Return the text after one change of an editor's."""
    if change.start is None or change.end is None:
        return change.text
    positions = Positions(text, encoding)
    return text[: positions.offset(change.start)] + change.text + text[positions.offset(change.end) :]


class Replacement(NamedTuple):
    """A piece of a text, in offsets, and what takes its place."""

    start: int
    end: int
    text: str


def difference(before: str, after: str) -> Replacement:
    """Return the one replacement that makes `after` of `before`; it never splits the line end `\\r\\n`."""
    start, most = 0, min(len(before), len(after))
    while start < most and before[start] == after[start]:
        start += 1
    end, most = 0, most - start
    while end < most and before[len(before) - 1 - end] == after[len(after) - 1 - end]:
        end += 1
    if start and before[start - 1] == "\r":
        start -= 1
    if end and before[len(before) - end] == "\n" and before[len(before) - end - 1 : len(before) - end] == "\r":
        end -= 1
    return Replacement(start, len(before) - end, after[start : len(after) - end])
