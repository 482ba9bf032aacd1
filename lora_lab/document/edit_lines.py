"""Changes of a TOML or YAML config's text, where each key has a line of its own; all the rest stays as it is.

Each function returns the new text, or the old one where the change can't be placed: within `{a: 1, b: 2}` on one line,
say. Whoever asks reads the text again and sees whether the change was made.
"""

import re

from lora_lab.document.document import Entry

_NEWLINE = re.compile(r"\r\n|\n|\r")
_REST = re.compile(r"[ \t]*(#[^\r\n]*)?(?=\r|\n|$)")


def with_value(text: str, entry: Entry, written: str) -> str:
    """Return the text in which an entry has a value; `written` is the value as text of the same format."""
    start, end = entry.value_span.start, _end(text, entry)
    return text[:start] + written + text[end:]


def with_name(text: str, entry: Entry, name: str) -> str:
    """Return the text in which an entry has another key."""
    return text[: entry.key_span.start] + name + text[entry.key_span.end :]


def without(text: str, entry: Entry) -> str:
    """Return the text without an entry and its line; a comment that follows it stays."""
    start, end = _line_start(text, entry.key_span.start), _end(text, entry)
    rest = _REST.match(text, end)
    if rest is None or text[start : entry.key_span.start].strip():
        return text
    if rest[1]:
        return text[: entry.key_span.start] + text[rest.start(1) :]
    newline = _NEWLINE.match(text, rest.end())
    return text[:start] + text[newline.end() if newline else rest.end() :]


def with_new(text: str, last: Entry, pair: str) -> str:
    """Return the text with a new line below that of `last`, in the same column."""
    start = _line_start(text, last.key_span.start)
    rest = _REST.match(text, _end(text, last))
    indent = text[start : last.key_span.start]
    if rest is None or indent.strip():
        return text
    newline = _NEWLINE.search(text)
    return text[: rest.end()] + (newline[0] if newline else "\n") + indent + pair + text[rest.end() :]


def _end(text: str, entry: Entry) -> int:
    """Return the offset where a value ends; that of a block of YAML seems to take in what follows it."""
    start, end = entry.value_span.start, entry.value_span.end
    lines = text[start:end].splitlines(keepends=True)
    of_text = text[start : start + 1] in ("|", ">")
    while len(lines) > 1 and (not lines[-1].strip() or (lines[-1].lstrip().startswith("#") and not of_text)):
        lines.pop()
    return start + len("".join(lines).rstrip()) if lines else end


def _line_start(text: str, at: int) -> int:
    """Return the offset where the line of `at` begins."""
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
