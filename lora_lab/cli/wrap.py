"""Text in lines of a terminal, also in scripts whose letters are two cells wide and have no spaces between words.

`textwrap` counts letters, not cells, and never breaks a line of Japanese; rich, which does, is no part of a plain
installation.
"""

import re
import unicodedata
from collections.abc import Iterator

_NOT_FIRST = "、。，．・：；？！ー）」』】〕〉》～…,.:;?!)]}"
"""Signs that no line begins with (kinsoku)."""

_NOT_LAST = "（「『【〔〈《([{"
"""Signs that no line ends with."""

_WIDE = r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]"
_PIECE = re.compile(rf"\s+|{_WIDE}|(?:(?!{_WIDE})\S)+")


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrapped(text: str, width: int, indent: str = "  ", first: str | None = None) -> list[str]:
    """Return the text in lines of at most `width` cells; a longer word sticks out. `first` leads the first line."""
    lead = indent if first is None else first
    lines = [lead]
    for piece in _pieces(text):
        line = lines[-1]
        fresh = line == (lead if len(lines) == 1 else indent)
        if not fresh and cells((line + piece).rstrip()) > width:
            lines[-1] = line.rstrip()
            lines.append(indent + piece.lstrip())
        elif not (fresh and piece.isspace()):
            lines[-1] = line + piece
    lines[-1] = lines[-1].rstrip()
    return lines


def _pieces(text: str) -> Iterator[str]:
    """Yield what stays together: a word, a wide letter; signs stay with what they close or open."""
    kept = ""
    for piece in _PIECE.findall(text):
        closes = piece[0] in _NOT_FIRST
        if kept and not closes and kept[-1] not in _NOT_LAST:
            yield kept
            kept = ""
        kept += " " if piece.isspace() else piece
    if kept:
        yield kept
