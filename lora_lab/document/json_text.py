"""A JSON reader that goes on: it keeps the place of every key and value and says what it had to guess.

The standard library's reader stops at the first comment, trailing comma or byte-order mark, which about one config in
ten carries, and keeps no positions.
"""

import re
from pathlib import Path

from lora_lab.document.document import Document, Entry, Lines, ParseProblem, ProblemKind, Span
from lora_lab.document.json_number import finite_number, is_loose_number, is_not_finite, is_number
from lora_lab.document.json_string import HALF_A_CHARACTER, decode, end_of_string

DEEPEST = 32
"""How deep lists and objects may be nested; a training config needs two levels."""

MOST_PROBLEMS = 20
"""After so many problems the text is something else than JSON."""
_BLANK = re.compile(r"[\s\ufeff]+")
_WORD = re.compile(r"""[^\s,:{}\[\]"'“”‘’]+""")
_NESTED = re.compile(r"""[{}\[\]"]""")
_CONSTANTS: dict[str, object] = {"true": True, "false": False, "null": None}
_PYTHON: dict[str, object] = {"True": True, "False": False, "None": None, "TRUE": True, "FALSE": False, "NULL": None}
_QUOTES = {'"': '"', "'": "'", "“": "”", "”": "”", "‘": "’", "’": "’"}


class _Enough(Exception):
    """Too many problems: what was read so far stands."""


def parse_json(text: str, path: Path | None = None) -> Document:
    """Read `text` as one JSON object. Nothing is raised: what is wrong is in the document's `problems`."""
    bom = text.startswith("\ufeff")
    text = text.removeprefix("\ufeff")
    reader = _Reader(text)
    if bom:
        reader.problem("the file starts with a byte-order mark", 0, 0, "bom")
    try:
        reader.read()
    except _Enough:
        reader.problems.append(
            ParseProblem("too many problems: the rest was not read", reader.lines.span(reader.at, reader.at))
        )
    return Document(path, text, reader.entries, tuple(reader.duplicates), tuple(reader.problems))


