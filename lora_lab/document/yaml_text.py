"""YAML 1.2 text to plain values, with the place of every key and value.

Built on the parser's events and not on its object builder: so nothing in a file can make an object, positions are
exact, depth and size are bounded before anything is built, and one mistake does not hide what was read before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver

from lora_lab.document.document import Lines, ParseProblem, Span
from lora_lab.document.json_string import HALF_A_CHARACTER, whole_characters
from lora_lab.document.read import read_bytes
from lora_lab.failure import Failure

DEEPEST = 50
MOST_PROBLEMS = 20
"""After so many problems the text is something else than what was meant."""

MOST_VALUES = 500_000
"""Values that a file may stand for, aliases counted as often as they are used: ten lines of aliases can mean 10^10."""

Place = tuple[str | int, ...]
"""The way to a value: keys and list indexes from the top."""


@dataclass(frozen=True)
class YamlDocument:
    """A YAML file as it was read; `values` is None where nothing could be read, or the file is empty."""

    path: Path | None
    text: str
    values: Any
    problems: tuple[ParseProblem, ...] = ()
    key_spans: Mapping[Place, Span] = field(default_factory=dict)
    value_spans: Mapping[Place, Span] = field(default_factory=dict)

    def span_of(self, place: Place) -> Span:
        """Return where the value at `place` stands; what is not in the file stands where its container does."""
        while place and place not in self.value_spans:
            place = place[:-1]
        return self.value_spans.get(place, Span(0, 0, 1, 1))

    def key_span_of(self, place: Place) -> Span:
        """Return where the key that ends `place` stands; for a list item, the item."""
        return self.key_spans.get(place) or self.span_of(place)

    @property
    def folder(self) -> Path:
        """Return the folder that relative paths in the file start from."""
        return self.path.parent if self.path else Path()


def read_yaml(path: Path) -> YamlDocument:
    """Read a YAML file; raises `Failure` where the file cannot be read as text."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is no UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path | None = None) -> YamlDocument:
    """Read YAML text; whatever is wrong with it becomes problems, never an exception."""
    builder = _Builder(text)
    parser = YAML(typ="safe", pure=True)
    try:
        for event in parser.parse(text):
            if not builder.take(event):
                break
    except ReaderError as error:
        builder.problem(f"the character {error.character!r} is not allowed in YAML", _at(error.position), None)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.problem(_sentence(error), _at(getattr(mark, "index", 0)), None)
    except (YAMLError, ValueError, OverflowError, RecursionError, AttributeError, IndexError, TypeError) as error:
        # the parser's own slips over broken escapes, directives and the like: still the text's fault
        builder.problem(f"this is not YAML ({type(error).__name__})", 0, None)
    return YamlDocument(path, text, builder.root, tuple(builder.problems), builder.key_spans, builder.value_spans)


def _sentence(error: MarkedYAMLError) -> str:
    """Return the parser's words as one line."""
    words = [str(part).strip() for part in (error.context, error.problem) if part]
    return " ".join(" ".join(words).split()) or "this is not YAML"


def _at(position: object) -> int:
    """Return an offset; the parser has none for some mistakes."""
    return position if isinstance(position, int) else 0


@dataclass
class _Open:
    """A mapping or list that is being read. `size` is the number of values it stands for."""

    value: dict[str, Any] | list[Any]
    place: Place
    start: int
    anchor: str | None
    key: str | None = None
    size: int = 1
    skip: bool = False  # the value to come belongs to a key that was refused
    is_key: bool = False


