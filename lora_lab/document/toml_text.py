"""A TOML reader that goes on: it keeps the place of every key and value and says what it had to guess.

The standard library's reader (and there is none before Python 3.11) gives up at the first slip, such as a byte-order
mark or the single backslashes of a Windows path, and keeps no positions.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_lab.document.document import Lines, ParseProblem, ProblemKind, Span
from lora_lab.document.json_string import is_windows_path
from lora_lab.document.toml_value import Wrong, escaped, is_escaped, scalar
from lora_lab.document.tree import Item, Place, Tree

DEEPEST = 32
"""How deep arrays and inline tables may be nested; a training config needs three levels."""

MOST_PROBLEMS = 20
"""After so many problems the text is something else than TOML."""

_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_WORD = re.compile(r"[^\s,\]}#=]+(?: [0-9][^\s,\]}#=]*)?")  # a date and its time may stand apart
_REST = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?=\r?\n|\r|$)")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)?")
_NEXT_PAIR = re.compile(r"[A-Za-z0-9_-]+[ \t]*=")
_NEW_START = re.compile(r"[ \t]*(?:\[|[A-Za-z0-9_-]+[ \t]*=)")


def parse_toml(text: str, path: Path | None = None) -> Tree:
    """Read `text` as TOML. Nothing is raised: what is wrong is in the tree's `problems`."""
    bom = text.startswith("\ufeff")
    text = text.removeprefix("\ufeff")
    reader = _Reader(text)
    if bom:
        reader.problem("the file starts with a byte-order mark, at which Python's TOML reader stops", 0, 0, "bom")
    reader.read()
    return Tree("toml", path, text, tuple(reader.items.values()), tuple(reader.problems), tuple(reader.duplicates))


