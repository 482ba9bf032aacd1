"""The command line of a training script, cut out of a shell script, a notebook cell or a page of notes.

Read are the flags after the script's name up to the end of the command: continued lines end with a backslash (sh), a
caret (cmd) or a backtick (PowerShell). Variables are left as they are written; nothing is run.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lora_lab.document.document import Lines, ParseProblem, Span
from lora_lab.document.tree import Item, Tree

_SCRIPT = re.compile(r"(?:train|fine_?tune)\w{0,60}\.py\b")
_BRACKETS = re.compile(r"\{[^{}\r\n]{0,300}\}|\$\([^()\r\n]{0,300}\)")
_BEFORE = re.compile(r"\w*$")
_FLAG = re.compile(r"--(?P<name>[A-Za-z][\w-]*)(?P<value>=.*)?", re.DOTALL)
_CONTINUED = re.compile(r"[\\^`][ \t]*(?:\r\n|\n|\r)")
_COMMENT_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n|\r)(?=[ \t]*--)")
_REDIRECTION = re.compile(r"[0-9&]?>>?[ \t]*(?:&[0-9-]|[^\s;|&]*)")
_LIST_START = re.compile(r"[ \t]*,")
_LISTED = re.compile(r"""(?:[\s,]|#[^\r\n]*)*(?:"([^"\r\n]*)"|'([^'\r\n]*)'|([^\s,)\]"']+))""")
_VARIABLE = re.compile(r"\$|\{|%\w|<[^<>]*>|\bDIM_|\.\.\.$|_{5}|^[A-Z]+(?:_[A-Z]+)+$")
_PLACEHOLDER = re.compile(r"(?:\$\w+|\$?\{\w+\}|<[^<>]*>)$|_{5}")

SEVERAL = frozenset(
    [
        "optimizer_args",
        "network_args",
        "lr_scheduler_args",
        "base_weights",
        "base_weights_multiplier",
        "text_encoder_lr",
        "alphas",
        "lora_layers",
        "report_to",
    ]
)
"""Flags that take more than one value."""


class _Word(NamedTuple):
    """One word of the command, without its quotes."""

    text: str
    start: int
    end: int


def is_variable(value: object) -> bool:
    """Say whether a text stands for something that only the run decides: `$lr`, `{RANK}`, `%MODEL%`, `<path>`."""
    return isinstance(value, str) and _VARIABLE.search(value) is not None


def is_placeholder(value: object) -> bool:
    """Say whether a text in a file is nothing but a name to be filled in: `$lr`, `{RANK}`, `_____/model`."""
    return isinstance(value, str) and _PLACEHOLDER.match(value) is not None


def has_command(text: str) -> bool:
    """Say whether a training script is started somewhere in the text."""
    return any(True for _ in _starts(text))


def parse_command(text: str, path: Path | None = None) -> Tree:
    """Read the flags of the first training command in `text`. Nothing is raised."""
    text = text.removeprefix("\ufeff")
    lines = Lines(text)
    best: tuple[str, list[Item], list[Item], list[ParseProblem]] = ("", [], [], [])
    reached = 0
    for name, at in [*_starts(text), ("", 0)]:
        if 0 < at < reached:
            continue  # a word of a command without flags
        words = list(_words(text, at))
        reached = words[-1].end if words else at
        items, duplicates, problems = _items(words, lines)
        if not best[0] or len(items) > len(best[1]):
            best = (name, items, duplicates, problems)
        if best[1]:
            break
    program, items, duplicates, problems = best
    if not items:
        problems = [ParseProblem("there is no command line of a training script here", lines.span(0, 0))]
    return Tree("command", path, text, tuple(items), tuple(problems), tuple(duplicates), program)


def _starts(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each script that is started, and the offset after it."""
    for match in _SCRIPT.finditer(text):
        at = match.end()
        if text[at : at + 1] in ('"', "'"):
            at += 1
        before = text[max(match.start() - 60, 0) : match.start()]
        first = _BEFORE.search(before)
        start = first[0] if first else ""
        if before.removesuffix(start).endswith("`"):
            continue  # its name in running text
        yield start + match[0].removesuffix(".py"), at


def _words(text: str, at: int) -> Iterator[_Word]:
    """Yield the words from `at` to the end of the command."""
    if _LIST_START.match(text, at):
        yield from _listed_words(text, at)
        return
    while at < len(text):
        char = text[at]
        continued = _CONTINUED.match(text, at)
        if continued:
            at = continued.end()
        elif char in " \t":
            at += 1
        elif char in "\r\n":
            more = _COMMENT_LINE.match(text, at)
            if more is None:
                return
            at = more.end()  # a flag in the next line: the continuation was forgotten, or lost in a paste
        elif redirection := _REDIRECTION.match(text, at):
            at = redirection.end()
        elif char == "#" or char in ";|" or text.startswith("&", at):
            return
        else:
            word = _word(text, at)
            yield word
            at = word.end


def _listed_words(text: str, at: int) -> Iterator[_Word]:
    """Yield the words of a command that is written as a list: PowerShell's `@("a", "b")`, Python's `["a", "b"]`."""
    while match := _LISTED.match(text, at):
        group = match.lastindex or 1
        yield _Word(match[group], match.start(group), match.end(group))
        at = match.end()


def _word(text: str, at: int) -> _Word:
    """Return the word that starts at `at`; quoted parts keep their blanks."""
    start, parts, quote = at, [], ""
    while at < len(text):
        char = text[at]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and text[at + 1 : at + 2] in ('"', "\\"):
                at += 1
                parts.append(text[at])
            else:
                parts.append(char)
        elif char in "\"'":
            quote = char
        elif char in " \t\r\n;|&" or _CONTINUED.match(text, at):
            break
        elif char in "{" or text.startswith("$(", at):
            end = _closing(text, at)
            parts.append(text[at:end])
            at = end - 1
        else:
            parts.append(char)
        at += 1
    return _Word("".join(parts), start, max(at, start + 1))


def _closing(text: str, at: int) -> int:
    """Return the offset after the bracket that closes the one at `at`, in the same line; else the next character's."""
    match = _BRACKETS.match(text, at)
    return match.end() if match else at + 1


def _items(words: list[_Word], lines: Lines) -> tuple[list[Item], list[Item], list[ParseProblem]]:
    """Return the flags with their values, those that a later one replaces, and what fits no flag."""
    found: dict[str, Item] = {}
    duplicates: list[Item] = []
    problems: list[ParseProblem] = []
    at = 0
    while at < len(words):
        flag = _FLAG.fullmatch(words[at].text)
        word = words[at]
        at += 1
        if flag is None:
            continue
        values = []
        while at < len(words) and not _FLAG.fullmatch(words[at].text):
            values.append(words[at])
            at += 1
        name = flag["name"].replace("-", "_")
        item = _item(name, flag["value"], word, values, lines)
        if name not in SEVERAL:
            problems += _left_over(name, values[0 if flag["value"] else 1 :], lines)
        earlier = found.pop(name, None)
        if earlier:
            duplicates.append(earlier)
        found[name] = item
    return list(found.values()), duplicates, problems


def _item(name: str, joined: str | None, word: _Word, values: list[_Word], lines: Lines) -> Item:
    """Return a flag with its value: True without one, a list for flags that take several."""
    key_end = word.start + len(name) + 2
    texts = ([joined[1:]] if joined else []) + [value.text for value in values]
    key_span = lines.span(word.start, min(key_end, word.end))
    if name in SEVERAL:
        end = values[-1].end if values else word.end
        start = key_end + 1 if joined else values[0].start if values else word.start
        return Item((name,), texts, key_span, lines.span(start, end))
    if joined:
        return Item((name,), joined[1:], key_span, lines.span(key_end + 1, word.end))
    if values:
        return Item((name,), values[0].text, key_span, lines.span(values[0].start, values[0].end))
    return Item((name,), True, key_span, key_span)


def _left_over(name: str, extra: list[_Word], lines: Lines) -> Iterator[ParseProblem]:
    """Yield a problem for a word that belongs to no flag, unless a variable or a stray sign stands among them."""
    if not extra or any(is_variable(word.text) or not re.search(r"\w", word.text) for word in extra):
        return
    span: Span = lines.span(extra[0].start, extra[-1].end)
    shown = extra[0].text[:40]
    message = f"{shown} belongs to no flag: the script stops at it; a value of --{name} with a blank needs quotes"
    yield ParseProblem(message, span)
