"""Changes of a command line's text, continued lines included; all the rest stays as it is.

Each function returns the new text, or the old one where the change can't be placed.
"""

import re
import shlex

from lora_lab.document.document import Entry

_CONTINUED = re.compile(r"[ \t]*[\\^`][ \t]*(?:\r\n|\n|\r)")
_CONTINUATION_BEFORE = re.compile(r"[ \t]*[\\^`][ \t]*(?:\r\n|\n|\r)[ \t]*\Z")
_NUMBER_OR_WORD = re.compile(r"[\w.+-]+")


def with_value(text: str, entry: Entry, value: object) -> str:
    """Return the text in which a flag has another value, in the quotes that it had; only numbers and words are."""
    start, end = entry.value_span.start, entry.value_span.end
    if isinstance(value, bool | list | dict) or value is None or entry.value_span == entry.key_span:
        return text
    written, quote = str(value), text[start]
    if not _NUMBER_OR_WORD.fullmatch(written):
        written = shlex.quote(written)
    elif quote in "\"'" and text[end - 1] == quote:
        written = f"{quote}{written}{quote}"
    return text[:start] + written + text[end:]


def without(text: str, entry: Entry) -> str:
    """Return the text without a flag and its value, and without its line where it has one of its own."""
    start, end = entry.key_span.start, entry.value_span.end
    opened = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    alone = not text[opened:start].strip()
    continued = _CONTINUED.match(text, end)
    if alone and continued:
        return text[:opened] + text[continued.end() :]
    before = _CONTINUATION_BEFORE.search(text, 0, start)
    ends = not text[end:].strip() or text[end:].lstrip(" \t")[:1] in "\r\n"
    if alone and before and ends:
        return text[: before.start()] + text[end:]
    return text[:start].rstrip(" \t") + text[end:] if not alone else text[:start] + text[end:].lstrip(" \t")