class _Reader:
    """One pass over the text; `at` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = Lines(text)
        self.items: dict[Place, Item] = {}
        self.duplicates: list[Item] = []
        self.problems: list[ParseProblem] = []
        self._table: Place = ()
        self._tables: set[Place] = set()
        self._arrays: dict[Place, int] = {}

    def problem(self, message: str, start: int, end: int, kind: ProblemKind = "syntax") -> None:
        """Note a problem."""
        self.problems.append(ParseProblem(message, self.lines.span(start, min(end, len(self.text))), kind))

    def read(self) -> None:
        """Read the whole text into `items`."""
        while True:
            self.skip()
            if self.at >= len(self.text):
                return
            if len(self.problems) >= MOST_PROBLEMS:
                self.problem("too many problems: the rest was not read", self.at, self.at)
                return
            start = self.at
            try:
                self.header() if self.text[self.at] == "[" else self.pair()
                self.end_of_line()
            except Wrong as wrong:
                self.problem(str(wrong), wrong.at, wrong.at + 1)
                self.resume(start)

    def skip(self) -> None:
        """Step over blanks, line ends and comments."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def blank(self) -> None:
        """Step over blanks within a line."""
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def end_of_line(self) -> None:
        """Demand that nothing but a comment follows."""
        match = _REST.match(self.text, self.at)
        if match is None:
            self.blank()
            wrong = Wrong("the line should end here: TOML has one key to a line", self.at)
            if not _NEXT_PAIR.match(self.text, self.at):
                raise wrong
            line = self.lines.span(self.at, self.at).line
            if not self.problems or self.problems[-1].span.line != line:
                self.problem(str(wrong), self.at, self.at + 1)  # a paste that lost its line ends: read on
            return
        self.at = match.end()

    def resume(self, start: int) -> None:
        """Go to the next line that looks like a new beginning."""
        self.at = max(self.at, start)
        while self.at < len(self.text):
            match = _LINE.match(self.text, self.at)
            self.at = match.end() if match and match.end() > self.at else len(self.text)
            if _NEW_START.match(self.text, self.at):
                return

    def header(self) -> None:
        """Read `[table]` or `[[table]]`."""
        start = self.at
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        self.blank()
        place, _ = self.dotted_key()
        self.blank()
        close = "]]" if double else "]"
        if not self.text.startswith(close, self.at):
            raise Wrong(f"{close} is missing", self.at)
        self.at += len(close)
        self._table = self.enter(place, double, start)

    def enter(self, place: Place, double: bool, start: int) -> Place:
        """Return the place of a table, with the index of each array of tables that it is in."""
        resolved: Place = ()
        for key in place[:-1]:
            resolved = (*resolved, key)
            if resolved in self._arrays:
                resolved = (*resolved, self._arrays[resolved])
        resolved = (*resolved, place[-1])
        name = ".".join(str(key) for key in place)
        if resolved in self.items or (double and resolved in self._tables) or (not double and resolved in self._arrays):
            self.problem(f"{name} is something else already", start, self.at)
        elif double:
            self._arrays[resolved] = self._arrays.get(resolved, -1) + 1
            return (*resolved, self._arrays[resolved])
        elif resolved in self._tables:
            self.problem(f"the section [{name}] stands twice, which TOML refuses", start, self.at)
        self._tables.add(resolved)
        return resolved

    def pair(self) -> None:
        """Read `key = value`."""
        keys, key_span = self.dotted_key()
        self.blank()
        if self.text[self.at : self.at + 1] != "=":
            raise Wrong("a key is followed by =", self.at)
        self.at += 1
        self.blank()
        start = self.at
        value = self.value(0)
        item = Item((*self._table, *keys), value, key_span, self.lines.span(start, self.at))
        earlier = self.items.pop(item.place, None)
        if earlier:
            self.duplicates.append(earlier)
            self.problem(
                f'"{item.key}" stands here again (first in line {earlier.key_span.line}), which TOML refuses',
                key_span.start,
                key_span.end,
            )
        self.items[item.place] = item

    def dotted_key(self) -> tuple[Place, Span]:
        """Read a key; its parts are separated by dots."""
        start = self.at
        parts = [self.key_part()]
        while True:
            end = self.at
            self.blank()
            if self.text[self.at : self.at + 1] != ".":
                self.at = end
                return tuple(parts), self.lines.span(start, end)
            self.at += 1
            self.blank()
            parts.append(self.key_part())

    def key_part(self) -> str:
        """Read one bare or quoted part of a key."""
        if self.text[self.at : self.at + 1] in ('"', "'") and self.at < len(self.text):
            return self.string()
        match = _BARE_KEY.match(self.text, self.at)
        if match is None:
            raise Wrong("a key should stand here", self.at)
        self.at = match.end()
        return match[0]

    def value(self, depth: int) -> Any:
        """Read one value."""
        if depth > DEEPEST:
            raise Wrong(f"nested deeper than {DEEPEST} levels", self.at)
        char = self.text[self.at : self.at + 1]
        if char == "[":
            return list(self.array(depth))
        if char == "{":
            return self.inline_table(depth)
        if char in ('"', "'") and char:
            return self.string()
        match = _WORD.match(self.text, self.at)
        if match is None:
            raise Wrong("a value is missing", self.at)
        word = match[0]
        value, used = scalar(word, self.at)
        self.at += used
        return value

    def array(self, depth: int) -> Iterator[Any]:
        """Read the values of an array."""
        start = self.at
        self.at += 1
        while True:
            self.skip()
            if self.at >= len(self.text):
                raise Wrong("this [ has no ]", start)
            if self.text[self.at] == "]":
                self.at += 1
                return
            yield self.value(depth + 1)
            self.skip()
            if self.text[self.at : self.at + 1] == ",":
                self.at += 1
            elif self.text[self.at : self.at + 1] != "]":
                raise Wrong("a comma or ] should stand here", self.at)

    def inline_table(self, depth: int) -> dict[str, Any]:
        """Read `{ key = value, … }`."""
        found: dict[str, Any] = {}
        self.at += 1
        self.blank()
        while self.text[self.at : self.at + 1] != "}":
            keys, _ = self.dotted_key()
            self.blank()
            if self.text[self.at : self.at + 1] != "=":
                raise Wrong("a key is followed by =", self.at)
            self.at += 1
            self.blank()
            at = self.at
            self.nest(found, keys, self.value(depth + 1), at)
            self.blank()
            if self.text[self.at : self.at + 1] == ",":
                self.at += 1
                self.blank()
            elif self.text[self.at : self.at + 1] != "}":
                raise Wrong("a comma or } should stand here", self.at)
        self.at += 1
        return found

    def nest(self, table: dict[str, Any], keys: Place, value: Any, at: int) -> None:
        """Put a value under a dotted key of an inline table."""
        for key in keys[:-1]:
            inner = table.setdefault(str(key), {})
            if not isinstance(inner, dict):
                raise Wrong(f"{key} is a value already", at)
            table = inner
        if str(keys[-1]) in table:
            raise Wrong(f'"{keys[-1]}" stands twice', at)
        table[str(keys[-1])] = value

    def string(self) -> str:
        """Read a string of any of the four kinds."""
        quote = self.text[self.at]
        start = self.at
        if self.text.startswith(quote * 3, start):
            end = self.text.find(quote * 3, start + 3)
            while end > 0 and quote == '"' and is_escaped(self.text, end):
                end = self.text.find(quote * 3, end + 1)
            if end == -1:
                self.at = len(self.text)
                raise Wrong(f"this {quote * 3} is never closed", start)
            while self.text.startswith(quote, end + 3) and end + 1 - start <= len(self.text):
                end += 1
            self.at = end + 3
            body = self.text[start + 3 : end].removeprefix("\r").removeprefix("\n")
            return body if quote == "'" else self.unescaped(body, start)
        end = start + 1
        while end < len(self.text) and self.text[end] not in (quote, "\n", "\r"):
            end += 2 if quote == '"' and self.text[end] == "\\" and self.text[end + 1 : end + 2] not in "\r\n" else 1
        if self.text[end : end + 1] != quote:
            raise Wrong(f"this {quote} is not closed in its line", start)
        self.at = end + 1
        body = self.text[start + 1 : end]
        return body if quote == "'" else self.unescaped(body, start)

    def unescaped(self, body: str, start: int) -> str:
        """Return what a string with escapes says; a Windows path is read as it is shown."""
        if "\\" not in body:
            return body
        value, ok = escaped(body)
        if ok and not is_windows_path(body):
            return value
        if not ok:
            message = "a backslash that TOML takes for an escape and refuses: write / or put the text in single quotes"
            self.problem(message, start, start + len(body) + 2)
        else:
            message = "single backslashes in a Windows path are escapes in TOML: \\t is a tab"
            self.problem(message, start, start + len(body) + 2, "spelling")
        return body.replace("\\\\", "\\")
