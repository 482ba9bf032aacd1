"""Keys and values of a file of any format, nested as they are, before anyone says what they mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from lora_lab.document.document import ParseProblem, Span

Form = Literal["json", "toml", "yaml", "command"]
Place = tuple[str | int, ...]
"""The way to a value: keys and list indexes from the top."""


class Item(NamedTuple):
    """One key with its value; `place` ends with the key."""

    place: Place
    value: object
    key_span: Span
    value_span: Span

    @property
    def key(self) -> str:
        """Return the last key of the place."""
        return str(self.place[-1])


@dataclass(frozen=True)
class Tree:
    """What a file says. `program` is the script that a command line starts; `duplicates` lost to a later item."""

    form: Form
    path: Path | None
    text: str
    items: tuple[Item, ...]
    problems: tuple[ParseProblem, ...] = ()
    duplicates: tuple[Item, ...] = ()
    program: str = ""

    @property
    def keys(self) -> frozenset[str]:
        """Return every key that has a value, whatever section it stands in."""
        return frozenset(item.key for item in self.items)

    @property
    def sections(self) -> frozenset[str]:
        """Return the names of the outermost sections and keys."""
        return frozenset(str(item.place[0]) for item in self.items)
