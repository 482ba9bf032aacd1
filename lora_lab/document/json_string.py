"""The inside of a JSON string: where it ends and what it says, with Windows paths kept as they were meant.

`"C:\\train\\new_set"` with single backslashes is not an error to a JSON reader: `\\t` is a tab and `\\n` a new line,
and the folder is silently another one. No setting of a training config starts with a drive letter and then a tab, so
such a string is read as the path that it shows. What does start with a letter, a colon and a control character or a
quote is written with the code of that character (`\\u0009`), which no path shows: `certain` does that.
"""

import re
from typing import NamedTuple

_PLAIN = re.compile(r"""[^"'“”‘’\\\r\n]*""")
# compiled when first met, for most files have no backslash
_CODE = r"u00(?:[01][0-9A-Fa-f]|22|7[Ff])"
_DRIVE = rf"[A-Za-z]:\\(?!\\|{_CODE})"
_UNC = rf"\\\\[A-Za-z0-9._-]{{2,}}\\(?!{_CODE})[A-Za-z0-9$._-]{{2}}"
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_CODES = {mark: f"\\u{ord(char):04x}" for mark, char in _ESCAPES.items() if mark in 'bfnrt"'}
_HEX4 = r"[0-9A-Fa-f]{4}"
_LITERAL = r'"(?:[^"\\]|\\.)*"'
_QUOTE_THEN_END = r"[ \t]*(?:[,}\]]|$)"


HALF_A_CHARACTER = "half of a character: a \\u escape without its partner"


class Decoded(NamedTuple):
    """What a string says; `guessed` tells that backslashes were kept that JSON would have eaten."""

    value: str
    guessed: bool
    lone_surrogate: bool = False


def end_of_string(text: str, start: int, quote: str) -> tuple[int, bool]:
    """Return the offset of the closing quote and whether there is one; without, the end of the line.

    `start` is the offset after the opening quote. In a path a backslash before the quote may be its last character
    (`"C:\\train\\"`), which JSON takes for an escaped quote: it ends the string if a comma, a bracket or the line's end
    follows.
    """
    plain = _PLAIN.match(text, start)
    if plain and text[plain.end() : plain.end() + 1] == quote:
        return plain.end(), True
    line_end = _line_end(text, start)
    line = text[start:line_end]
    end = _closing(line, quote, path=is_windows_path(line))
    if end is None:
        end = _closing(line, quote, path=True)
    return (line_end, False) if end is None else (start + end, True)


def is_windows_path(raw: str) -> bool:
    """Say whether raw string content is a Windows path written with single backslashes."""
    return "\\" in raw and bool(re.match(_DRIVE, raw) or re.match(_UNC, raw))


def certain(text: str) -> str:
    """Return JSON text with the same strings, written so that none of them is taken for a Windows path."""
    return re.sub(_LITERAL, _by_code, text) if re.search(rf'"(?:{_DRIVE}|{_UNC})', text) else text


def _by_code(literal: re.Match[str]) -> str:
    raw = literal[0][1:-1]
    if not is_windows_path(raw):
        return literal[0]
    return '"' + re.sub(r"\\(.)", lambda one: _CODES.get(one[1], one[0]), raw) + '"'


def decode(raw: str) -> Decoded:
    """Return what the content of a string literal says."""
    if "\\" not in raw:
        return Decoded(raw, guessed=False)
    if re.match(_DRIVE, raw):
        return Decoded(raw.replace("\\\\", "\\"), guessed=True)
    if re.match(_UNC, raw):
        return Decoded(raw, guessed=True)
    parts, ok = _unescape(raw)
    if not ok:
        return Decoded(raw.replace("\\\\", "\\"), guessed=True)
    value, whole = whole_characters("".join(parts))
    return Decoded(value, guessed=False, lone_surrogate=not whole)


def whole_characters(text: str) -> tuple[str, bool]:
    """Return a text with its halves of characters put together, and whether none is left: those become U+FFFD."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text, True
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined, joined.count("\ufffd") == text.count("\ufffd")


def _unescape(raw: str) -> tuple[list[str], bool]:
    """Return the pieces of the text with its escapes resolved, and False at the first escape that JSON lacks."""
    parts: list[str] = []
    at = 0
    while (slash := raw.find("\\", at)) != -1:
        parts.append(raw[at:slash])
        mark = raw[slash + 1 : slash + 2]
        if mark == "u" and re.match(_HEX4, raw[slash + 2 : slash + 6]):
            parts.append(chr(int(raw[slash + 2 : slash + 6], 16)))
            at = slash + 6
        elif mark in _ESCAPES and mark:
            parts.append(_ESCAPES[mark])
            at = slash + 2
        else:
            return parts, False
    parts.append(raw[at:])
    return parts, True


def _closing(line: str, quote: str, *, path: bool) -> int | None:
    """Return the offset of the closing quote in `line`, or None."""
    at = 0
    while at < len(line):
        char = line[at]
        if char == quote:
            return at
        if char == "\\":
            last_of_path = path and line[at + 1 : at + 2] == quote and re.compile(_QUOTE_THEN_END).match(line, at + 2)
            at += 1 if last_of_path else 2
        else:
            at += 1
    return None


def _line_end(text: str, start: int) -> int:
    """Return the offset of the end of the line that `start` is in."""
    ends = [at for at in (text.find("\n", start), text.find("\r", start)) if at != -1]
    return min(ends, default=len(text))
