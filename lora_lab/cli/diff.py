"""`lora-lab diff`: what really differs between two configs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import east_asian_width

import click

from lora_lab.cli.say import say, say_coloured, say_exactly
from lora_lab.printable import printable

if TYPE_CHECKING:
    from lora_lab.document.conversion import Conversion


@click.command()
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def command(first: Path, second: Path, form: str) -> None:
    """Show what really differs between two configs, once defaults and dialects are resolved.

    A and B may be of different programs, or LoRA files (.safetensors). A value in brackets does not stand in the file.

    \b
    Exit code: 0 they train the same
               1 they differ
               2 one could not be read
    """
    from lora_lab.document.conversion import converted

    sides = converted(first), converted(second)
    rows = list(_rows(*sides))
    if form == "json":
        say_exactly(_as_json(first, second, sides, rows))
    else:
        for line in _as_text(first, second, rows):
            say_coloured(line)
        for path, side in zip((first, second), sides, strict=True):
            lost = _lost(side)
            if lost:
                say(f"not compared, only in {path}: {', '.join(lost)}", err=True)
            if side.stand_ins:
                say(f"not compared, not recorded in {path}: {', '.join(sorted(side.stand_ins))}", err=True)
    click.get_current_context().exit(1 if rows else 0)


class Row(NamedTuple):
    """A key whose meaning differs: both meanings, and how they are shown."""

    key: str
    values: tuple[object, object]
    shown: tuple[str, str]


def _as_text(first: Path, second: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table of three columns; what a file does not say itself is dim, what both say is bold."""
    if not rows:
        yield "no difference"
        return
    table = [("", printable(str(first)), printable(str(second))), *((row.key, *row.shown) for row in rows)]
    key_width, left_width = (max(_width(row[column]) for row in table) for column in (0, 1))
    for number, (key, left, right) in enumerate(table):
        key_cell, left_cell = _padded(key, key_width), _padded(left, left_width)
        if number == 0:
            yield click.style(f"{key_cell}  {left_cell}  {right}".rstrip(), bold=True)
        else:
            yield f"{click.style(key_cell, fg='cyan')}  {_coloured(left_cell, 'red')}  {_coloured(right, 'green')}"


def _coloured(cell: str, colour: str) -> str:
    return click.style(cell, dim=True) if cell.startswith("(") else click.style(cell, fg=colour)


def _width(text: str) -> int:
    """Return the columns that a text takes in a terminal: Chinese and Japanese signs take two."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _as_json(first: Path, second: Path, sides: "tuple[Conversion, Conversion]", rows: Sequence[Row]) -> str:
    """Return the differences as one JSON object."""
    import json

    def written(side: "Conversion", key: str) -> bool:
        return side.values.get(key) is not None

    differences = [
        {
            "key": row.key,
            "a": row.values[0],
            "b": row.values[1],
            "a_is_written": written(sides[0], row.key),
            "b_is_written": written(sides[1], row.key),
        }
        for row in rows
    ]
    about = [
        {
            "path": str(path),
            "read_as": side.title,
            "not_compared": [*_lost(side), *sorted(side.stand_ins)],
            "decided_by_the_run": dict(side.unknown),
        }
        for path, side in zip((first, second), sides, strict=True)
    ]
    return json.dumps({"a": about[0], "b": about[1], "differences": differences}, indent=2, ensure_ascii=False)


def _lost(side: "Conversion") -> list[str]:
    """Return the settings without a counterpart here that a run depends on."""
    return list(dict.fromkeys(one.key for one in side.dropped if one.asks))


def _rows(left: "Conversion", right: "Conversion") -> Iterator[Row]:
    """Yield the keys whose meaning differs."""
    from lora_lab.config import PARAMETERS
    from lora_lab.document.effective import effective

    meant = effective(left), effective(right)
    for key in PARAMETERS:
        if meant[0][key] != meant[1][key] and key not in left.stand_ins | right.stand_ins:
            values = meant[0][key], meant[1][key]
            yield Row(key, values, (_shown(left, key, values[0]), _shown(right, key, values[1])))


def _shown(side: "Conversion", key: str, value: object) -> str:
    """Return a value; in brackets where the file does not say it."""
    from lora_lab.config import PARAMETERS

    if key in side.unknown:
        return f"(decided by the run: {side.unknown[key]})"
    written = side.values.get(key)
    if written is None:
        known = side.assumed.get(key, PARAMETERS[key].default)
        if isinstance(known, str) and isinstance(value, str) and known.casefold() == value.casefold():
            value = known  # as people write it
        return "(not set)" if value in (None, "") else f"({_text(value)})"
    return _text(written)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        value = " ".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= 60 else text[:57] + "..."