class _Reader:
    """One pass over the text; `at` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = Lines(text)
        self.entries: dict[str, Entry] = {}
        self.duplicates: list[Entry] = []
        self.problems: list[ParseProblem] = []

    def read(self) -> None:
        """Read the whole text into `entries`."""
        char = self.peek()
        if not char:
            self.problem("the file is empty", self.at, self.at)
            return
        if char != "{":
            start = self.text[self.at : self.at + 30].splitlines()[0]
            message = f"a config is one JSON object, from {{ to }}, but this begins with {start}"
            self.problem(message, self.at, self.at + len(start))
            return
        self.mapping(0, top=True)
        if self.peek():
            self.problem("text after the closing }: it is not read", self.at, self.at + 1)

    def problem(self, message: str, start: int, end: int, kind: ProblemKind = "syntax") -> None:
        """Note a problem; stop the reading when there are too many that cost something."""
        self.problems.append(ParseProblem(message, self.lines.span(start, min(end, len(self.text))), kind))
        if kind == "syntax" and sum(p.kind == "syntax" for p in self.problems) >= MOST_PROBLEMS:
            raise _Enough

    def follow_up(self, message: str, span: Span) -> None:
        """Note a problem, unless one at the same place explains it."""
        if not self.problems or self.problems[-1].span.end < span.end:
            self.problem(message, span.start, span.end)

    def peek(self) -> str:
        """Skip blanks and comments; return the next character, or "" at the end."""
        while self.at < len(self.text):
            blank = _BLANK.match(self.text, self.at)
            if blank:
                self.at = blank.end()
            elif self.text.startswith(("//", "/*", "#"), self.at):
                self.comment()
            else:
                return self.text[self.at]
        return ""

    def comment(self) -> None:
        """Step over a comment."""
        start = self.at
        if self.text.startswith("/*", start):
            end = self.text.find("*/", start + 2)
            if end == -1:
                self.at = len(self.text)
                self.problem("the comment has no end: */ is missing", start, start + 2)
                return
            self.at = end + 2
        else:
            breaks = [at for at in (self.text.find("\n", start), self.text.find("\r", start)) if at != -1]
            self.at = min(breaks, default=len(self.text))
        self.problem("a comment", start, self.at, "comment")

    def mapping(self, depth: int, *, top: bool = False) -> dict[str, object]:
        """Read an object; the offset is on its `{`. The top one also fills `entries`."""
        opened = self.at
        self.at += 1
        values: dict[str, object] = {}
        while (char := self.peek()) != "}":
            if not char:
                self.problem("the file ends before this { is closed: a } is missing", opened, opened + 1)
                return values
            before = self.at
            entry = self.entry(depth)
            if entry:
                values[entry.key] = entry.value
                if top:
                    self.keep(entry)
            self.separator("}")
            self.at = max(self.at, before + 1)
        self.at += 1
        return values

    def keep(self, entry: Entry) -> None:
        """Add an entry of the top level; an earlier one of the same name becomes a duplicate."""
        earlier = self.entries.pop(entry.key, None)
        if earlier:
            self.duplicates.append(earlier)
        self.entries[entry.key] = entry

    def entry(self, depth: int) -> Entry | None:
        """Read `key: value`; None if there is no key to read."""
        start = self.at
        key = self.key()
        if key is None:
            return None
        key_span = self.lines.span(start, self.at)
        sign = self.peek()
        if sign in {":", "="}:
            if sign == "=":
                self.problem("a = between key and value, where JSON has a colon", self.at, self.at + 1)
            self.at += 1
        else:
            self.follow_up(f'no colon after "{key}"', key_span)
        if self.peek() in {"", ",", "}", "]"}:
            self.follow_up(f'no value for "{key}"', key_span)
            return Entry(key, None, key_span, key_span)
        start = self.at
        value = self.value(depth)
        return Entry(key, value, key_span, self.lines.span(start, self.at))

    def key(self) -> str | None:
        """Read a key; None, one problem and one step further if none is here."""
        start = self.at
        if self.text[start] in _QUOTES:
            return self.string()
        word = _WORD.match(self.text, start)
        if word:
            self.at = word.end()
            self.problem("a key without quotes", start, self.at, "spelling")
            return word.group()
        self.at += 1
        extra = self.text[start] == ","
        self.problem("a comma too many" if extra else f"expected a key, found {self.text[start]}", start, start + 1)
        return None

    def separator(self, closing: str) -> None:
        """Read the comma after an entry or item, if one is due."""
        last = self.at
        char = self.peek()
        if char == ",":
            comma = self.at
            self.at += 1
            if self.peek() == closing:
                self.problem("a comma after the last entry", comma, comma + 1, "trailing-comma")
        elif char and char not in "}]":
            if self.problems and self.problems[-1].span.end >= last:
                return  # the same place is already reported, and the comma may stand inside what was misread
            self.problem("a comma is missing after this", max(last - 1, 0), last)
        elif char and char != closing:
            self.problem(f"expected {closing}, found {char}", self.at, self.at + 1)

    def value(self, depth: int) -> object:
        """Read any value; the offset is on its first character."""
        char = self.text[self.at]
        if char in "{[":
            if depth >= DEEPEST:
                self.problem(f"nested more than {DEEPEST} deep: not read", self.at, self.at + 1)
                self.skip_nested()
                return None
            return self.mapping(depth + 1) if char == "{" else self.items(depth + 1)
        if char in _QUOTES:
            return self.string()
        return self.word()

    def items(self, depth: int) -> list[object]:
        """Read a list; the offset is on its `[`."""
        opened = self.at
        self.at += 1
        values: list[object] = []
        while (char := self.peek()) != "]":
            if not char:
                self.problem("the file ends before this [ is closed: a ] is missing", opened, opened + 1)
                return values
            if char in ",:}":
                self.problem(f"expected a value, found {char}", self.at, self.at + 1)
                self.at += 1
                continue
            values.append(self.value(depth))
            self.separator("]")
        self.at += 1
        return values

    def skip_nested(self) -> None:
        """Step over a list or object without reading it."""
        depth = 0
        while found := _NESTED.search(self.text, self.at):
            self.at = found.end()
            if found.group() == '"':
                self.at = min(end_of_string(self.text, self.at, '"')[0] + 1, len(self.text))
                continue
            depth += 1 if found.group() in "{[" else -1
            if depth == 0:
                return
        self.at = len(self.text)

    def string(self) -> str:
        """Read a string in any kind of quotes."""
        start = self.at
        quote = self.text[start]
        end, closed = end_of_string(self.text, start + 1, _QUOTES[quote])
        self.at = end + closed
        if not closed:
            self.problem("the text in quotes has no end on its line: a closing quote is missing", start, end)
        elif quote == "'":
            self.problem("single quotes, where JSON has double ones", start, self.at, "spelling")
        elif quote != '"':
            self.problem("typographic quotes, where JSON has straight ones", start, self.at, "spelling")
        said = decode(self.text[start + 1 : end])
        if said.guessed:
            self.problem(
                "single backslashes: read as the path that it shows, but to JSON \\t is a tab and \\n a new line",
                start,
                self.at,
                "spelling",
            )
        elif said.lone_surrogate:
            self.problem(HALF_A_CHARACTER, start, self.at)
        return said.value

    def word(self) -> object:
        """Read a number, a constant or text without quotes."""
        start = self.at
        found = _WORD.match(self.text, start)
        if not found:
            self.at += 1
            self.problem(f"expected a value, found {self.text[start]}", start, start + 1)
            return None
        word = found.group()
        for mark in ("//", "/*"):
            if word.find(mark) > 0:
                word = word[: word.find(mark)]
        self.at = start + len(word)
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        if is_number(word):
            return self.number(word, start)
        return self.loose_word(word, start)

    def loose_word(self, word: str, start: int) -> object:
        """Read a word that is not JSON as what it stands for."""
        if word in _PYTHON:
            self.problem(
                f"{word}, where JSON has {str(_PYTHON[word]).lower().replace('none', 'null')}",
                start,
                self.at,
                "spelling",
            )
            return _PYTHON[word]
        if is_not_finite(word):
            self.problem(f"{word} is not a number that a setting can have: read as null", start, self.at)
            return None
        if is_loose_number(word):
            self.problem(f"{word} is not how JSON writes a number", start, self.at, "spelling")
            return self.number(word.replace("_", ""), start)
        self.problem(f"text without quotes: {word[:40]}", start, self.at)
        return word

    def number(self, word: str, start: int) -> object:
        """Return an int or a finite float."""
        value = finite_number(word)
        if value is None:
            self.problem("a number too large to be one", start, self.at)
        return value
