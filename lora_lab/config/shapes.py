"""The few values that are more than a number, a word or a switch: their validation and their reading.

A validator raises `PydanticCustomError` whose type is the kind of problem: `type`, `range` or `choice`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

OPTIMIZERS: Final = (
    "AdamW",
    "AdamW8bit",
    "PagedAdamW",
    "PagedAdamW8bit",
    "PagedAdamW32bit",
    "Lion",
    "Lion8bit",
    "PagedLion8bit",
    "SGDNesterov",
    "SGDNesterov8bit",
    "DAdaptation",
    "DAdaptAdaGrad",
    "DAdaptAdam",
    "DAdaptAdamPreprint",
    "DAdaptAdan",
    "DAdaptAdanIP",
    "DAdaptLion",
    "DAdaptSGD",
    "Prodigy",
    "AdaFactor",
    "RAdamScheduleFree",
    "AdamWScheduleFree",
    "SGDScheduleFree",
)
"""The names that sd-scripts knows, in its spelling."""

SMALLEST_SIDE: Final = 64
LARGEST_SIDE: Final = 8192
_DOTTED: Final = r"[^\W\d]\w*(\.[^\W\d]\w*)+"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIDES_TEXT: Final = re.compile(r"([0-9]{2,4}) ?[,x] ?([0-9]{2,4})")

Argument = str | int | float | bool | None | list[Any]
"""A value of an optimizer's argument as it stands in the file."""


def known_optimizer(name: str) -> str:
    """Return the name in its usual spelling; a name with a dot is a class of another package and stays as it is."""
    by_fold = {known.casefold(): known for known in OPTIMIZERS}
    if name.casefold() in by_fold:
        return by_fold[name.casefold()]
    if re.fullmatch(_DOTTED, name):
        return name
    raise PydanticCustomError("choice", "not a known optimizer")


def _any_case(name: str) -> str:
    """Return a pattern for a name in capitals and small letters as one likes; JSON Schema knows no such flag."""
    return "".join(f"[{char.upper()}{char.lower()}]" if char.isalpha() else char for char in name)


OptimizerName = Annotated[
    str,
    AfterValidator(known_optimizer),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(OPTIMIZERS)},
                {"type": "string", "pattern": f"^({'|'.join(map(_any_case, OPTIMIZERS))})$"},
                {"type": "string", "pattern": f"^{_DOTTED}$"},
            ]
        }
    ),
]
"""The first part of its schema is what an editor completes."""


def not_a_float(value: object) -> object:
    """Return the value; a float is refused, because a choice among whole numbers takes 75.0 for 75."""
    if isinstance(value, float):
        raise PydanticCustomError("type", "not a whole number")
    return value


def sides(value: int | str | Sequence[int]) -> tuple[int, int]:
    """Return (width, height) in pixels of a resolution written as 512, "512,768" or [512, 768].

    Raises ValueError when the text is not two whole numbers or the list has another length than two.
    """
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):
        match = _SIDES_TEXT.fullmatch(value)
        if match is None:
            raise ValueError("not two whole numbers with a comma between them")
        return int(match[1]), int(match[2])
    width, height = value
    return width, height


def _resolution(value: int | str | list[int]) -> int | str | list[int]:
    try:
        both = sides(value)
    except ValueError as error:
        raise PydanticCustomError("type", "not a resolution") from error
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in both):
        raise PydanticCustomError("range", "a side is out of range")
    return value


_SIDE_PATTERN: Final = (
    "(0{0,2}(6[4-9]|[7-9][0-9])|0?[1-9][0-9]{2}|[1-7][0-9]{3}|80[0-9]{2}|81[0-8][0-9]|819[0-2])"  # 64 to 8192
)
_SIDE_SCHEMA: Final = {"type": "integer", "minimum": SMALLEST_SIDE, "maximum": LARGEST_SIDE}
Resolution = Annotated[
    int | str | list[int],
    AfterValidator(_resolution),
    WithJsonSchema(
        {
            "anyOf": [
                _SIDE_SCHEMA,
                {"type": "string", "pattern": f"^{_SIDE_PATTERN} ?[,x] ?{_SIDE_PATTERN}$"},
                {"type": "array", "items": _SIDE_SCHEMA, "minItems": 2, "maxItems": 2},
            ]
        }
    ),
]


def _argument(text: str) -> object:
    """Return what the text of an argument stands for; what is no literal is a text."""
    word = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in word:
        return word[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def arguments(value: Sequence[str] | Mapping[str, Argument] | None) -> dict[str, object]:
    """Return the optimizer's keyword arguments: `["betas=0.9,0.99"]` and `{"betas": "0.9,0.99"}` both give a tuple."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {key: _argument(item) if isinstance(item, str) else item for key, item in value.items()}
    pairs = (item.partition("=") for item in value)
    return {key.strip(): _argument(text) for key, _, text in pairs}


def _arguments(value: list[str] | dict[str, Any]) -> list[str] | dict[str, Any]:
    keys = list(value) if isinstance(value, dict) else [item.partition("=")[0].strip(" ") for item in value]
    if isinstance(value, list) and not all("=" in item for item in value):
        raise PydanticCustomError("type", "an item has no =")
    if not all(_NAME.fullmatch(key) for key in keys):
        raise PydanticCustomError("type", "a key is not a name")
    return value


OptimizerArguments = Annotated[
    list[str] | dict[str, Any],
    AfterValidator(_arguments),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string", "pattern": "^ *[A-Za-z_][A-Za-z0-9_]* *="}},
                {"type": "object", "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}},
            ]
        }
    ),
]
