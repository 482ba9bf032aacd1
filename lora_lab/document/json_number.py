"""What is a number in JSON, what nearly is, and what can't be one."""

import math
import re

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER = r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"  # compiled when first met
_NOT_FINITE = {"nan", "-nan", "infinity", "-infinity", "inf", "-inf", "+inf", "+infinity"}

MOST_DIGITS = 300
"""Digits of a number that is read; Python refuses to convert some thousand, and no setting has twenty."""


def is_number(word: str) -> bool:
    """Say whether JSON writes a number so."""
    return _NUMBER.fullmatch(word) is not None


def is_loose_number(word: str) -> bool:
    """Say whether it is a number to people and other languages: `.5`, `5.`, `+1`, `1_000`, `007`."""
    return re.fullmatch(_LOOSE_NUMBER, word) is not None


def is_not_finite(word: str) -> bool:
    """Say whether it is Python's or JavaScript's word for what is no number or has no end."""
    return word.lower() in _NOT_FINITE


def finite_number(word: str) -> int | float | None:
    """Return the int or float that a number stands for, None if it is too large."""
    if len(word) > MOST_DIGITS:
        return None
    if not any(mark in word for mark in ".eE"):
        return int(word)
    value = float(word)
    return value if math.isfinite(value) else None
