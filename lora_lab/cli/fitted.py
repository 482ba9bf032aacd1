"""A table that fits a terminal: very long cells are cut, then what matters least is left out, then the rest is cut."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

from lora_lab.cli.wrap import cells
from lora_lab.printable import printable

GAP = 2
NARROWEST = 6
"""Cells that a column keeps in any case."""


class Column(NamedTuple):
    """A column: its header and cells; with the greatest `least` it is left out first, with 0 never."""

    header: str
    texts: Sequence[str]
    least: int = 0
    right: bool = False


def width_of_terminal() -> int | None:
    """Return how many cells a line may have; None where no terminal reads it, and nothing has to fit."""
    if "COLUMNS" not in os.environ and not sys.stdout.isatty():
        return None
    return max(shutil.get_terminal_size().columns, 40)


def fitted(columns: Sequence[Column], width: int | None) -> list[str]:
    """Return the lines of a table of at most `width` cells; a line below says which columns were left out."""
    shown = [Column(printable(one.header), [printable(text) for text in one.texts], *one[2:]) for one in columns]
    left_out: list[str] = []
    while width is not None and _total(_widths(shown, width // 4)) > width:
        spare = max(shown, key=lambda one: one.least)
        if not spare.least:
            break
        shown.remove(spare)
        left_out.append(spare.header)
    widths = _cut(_widths(shown), width)
    lines = [_line([one.header for one in shown], shown, widths), "  ".join("-" * wide for wide in widths)]
    lines += [_line(row, shown, widths) for row in zip(*(one.texts for one in shown), strict=True)]
    if left_out:
        lines.append(f"(left out to fit: {', '.join(reversed(left_out))})")
    return lines


def _widths(columns: Sequence[Column], most: int | None = None) -> list[int]:
    widths = [max(map(cells, (one.header, *one.texts))) for one in columns]
    return widths if most is None else [min(width, most) for width in widths]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _cut(widths: list[int], width: int | None) -> list[int]:
    """Take from the widest columns what is too much."""
    widths = list(widths)
    while width is not None and _total(widths) > width and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = []
    for text, column, wide in zip(row, columns, widths, strict=True):
        short = shortened(text, wide)
        blank = " " * (wide - cells(short))
        padded.append(blank + short if column.right else short + blank)
    return (" " * GAP).join(padded).rstrip()


def shortened(text: str, width: int) -> str:
    """Return a text in at most `width` cells, with … for what is cut off."""
    if cells(text) <= width:
        return text
    while text and cells(text) >= width:
        text = text[:-1]
    return f"{text}…"
