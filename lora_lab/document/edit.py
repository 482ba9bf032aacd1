"""Changes of a JSON config's text that leave all the rest as it is: comments, order, blanks, line ends.

Each function takes a document and returns a text; reading that text again gives the document for the next change.
Where a text is not what JSON allows so that a change can't be placed, it comes back as it was.
"""

import json
import re
from typing import NamedTuple

from lora_lab.document.document import Document, Entry

_COMMENT = re.compile(r"//[^\r\n]*|#[^\r\n]*|/\*.*?\*/", re.DOTALL)
_INLINE = re.compile(r"[^\S\r\n]*")
_NEWLINE = re.compile(r"\r\n|\n|\r")


class _Gap(NamedTuple):
    """What stands between an entry and the next one or the closing brace: offsets of the comma (if any) and the end."""

    comma: int | None
    end: int


def with_value(document: Document, key: str, value: object) -> str:
    """Return the text in which `key` has a value; a key that is not there is added at the end."""
    entry = document.entries.get(key)
    if entry is None:
        return _with_new(document, key, value)
    start, end = entry.value_span.start, entry.value_span.end
    return _spliced(document.text, start, end, _written(value, document.text[start:end]))


def with_name(document: Document, key: str, name: str) -> str:
    """Return the text in which `key` has another name; its earlier duplicates go."""
    entry = document.entries.get(key)
    if entry is None or name in document.entries:
        return document.text
    text = _spliced(document.text, entry.key_span.start, entry.key_span.end, _dumped(name))
    return _without(text, document, [earlier for earlier in document.duplicates if earlier.key == key])


def without_key(document: Document, key: str) -> str:
    """Return the text without `key`, its comma, and its line where it has one of its own; duplicates go too."""
    return _without(document.text, document, [entry for entry in _in_order(document) if entry.key == key])


def without_duplicates(document: Document, key: str) -> str:
    """Return the text without the settings of `key` that a later one replaces."""
    return _without(document.text, document, [earlier for earlier in document.duplicates if earlier.key == key])


def with_json_spelling(document: Document, key: str) -> str:
    """Return the text in which `key` and its value are written as JSON writes them."""
    entry = document.entries.get(key)
    if entry is None:
        return document.text
    text = _spliced(document.text, entry.value_span.start, entry.value_span.end, _dumped(entry.value))
    return _spliced(text, entry.key_span.start, entry.key_span.end, _dumped(key))


def _in_order(document: Document) -> list[Entry]:
    """Return every entry, duplicates too, as they stand in the text."""
    return sorted((*document.duplicates, *document.entries.values()), key=lambda entry: entry.key_span.start)


def _spliced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _dumped(value: object) -> str:
    """Return a value as JSON; half characters, which a file can't hold, as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or not re.search("[\ud800-\udfff]", text) else json.dumps(value)


def _written(value: object, before: str) -> str:
    """Return a value as JSON; a number that stood in quotes keeps the writer's way to write it (1e-4, not 0.0001)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside = before.strip("\"' ")
        try:
            same = json.loads(inside)
        except ValueError:
            return _dumped(value)
        if type(same) is type(value) and same == value:
            return inside
    return _dumped(value)


def _gap(text: str, at: int) -> _Gap:
    """Step from the end of a value over blanks, comments and one comma to the next key or brace."""
    comma = None
    while at < len(text):
        comment = _COMMENT.match(text, at)
        if comment:
            at = comment.end()
        elif text[at] == "," and comma is None:
            comma = at
            at += 1
        elif text[at].isspace() or text[at] == "\ufeff":
            at += 1
        else:
            break
    return _Gap(comma, at)


def _without(text: str, document: Document, entries: list[Entry]) -> str:
    """Remove entries, the last one first, so that the offsets of the others stay."""
    order = _in_order(document)
    for entry in reversed(entries):
        at = order.index(entry)
        previous = order[at - 1] if at else None
        text = _without_one(text, entry, previous, is_last=at == len(order) - 1)
        order.remove(entry)
    return text


def _without_one(text: str, entry: Entry, previous: Entry | None, *, is_last: bool) -> str:
    """Remove one entry with the comma that its going leaves over."""
    start, end = entry.key_span.start, entry.value_span.end
    after = _gap(text, end).comma
    before = _gap(text, previous.value_span.end).comma if previous else None
    if after is not None and not (before is not None and _leads(text, before, start)):
        blanks = _INLINE.match(text, after + 1) if text[:start].endswith("{") else None
        pieces = [(start, end), (after, blanks.end() if blanks else after + 1)]
    elif before is not None and (is_last or after is not None):
        pieces = [(before, before + 1), (start, end)]
    else:
        pieces = [(start, end)]
    return _cut(text, pieces)


def _leads(text: str, comma: int, start: int) -> bool:
    """Say whether the comma opens the line on which the entry stands, as in lists written `, "b": 2`."""
    opened = _line_start(text, comma)
    return opened > 0 and not text[opened:comma].strip() and not text[comma + 1 : start].strip(" \t")


def _cut(text: str, pieces: list[tuple[int, int]]) -> str:
    """Cut pieces out, the last first, each with the line that it leaves empty or the blanks beside it."""
    for start, end in sorted(pieces, reverse=True):
        opened = _line_start(text, start)
        blanks = _INLINE.match(text, end)
        closed = blanks.end() if blanks else end
        newline = _NEWLINE.match(text, closed)
        alone = not text[opened:start].strip() and newline is not None
        if alone and newline is not None:
            start, end = opened, newline.end()
        elif text[start:end].startswith(","):
            pass
        elif not text[opened:start].strip():
            end = closed
        else:
            start = len(text[:start].rstrip(" \t"))
        text = text[:start] + text[end:]
    return text


def _line_start(text: str, at: int) -> int:
    """Return the offset where the line of `at` begins."""
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def _with_new(document: Document, key: str, value: object) -> str:
    """Add a key after the last one, in the style of its neighbours."""
    text = document.text
    order = _in_order(document)
    if not order:
        brace = _gap(text, 0).end
        return _spliced(text, brace + 1, brace + 1, f"{_dumped(key)}: {_dumped(value)}") if text[brace:] else text
    last = order[-1]
    between = text[last.key_span.end : last.value_span.start]
    colon = between if re.fullmatch(r"[ \t]*:[ \t]*", between) else ": "
    pair = f"{_dumped(key)}{colon}{_dumped(value)}"
    opened = _line_start(text, last.key_span.start)
    indent = text[opened : last.key_span.start]
    own_line = opened > 0 and not indent.strip()
    comma = _gap(text, last.value_span.end).comma
    after = last.value_span.end if comma is None else comma + 1
    if not own_line:
        gap = " " if between.endswith(" ") or len(order) == 1 else ""
        new = f",{gap}{pair}" if comma is None else f"{gap}{pair},"
        return _spliced(text, after, after, new)
    newline = _NEWLINE.search(text)
    start = _past_comments(text, after)
    line = f"{newline.group() if newline else ''}{indent}{pair}{'' if comma is None else ','}"
    text = _spliced(text, start, start, line)
    return text if comma is not None else _spliced(text, last.value_span.end, last.value_span.end, ",")


def _past_comments(text: str, at: int) -> int:
    """Step over the comments that follow on the same line; where none does, the place stays."""
    place = at
    while blanks := _INLINE.match(text, at):
        comment = _COMMENT.match(text, blanks.end())
        if not comment:
            return place
        place = at = comment.end()
    return place