class _Builder:
    """Turns events into values. A stack in place of recursion: the depth is the file's to choose."""

    def __init__(self, text: str) -> None:
        self.root: Any = None
        self.problems: list[ParseProblem] = []
        self.key_spans: dict[Place, Span] = {}
        self.value_spans: dict[Place, Span] = {}
        self._length = len(text)
        self._lines = Lines(text)
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._resolver = VersionedResolver()
        self._seen_root = False

    def problem(self, message: str, start: int, end: int | None) -> None:
        start = min(max(start, 0), self._length)
        self.problems.append(ParseProblem(message, self._lines.span(start, start if end is None else end)))

    def take(self, event: Any) -> bool:
        """Take one event; return whether to go on."""
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._close(end)
        elif isinstance(event, ScalarEvent):
            self._scalar(event, start, end)
        elif isinstance(event, AliasEvent):
            self._alias(str(event.anchor), start, end)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            if len(self._stack) >= DEEPEST:
                self.problem(f"nested deeper than {DEEPEST} levels", start, end)
                return False
            self._open(event, start, end)
        if len(self.problems) >= MOST_PROBLEMS:
            self.problem("too many problems: the rest was not read", start, start)
            return False
        return self._small_enough(start, end)

    def _small_enough(self, start: int, end: int) -> bool:
        if sum(level.size for level in self._stack) <= MOST_VALUES:
            return True
        self.problem(f"the file stands for more than {MOST_VALUES:,} values", start, end)
        return False

    def _open(self, event: Any, start: int, end: int) -> None:
        value: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
        if event.tag is not None and not str(event.tag).startswith("tag:yaml.org,2002:"):
            self.problem(f"the tag {event.tag} means nothing here", start, end)
        is_key = self._wants_key()
        if is_key:
            self.problem("a key must be a text, not a list or mapping", start, end)
        self._stack.append(_Open(value, self._place(), start, event.anchor, is_key=is_key))

    def _close(self, end: int) -> None:
        done = self._stack.pop()
        if done.is_key:
            self._stack[-1].key, self._stack[-1].skip = "", True
            return
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, done.size)
        self._put(done.value, done.size, done.start, end)

    def _scalar(self, event: Any, start: int, end: int) -> None:
        event.value, whole = whole_characters(str(event.value))
        if not whole:
            self.problem(HALF_A_CHARACTER, start, end)
        value = self._scalar_value(event, start, end)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        if not self._wants_key():
            self._put(value, 1, start, end)
            return
        level = self._stack[-1]
        key = str(event.value)
        assert isinstance(level.value, dict)
        level.key = key
        level.skip = key in level.value
        if level.skip:
            first = self.key_spans[(*level.place, key)]
            self.problem(f"{key!r} stands twice; the first is in line {first.line}", start, end)
        else:
            self.key_spans[(*level.place, key)] = self._lines.span(start, end)

    def _alias(self, anchor: str, start: int, end: int) -> None:
        if self._wants_key():
            self.problem("an alias cannot be a key", start, end)
            self._stack[-1].key, self._stack[-1].skip = "", True
            return
        if anchor not in self._anchors:
            self.problem(f"*{anchor} stands for nothing that came before it", start, end)
        value, size = self._anchors.get(anchor, (None, 1))
        self._put(value, size, start, end)

    def _wants_key(self) -> bool:
        """Return whether what comes next is a mapping's key."""
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _place(self) -> Place:
        """Return the place of the value to come."""
        if not self._stack:
            return ()
        level = self._stack[-1]
        return (*level.place, len(level.value) if isinstance(level.value, list) else level.key or "")

    def _put(self, value: Any, size: int, start: int, end: int) -> None:
        """Give a finished value to what it stands in."""
        place = self._place()
        if not self._stack:
            if self._seen_root:
                self.problem("a second document in one file is not read", start, end)
                return
            self.root, self._seen_root = value, True
            self.value_spans[place] = self._lines.span(start, end)
            return
        level = self._stack[-1]
        level.size += size
        if not level.skip:
            self.value_spans[place] = self._lines.span(start, end)
        if isinstance(level.value, list):
            level.value.append(value)
        else:
            if not level.skip:
                level.value[level.key or ""] = value
            level.key, level.skip = None, False

    def _scalar_value(self, event: Any, start: int, end: int) -> Any:
        """Return the scalar as YAML 1.2's core schema reads it: `1e-4` is a number, `on` a text."""
        text = str(event.value)
        tag = event.tag
        if tag is None or (tag == "!" and not event.implicit[0]):
            tag = self._resolver.resolve(ScalarNode, text, event.implicit)
        try:
            return _READERS.get(str(tag).rpartition(":")[2], str)(text)
        except ValueError:
            self.problem(f"{text!r} cannot be read as {str(tag).rpartition(':')[2]}", start, end)
            return text


def _read_int(text: str) -> int:
    """Read a decimal, hexadecimal, octal or binary number; 0-prefixed decimals are decimal, as YAML 1.2 says."""
    bare = text.replace("_", "")
    prefix = bare.lstrip("+-")[:2].lower()
    return int(bare, {"0x": 16, "0o": 8, "0b": 2}.get(prefix, 10))


def _read_float(text: str) -> float:
    """Read a number; YAML writes infinity and not-a-number with a dot."""
    bare = text.replace("_", "").lower()
    return float(bare.replace(".inf", "inf").replace(".nan", "nan"))


_READERS: Mapping[str, Any] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _read_int,
    "float": _read_float,
}
