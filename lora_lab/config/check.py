"""Every problem of a config at once, and the config that is left when the invalid values are taken out."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from pydantic import ValidationError

from lora_lab.config.names import IGNORED_KEYS, NEEDLESS_KEYS, UNSUPPORTED_KEYS, nearest_key, note_on
from lora_lab.config.parameters import PARAMETERS, Parameter
from lora_lab.config.suggest import suggestions
from lora_lab.config.train_config import TrainConfig

Kind = Literal["unknown", "missing", "type", "range", "choice"]

_KINDS: Final[Mapping[str, Kind]] = {
    "missing": "missing",
    "literal_error": "choice",
    "choice": "choice",
    "range": "range",
    "finite_number": "range",
    "greater_than": "range",
    "greater_than_equal": "range",
    "less_than": "range",
    "less_than_equal": "range",
    "multiple_of": "range",
    "string_too_short": "range",
    "string_pattern_mismatch": "range",
}
_PLACEHOLDER: Final = "placeholder"
_MOST_GUESSES: Final = 200
"""Of so many unknown keys it is said which was meant; a file with more of them is no config with slips of the hand."""


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one key. `suggestion` is a valid value; for an unknown key, the key that was meant."""

    key: str
    kind: Kind
    message: str
    value: object
    suggestion: object | None = None


@dataclass(frozen=True)
class Checked:
    """The outcome of `check`.

    `config` holds the valid values and defaults; a required path that is missing or invalid is "". `invalid` are the
    keys without a usable value, `given` the known keys that were there, whatever their value.
    """

    config: TrainConfig
    problems: tuple[FieldProblem, ...]
    invalid: frozenset[str]
    given: frozenset[str]


def check(values: Mapping[str, object]) -> Checked:
    """Check any mapping of JSON-like values and never raise; problems come in the order of the keys, missing keys
    last.
    """
    known = {key: value for key, value in values.items() if key in PARAMETERS}
    wrong = _errors(known)
    strange = set(islice((key for key in values if key not in PARAMETERS), _MOST_GUESSES))
    problems = [
        problem for key, value in values.items() for problem in _problems_of(key, value, wrong, guess=key in strange)
    ]
    missing = [key for key, kind in wrong.items() if kind == "missing"]
    problems += [_missing(key, key in known) for key in missing]
    return Checked(
        config=_config({key: value for key, value in known.items() if key not in wrong}, missing=wrong),
        problems=tuple(problems),
        invalid=frozenset(wrong) | _without_stand_in(known, wrong),
        given=frozenset(known),
    )


def _without_stand_in(known: Mapping[str, object], wrong: Mapping[str, Kind]) -> frozenset[str]:
    """Return the required keys that are left out beside one that has no usable value."""
    return frozenset(key for key, one in PARAMETERS.items() if one.unless in wrong and known.get(key) is None)


def _errors(known: Mapping[str, object]) -> dict[str, Kind]:
    """Return the kind of problem of each key that has one; of several ways to fail a union, the first counts."""
    try:
        TrainConfig.model_validate(known)
    except ValidationError as error:
        found: dict[str, Kind] = {}
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            found.setdefault(str(one["loc"][0]), _kind(one, known))
        return found
    return {}


def _kind(error: Any, known: Mapping[str, object]) -> Kind:
    key = str(error["loc"][0])
    if PARAMETERS[key].unless and known.get(key) is None:
        return "missing"
    kind = _KINDS.get(error["type"], "type")
    if kind == "choice" and not isinstance(known.get(key), PARAMETERS[key].kind):
        return "type"
    if kind == "choice" and isinstance(known.get(key), bool):
        return "type"
    return kind


def _config(valid: Mapping[str, object], missing: Iterable[str]) -> TrainConfig:
    unset = [key for key, known in PARAMETERS.items() if known.unless and valid.get(known.unless) is None]
    required = [
        key for key in (*missing, *unset) if PARAMETERS[key].required and (key in missing or not valid.get(key))
    ]
    valid = {key: value for key, value in valid.items() if key not in required}
    config = TrainConfig.model_validate({**valid, **dict.fromkeys(required, _PLACEHOLDER)})
    return config.model_copy(update=dict.fromkeys(required, "")) if required else config


def _problems_of(key: str, value: object, wrong: Mapping[str, Kind], *, guess: bool) -> list[FieldProblem]:
    if key not in PARAMETERS:
        return _unknown(key, value, guess)
    if key not in wrong or wrong[key] == "missing":
        return []
    parameter = PARAMETERS[key]
    suggestion = next((item for item in suggestions(parameter, value) if key not in _errors({key: item})), None)
    message = f"{key} must be {expected(parameter)}, but this is {shown(value)}"
    return [FieldProblem(key, wrong[key], message, value, suggestion)]


def _missing(key: str, is_null: bool) -> FieldProblem:
    message = f"{key} must not be null" if is_null else f"{key} is missing"
    if PARAMETERS[key].unless:
        return FieldProblem(
            key, "missing", f"{message}, and so is {PARAMETERS[key].unless}, which may replace it", None
        )
    return FieldProblem(key, "missing", f"{message}: it has no default", None)


def _unknown(key: str, value: object, guess: bool) -> list[FieldProblem]:
    if key in IGNORED_KEYS or (key in (*UNSUPPORTED_KEYS, *NEEDLESS_KEYS) and (value is None or value is False)):
        return []
    if key in NEEDLESS_KEYS:
        return [FieldProblem(key, "unknown", f"{key} is not needed: {NEEDLESS_KEYS[key]}", value)]
    if key in UNSUPPORTED_KEYS:
        return [FieldProblem(key, "unknown", f"{key} is not supported: {UNSUPPORTED_KEYS[key]}", value)]
    meant = nearest_key(str(key)) if guess else None
    message = f"unknown key {shown(key).removeprefix('the text ')}"
    if meant is not None:
        message += f", did you mean {meant}?"
    return [FieldProblem(str(key), "unknown", message + note_on(str(key)), value, meant)]


def expected(parameter: Parameter) -> str:
    """Return in words what values a parameter takes: "a whole number from 1 to 23"."""
    text = parameter.type_text
    if not text.startswith(("one of", "true or", "text")):
        text = f"the {text}" if text.startswith(("path", "name")) else f"a {text}"
    return f"{text} {parameter.range_text}" if parameter.range_text else text


def shown(value: object) -> str:
    """Return a value as it stands in JSON, shortened, with a word where the kind of value is the point."""
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, Mapping):
        return "an object"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return f"a value of type {type(value).__name__}"
    text = text if len(text) <= 60 else text[:57] + "..."
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"the text {text}" if isinstance(value, str) else text
