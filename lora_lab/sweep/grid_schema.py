"""The JSON Schema of a grid file, for editors: from the grid's own words and the parameters' own types.

It is never stricter than `read_grid`, so an editor underlines nothing that runs. What needs a look at several places
(a parameter varied twice, an exclusion that excludes nothing, an expression's meaning) only `lora-lab sweep` says.
A new word of the language needs a line here: a test compares `KEYS` and `WORDS` with what the schema knows.
"""

from collections.abc import Mapping
from typing import Any, Final

from lora_lab.config import PARAMETERS
from lora_lab.config.json_schema import train_schema
from lora_lab.config.parameters import Parameter
from lora_lab.sweep.distribution import DISTRIBUTIONS
from lora_lab.sweep.grid import METHODS, SEED
from lora_lab.sweep.read_axes import PRESET
from lora_lab.sweep.read_grid import FOREIGN, MOST_SEEDS

Schema = dict[str, Any]

_NUMBERS: Final = "number_axis"
_OTHERS: Final = "other_axis"
_NUMBER: Final[Schema] = {"type": "number"}
_EXPRESSION: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 500}
_WHEN: Final[Schema] = {**_EXPRESSION, "description": 'Varied only where this holds: scheduler == "polynomial".'}
_DRAWN: Final[Mapping[str, Schema]] = {
    "min": {**_NUMBER, "description": "The smallest value."},
    "max": {**_NUMBER, "description": "The largest value."},
    "mu": {**_NUMBER, "description": "The middle of a normal distribution."},
    "sigma": {"type": "number", "exclusiveMinimum": 0, "description": "The width of a normal distribution."},
    "q": {"type": "number", "minimum": 0, "description": "The step that values are rounded to."},
    "count": {
        "type": "integer",
        "minimum": 2,
        "maximum": 10_000,
        "description": "So many values from min to max, evenly spaced: what a grid needs.",
    },
}


