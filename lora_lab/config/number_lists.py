"""Settings that are a list of numbers, one for each block of a U-Net, and how they may be written."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MOST_BLOCKS: Final = 25
LARGEST_DIM: Final = 100_000
LARGEST: Final = 1_000_000.0
"""Of alphas and weights: what is above it is a slip of the hand."""

CURVES: Final = ("cosine", "sine", "linear", "reverse_linear", "zeros")
"""The named weights of sd-scripts (networks/lora.py get_block_lr_weight); `+0.25` behind a name adds that to each."""

_DIM: Final = "(0|[1-9][0-9]{0,4}|100000)"
_NUMBER: Final = r"(0|[1-9][0-9]{0,5})(\.[0-9]{1,9})?"
_CURVE: Final = f"({'|'.join(CURVES)})(\\+{_NUMBER})?"


def _row(one: str) -> str:
    """Return the pattern of numbers with commas between them, as many as there are blocks at most."""
    return f" *{one} *(, *{one} *){{0,{MOST_BLOCKS - 1}}}"


def numbers(value: float | str | Sequence[float]) -> tuple[float, ...]:
    """Return the numbers of a list, of a text with commas, or of a single number.

    Raises ValueError where the text is none, as the name of a curve.
    """
    if isinstance(value, int | float):
        return (float(value),)
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(float(part) for part in parts)


def is_curve(value: object) -> bool:
    """Return whether a value is the name of a curve, with or without a number that is added."""
    return isinstance(value, str) and value.startswith(CURVES)


def _checked(value: Any, pattern: str, limit: float) -> Any:
    """Refuse a text that is no list of numbers, and numbers that are out of range."""
    if isinstance(value, str):
        if re.fullmatch(pattern, value) is None:
            raise PydanticCustomError("type", "not a list of numbers")
        return value
    found = value if isinstance(value, list) else [value]
    if not 1 <= len(found) <= MOST_BLOCKS or not all(0 <= one <= limit for one in found):
        raise PydanticCustomError("range", "too many numbers, or one that is out of range")
    return value


def _dims(value: Any) -> Any:
    return _checked(value, _row(_DIM), LARGEST_DIM)


def _alphas(value: Any) -> Any:
    return _checked(value, _row(_NUMBER), LARGEST)


def _weights(value: Any) -> Any:
    return _checked(value, f"{_CURVE}|{_row(_NUMBER)}", LARGEST)


def _schema(kind: str, pattern: str, limit: float, *, single: bool = False) -> WithJsonSchema:
    one = {"type": kind, "minimum": 0, "maximum": int(limit)}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_BLOCKS}
    forms = [several, {"type": "string", "pattern": f"^({pattern})$"}, *([one] if single else [])]
    return WithJsonSchema({"anyOf": forms})


BlockDims = Annotated[
    str | list[int],
    AfterValidator(_dims),
    _schema("integer", _row(_DIM), LARGEST_DIM),
]
BlockAlphas = Annotated[
    str | list[float],
    AfterValidator(_alphas),
    _schema("number", _row(_NUMBER), LARGEST),
]
BlockWeights = Annotated[
    str | list[float],
    AfterValidator(_weights),
    _schema("number", f"{_CURVE}|{_row(_NUMBER)}", LARGEST),
]
NumberOrNumbers = Annotated[
    float | str | list[float],
    AfterValidator(_alphas),
    _schema("number", _row(_NUMBER), LARGEST, single=True),
]
