"""`lora-lab diff`: what really differs between two configs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lora_lab.document.conversion import Conversion


@click.command()
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
def command(first: Path, second: Path) -> None:
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
    if rows:
        rows.insert(0, ("", str(first), str(second)))
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for key, left, right in rows:
            click.echo(f"{key:<{widths[0]}}  {left:<{widths[1]}}  {right}".rstrip())
    else:
        click.echo("no difference")
    for path, side in zip((first, second), sides, strict=True):
        lost = list(dict.fromkeys(one.key for one in side.dropped if one.asks))
        if lost:
            click.echo(f"not compared, only in {path}: {', '.join(lost)}", err=True)
    click.get_current_context().exit(1 if rows else 0)


def _rows(left: "Conversion", right: "Conversion") -> Iterator[tuple[str, str, str]]:
    """Yield the keys whose meaning differs, with both values as they are shown."""
    from lora_lab.config import PARAMETERS
    from lora_lab.document.effective import effective

    meant = effective(left), effective(right)
    for key in PARAMETERS:
        if meant[0][key] != meant[1][key]:
            yield key, _shown(left, key, meant[0][key]), _shown(right, key, meant[1][key])


def _shown(side: "Conversion", key: str, value: object) -> str:
    """Return a value; in brackets where the file does not say it."""
    if key in side.unknown:
        return f"(decided by the run: {side.unknown[key]})"
    written = side.values.get(key)
    if written is None:
        return "(not set)" if value is None else f"({_text(value)})"
    return _text(written)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