def grid_schema() -> Schema:
    """Return the schema of a grid file, draft 7."""
    config = train_schema()["properties"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "lora_lab grid",
        "description": "Which values of which parameters a sweep tries; `lora-lab sweep` runs it.",
        "type": "object",
        "required": ["base"],
        "additionalProperties": False,
        "properties": _keys(),
        "if": {"properties": {"method": {"enum": [one for one in METHODS if one != "grid"]}}, "required": ["method"]},
        "then": {"anyOf": [{"required": ["max_runs"]}, {"required": ["run_cap"]}]},
        "definitions": {
            **{name: config[name] for name in PARAMETERS},
            _NUMBERS: _described(is_number=True),
            _OTHERS: _described(is_number=False),
            "point": {
                "description": "Parameters with one value each.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {name: _ref(name) for name in PARAMETERS},
            },
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _keys() -> dict[str, Schema]:
    """Return the schema of each key of a grid file."""
    points = {"type": "array", "items": _ref("point")}
    runs = {"type": "integer", "minimum": 1, "maximum": 10_000_000, "description": "No more runs than this."}
    foreign = {"description": "A word of W&B that means nothing here."}
    return {
        "name": {
            "description": "The sweep's name and folder; the file's name where it is left out.",
            "type": "string",
            "pattern": '^(?=.*[^ .])[^/\\\\:*?"<>|\\u0000-\\u001f]+$',
        },
        "base": {
            "description": "The config that the runs start from: its path, from this file, or the settings themselves.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "object", "properties": {name: _ref(name) for name in PARAMETERS}},
            ],
        },
        "description": {"description": "A note for people."},
        "method": {
            "description": "grid tries every combination; random and sobol draw points, bayes looks where it is good.",
            "enum": list(METHODS),
            "default": "grid",
        },
        "metric": _metric(),
        "parameters": {
            "description": "What is varied: parameters with the values to try.",
            "type": "object",
            "additionalProperties": False,
            "properties": {PRESET: _preset(), **{name: _axis(known) for name, known in PARAMETERS.items()}},
        },
        "presets": {
            "description": "Names for groups of values, which parameters.preset chooses among.",
            "type": "object",
            "additionalProperties": _ref("point"),
        },
        "linked": {
            "description": "Values that move together, one choice a line; several such lists vary by themselves.",
            "anyOf": [points, {"type": "array", "items": {**points, "minItems": 1}}],
        },
        "seeds": _seeds(),
        "exclude": {
            "description": "Points that are left out: parameters with values, or an expression that holds there.",
            "type": "array",
            "items": {"anyOf": [_EXPRESSION, _pattern()]},
        },
        "include": {**points, "description": "Single points that are added."},
        "early_terminate": _early_terminate(),
        "max_runs": runs,
        "run_cap": runs,
        "max_hours": {
            "description": "No run starts after so many hours.",
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1_000_000,
        },
        "seed": {
            "description": "Seed of the points that are drawn; it is not that of the training.",
            "type": "integer",
            "minimum": 0,
            "maximum": 10_000_000,
            "default": 0,
        },
        **dict.fromkeys(sorted(FOREIGN), foreign),
    }


def _axis(known: Parameter) -> Schema:
    """Return the schema of what stands under a parameter's name."""
    value = _ref(known.name)
    values = {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}
    is_number = known.kind in (int, float)
    words = _ref(_NUMBERS if is_number else _OTHERS)
    described = {"allOf": [words], "properties": {"values": values, "value": value}}
    calculated = [_EXPRESSION] if is_number else []
    return {"description": known.meaning, "anyOf": [values, described, *calculated]}


def _described(*, is_number: bool) -> Schema:
    """Return what `{values: …}`, `{min: …}` and the like have in common, whatever the parameter."""
    words: dict[str, Schema] = {
        "values": {"description": "The values to try."},
        "value": {"description": "The one value of all runs."},
        "probabilities": {"type": "array", "items": {"type": "number", "minimum": 0}},
        "expression": _EXPRESSION,
        "when": _WHEN,
        "distribution": {"enum": ["categorical", "constant", *(DISTRIBUTIONS if is_number else ())]},
        **(_DRAWN if is_number else {}),
    }
    ways: list[Schema] = [{"required": [word]} for word in ("values", "value", "expression")]
    if is_number:
        ways += [{"required": ["min", "max"]}, {"required": ["mu", "sigma"]}]
    return {"type": "object", "additionalProperties": False, "properties": words, "oneOf": ways}


def _pattern() -> Schema:
    """Return the schema of an exclusion: each parameter with one value or several."""
    several = {
        name: {"anyOf": [_ref(name), {"type": "array", "items": _ref(name), "minItems": 1}]} for name in PARAMETERS
    }
    return {"type": "object", "minProperties": 1, "additionalProperties": False, "properties": several}


def _preset() -> Schema:
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {"description": "Which of the presets are tried.", "anyOf": [{"type": "string"}, names]}


def _metric() -> Schema:
    """Return the schema of what runs are compared by."""
    name = {"type": "string", "minLength": 1, "default": "val_loss"}
    goal = {"enum": ["minimize", "maximize"], "default": "minimize"}
    properties = {"name": name, "goal": goal, "target": {"description": "Of W&B; it means nothing here."}}
    whole = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"description": "What runs are compared by.", "anyOf": [name, whole]}


def _seeds() -> Schema:
    """Return the schema of `seeds`."""
    listed = {"type": "array", "items": _ref(SEED), "minItems": 1, "uniqueItems": True}
    return {
        "description": "Every point once with each test_seed: a list, or how many.",
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_SEEDS}, listed],
    }


def _early_terminate() -> Schema:
    """Return the schema of how runs are cut short."""
    whole = {"type": "integer", "minimum": 1}
    return {
        "description": "How runs that do badly are cut short.",
        "type": "object",
        "required": ["type"],
        "additionalProperties": False,
        "properties": {
            "type": {"enum": ["hyperband", "median"]},
            "min_iter": {**whole, "description": "No run ends before so many validations."},
            "max_iter": {**whole, "description": "From so many validations on no run ends early."},
            "eta": {"type": "integer", "minimum": 2, "description": "The best 1/eta go on."},
            "s": {"description": "Of W&B: with max_iter and no min_iter, the first rung is at max_iter / eta^s."},
            "strict": {"description": "Of W&B; it means nothing here."},
        },
    }
