"""How much the words of a caption count: the brackets of user interfaces' prompts, with `weighted_captions`.

The rules are those of AUTOMATIC1111's web UI, which sd-scripts follows (`strategy_base.parse_prompt_attention`):
`(a)` counts 1.1 times, `[a]` a 1.1th, `(a:1.3)` 1.3 times, brackets in brackets multiply; a backslash before a bracket
makes it a letter. A bracket that is never closed holds to the end; one that closes nothing is a letter.
"""

import re
from typing import NamedTuple

_STEP = 1.1
_PIECE = re.compile(r"\\[()\[\]\\]|:(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\)|[^\\()\[\]:]+|[\\()\[\]:]")


class Piece(NamedTuple):
    """Text that counts the same throughout, and how much."""

    text: str
    weight: float


class Reading(NamedTuple):
    """The pieces of a text, with how many brackets are never closed, and how many close nothing."""

    pieces: tuple[Piece, ...]
    unclosed: int
    unopened: int

    @property
    def weighted(self) -> bool:
        """Say whether anything counts more or less than the rest."""
        return any(piece.weight != 1.0 for piece in self.pieces)

    @property
    def text(self) -> str:
        """Return the words without the syntax."""
        return "".join(piece.text for piece in self.pieces)


def read_emphasis(text: str) -> Reading:
    """Read a caption's brackets. Neighbours of the same weight are one piece; an empty text has none."""
    found: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    unopened = 0
    for match in _PIECE.finditer(text):
        word, weight = match[0], match["weight"]
        opening = {")": "(", "]": "["}.get(word[-1], "") if len(word) == 1 or weight else ""
        if word in opened:
            opened[word].append(len(found))
        elif opening and opened[opening]:
            _multiply(found, opened[opening].pop(), float(weight) if weight else _STEP if opening == "(" else 1 / _STEP)
        else:
            unopened += bool(opening) and not weight
            found.append(Piece(word[1:] if word.startswith("\\") else word, 1.0))
    unclosed = sum(map(len, opened.values()))
    for opening, factor in (("(", _STEP), ("[", 1 / _STEP)):
        for start in opened[opening]:
            _multiply(found, start, factor)
    return Reading(_joined(found), unclosed, unopened)


def _multiply(found: list[Piece], start: int, factor: float) -> None:
    found[start:] = [Piece(text, weight * factor) for text, weight in found[start:]]


def _joined(found: list[Piece]) -> tuple[Piece, ...]:
    joined: list[Piece] = []
    for piece in found:
        if joined and joined[-1].weight == piece.weight:
            piece = Piece(joined.pop().text + piece.text, piece.weight)
        joined.append(piece)
    return tuple(piece for piece in joined if piece.text)
