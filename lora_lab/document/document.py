"""The values that reading a config file gives."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from lora_lab.document.tree import Item

ProblemKind = Literal["comment", "trailing-comma", "bom", "spelling", "syntax"]
"""How bad a departure from JSON is for the reader of this package.

`comment`, `trailing-comma` and `bom` are read without a doubt about what was meant. `spelling` is read by a guess that
is nearly always right (Python's True, single quotes, single backslashes). With `syntax` something was lost or invented.
"""


Part = Literal["", "dataset", "some"]
"""Which part of a run a file is: all of it, its data set, or just some settings of it."""


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
class Dropped:
    """A setting of another program's file that has no counterpart in lora_lab; `asks` says that it changes a run."""

    key: str
    value: object
    span: Span
    reason: str
    asks: bool = True


class ImageDir(NamedTuple):
    """A folder of pictures that a data set file names by itself; `dataset` tells which of its data sets it is in."""

    path: str
    repeats: int
    is_reg: bool
    counted: bool  # the file says the repeats
    dataset: int
    span: Span

    @property
    def key(self) -> str:
        """Return our key for such folders."""
        return "reg_img_folder" if self.is_reg else "img_folder"


@dataclass(frozen=True)
class Origin:
    """What a document was read from that was not written in lora_lab's own keys and JSON.

    `spellings` maps a key of ours to the key in the file, `names` to the other program's name for it, in the file or
    not; `phrases` is what to call a key of ours whose value is not the one in the text. `unknown` are keys of ours that
    are set to something which only the program's run decides, such as a shell variable. `defaults` are the values that
    the other program takes for what its file leaves out. `family` is "sd", "sdxl" or "other" where the file tells the
    base model's family; `partial` says that a part of the run stands elsewhere. `form` is the text's
    format: "json", "toml", "yaml" or "command". `image_dirs` are the folders of pictures where the file names each by
    itself, and none where one of them can't be known. `items`
    are the file's own keys and values as they stand in it, `program` is the script that a command line starts.
    """

    dialect: str
    title: str
    readable: bool = True
    spellings: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    unknown: frozenset[str] = frozenset()
    defaults: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    phrases: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    partial: Part = ""
    form: str = "json"
    image_dirs: tuple[ImageDir, ...] = ()
    items: tuple["Item", ...] = ()
    program: str = ""

    @property
    def foreign(self) -> bool:
        """Say whether the keys are another program's."""
        return self.dialect != "own"


@dataclass(frozen=True)
class Document:
    """A config file as it was read. Of keys that occur twice the last one wins; the earlier ones are `duplicates`.

    `origin` is None for JSON in lora_lab's own keys, the only files whose text fits their entries key by key.
    """

    path: Path | None
    text: str
    entries: Mapping[str, Entry]
    duplicates: tuple[Entry, ...] = ()
    problems: tuple[ParseProblem, ...] = ()
    origin: Origin | None = None

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
