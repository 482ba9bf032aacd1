"""The scalars and the string escapes of TOML 1.0."""

import math
import re

from lora_lab.document.json_number import MOST_DIGITS

_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)")
_FLOAT = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)(?:\.[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9](?:_?[0-9])*)?")
_PREFIXED = re.compile(r"0(?:x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|o[0-7](?:_?[0-7])*|b[01](?:_?[01])*)")
_NOT_FINITE = re.compile(r"[+-]?(?:inf|nan)")
_TIME = re.compile(
    r"(?:\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)?)?|\d\d:\d\d:\d\d(?:\.\d+)?)"
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([btnfr\"\\])|([ \t]*\r?\n\s*))")


class Wrong(Exception):
    """What is read is no TOML from the character `at` on."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def is_escaped(text: str, at: int) -> bool:
    """Say whether an odd number of backslashes stands before `at`."""
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def escaped(body: str) -> tuple[str, bool]:
    """Return what a string's content says with its escapes resolved, and whether all of them are TOML's."""
    parts: list[str] = []
    at = 0
    while (slash := body.find("\\", at)) != -1:
        match = _ESCAPE.match(body, slash)
        if match is None:
            return body, False
        parts.append(body[at:slash])
        code = match[1] or match[2]
        if code:
            number = int(code, 16)
            if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
                return body, False
            parts.append(chr(number))
        elif match[3]:
            parts.append(_ESCAPES[match[3]])
        at = match.end()
    return "".join([*parts, body[at:]]), True


def scalar(word: str, at: int) -> tuple[object, int]:
    """Return the value at the beginning of `word` and how many characters it takes; dates and times stay texts.

    Raises `Wrong` for what is no TOML value.
    """
    if _TIME.fullmatch(word):
        return word, len(word)
    word = word.partition(" ")[0]
    if word in ("true", "false"):
        return word == "true", len(word)
    if _TIME.fullmatch(word):
        return word, len(word)
    if len(word) <= MOST_DIGITS:
        value = _number(word)
        if value is not None:
            return value, len(word)
    if word.lower() in ("true", "false"):
        raise Wrong(f"TOML writes {word.lower()} in small letters", at)
    if word.lower() in ("none", "null"):
        raise Wrong(f"TOML has no {word}: leave the key out", at)
    raise Wrong(f"{word[:40]} is no TOML value: a text stands in quotes", at)


def _number(word: str) -> int | float | None:
    """Return the number that a word is, None if it is none."""
    if _INTEGER.fullmatch(word):
        return int(word.replace("_", ""))
    if _PREFIXED.fullmatch(word):
        return int(word.replace("_", ""), 0)
    if _FLOAT.fullmatch(word):
        value = float(word.replace("_", ""))
        return value if math.isfinite(value) else None
    return float(word) if _NOT_FINITE.fullmatch(word) else None
