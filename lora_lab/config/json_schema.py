"""The JSON Schema of a config, with the texts that an editor shows on hover."""

from collections.abc import Mapping
from typing import Any, Final

from lora_lab.config.conflicts import CONFLICTS, conditional
from lora_lab.config.names import IGNORED_KEYS, NEEDLESS_KEYS, UNSUPPORTED_KEYS
from lora_lab.config.parameters import PARAMETERS, Parameter
from lora_lab.config.train_config import TrainConfig

Schema = dict[str, Any]

TOOL_NAMES: Final[Mapping[str, str]] = {
    "sd-scripts": "sd-scripts",
    "kohya_gui": "kohya GUI",
    "easy_ui": "LoRA Easy Training UI",
    "easy_2023_01": "LoRA Easy Training Scripts of January 2023",
    "easy_2023_03": "LoRA Easy Training Scripts of March 2023",
}
"""How the dialects of `Parameter.aliases` are called in texts."""


_RULE: Final = "^ *(ALL|LL[0-9]{1,3}|[a-z0-9]+(-[a-z0-9]+)*)"
_SUPPRESSIONS: Final[Schema] = {
    "description": "Rules of the linter that are not to be reported in this file, each with the reason why.",
    "markdownDescription": "Rules of `lora-lab lint` that are not to be reported in this file, each with the reason: "
    '`{"LL701": "the plugin that loads it is from 2022"}`.',
    "anyOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": f"{_RULE}$"},
            "additionalProperties": {"type": "string", "minLength": 1},
        },
        {"type": "array", "items": {"type": "string", "pattern": f"{_RULE}[:,]? +[^ ]"}},
        {"type": "string", "pattern": f"{_RULE}[:,]? +[^ ]"},
    ],
}


def train_schema() -> Schema:
    """Return the schema of a config file, draft 7: the newest that VS Code and its YAML extension support in full.

    It refuses what `check` finds a problem in and what `CONFLICTS` names, and nothing else; but an integral float
    passes for a whole number, which JSON Schema can't tell apart.
    """
    bare = TrainConfig.model_json_schema()["properties"]
    leftovers: Schema = {key: {"deprecated": True} for key in sorted(IGNORED_KEYS - {"$schema"})}
    leftovers |= {
        key: {"deprecated": True, "enum": [False, None]} for key in sorted({**UNSUPPORTED_KEYS, **NEEDLESS_KEYS})
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "lora_lab training config",
        "description": "One LoRA training run. null stands for the default of every key that has one.",
        "type": "object",
        "required": [name for name, known in PARAMETERS.items() if known.required and not known.unless],
        "additionalProperties": False,
        "properties": {
            "$schema": {"type": "string"},
            **{name: _property(known, bare[name]) for name, known in PARAMETERS.items()},
            **leftovers,
            "lora_lab:ignore": _SUPPRESSIONS,
        },
        "patternProperties": {"^(//|#|_comment|\\$)": {}},
        "allOf": [*map(conditional, CONFLICTS), *(_one_of_two(known) for known in PARAMETERS.values() if known.unless)],
    }


def _one_of_two(known: Parameter) -> Schema:
    """Return the part that demands a key unless the one beside which it may be left out has a value."""
    there = {"required": [known.unless], "properties": {known.unless: {"type": "string"}}}
    return {"if": {"not": there}, "then": {"required": [known.name], "properties": {known.name: {"type": "string"}}}}


def _property(known: Parameter, bare: Schema) -> Schema:
    constraints = {key: item for key, item in bare.items() if key not in ("title", "default")}
    whole: Schema = {"description": description(known), "markdownDescription": markdown(known)}
    whole |= constraints if known.required and not known.unless else _or_null(constraints)
    if not known.required:
        whole["default"] = known.default
    if known.unit:
        whole["x-unit"] = known.unit
    whole["x-typical"] = known.typical
    if known.pitfalls:
        whole["x-pitfalls"] = [{"text": one.text, "source": one.source} for one in known.pitfalls]
    if known.misread:
        whole["x-misread"] = known.misread
    return whole


def _or_null(schema: Schema) -> Schema:
    """Return the schema with null allowed, without needless `anyOf`."""
    options = [one for outer in schema.get("anyOf", [schema]) for one in outer.get("anyOf", [outer])]
    others = [one for one in options if one != {"type": "null"}]
    if len(others) > 1:
        return {"anyOf": [*others, {"type": "null"}]}
    only = dict(others[0])
    if "enum" in only:
        only["enum"] = [*only["enum"], None]
    return {**only, "type": [only["type"], "null"]}


def description(known: Parameter) -> str:
    """Return the meaning with type, limits and default, as one plain paragraph."""
    unit = f" ({known.unit})" if known.unit else ""
    return f"{known.meaning} {sentence(known)}{unit}."


def sentence(known: Parameter) -> str:
    """Return type, limits and default in words: "Whole number from 1 to 23, default 1"."""
    words = f"{known.type_text} {known.range_text}".strip()
    unless = f" unless {known.unless} is there" if known.unless else ""
    ending = f"required{unless}" if known.required else f"default {json_text(known.default)}"
    return f"{words[0].upper()}{words[1:]}; {ending}"


def json_text(value: object) -> str:
    """Return a default as it is written in JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def elsewhere(known: Parameter, quote: str = "") -> str:
    """Return the names of other tools for a parameter, each name once: "network_dim (sd-scripts, kohya GUI)"."""
    tools = {
        name: [TOOL_NAMES[tool] for tool, other in known.aliases.items() if other == name]
        for name in known.aliases.values()
    }
    return ", ".join(f"{quote}{name}{quote} ({', '.join(users)})" for name, users in tools.items())


def markdown(known: Parameter) -> str:
    """Return the hover text: meaning, typical values, pitfalls with their sources, misreading, other tools' names."""
    parts = [known.meaning, f"*{sentence(known)}.*", f"**Typical:** {known.typical}"]
    if known.pitfalls:
        parts.append("\n".join(["**Pitfalls**", "", *(f"- {one.text} *({one.source})*" for one in known.pitfalls)]))
    if known.misread:
        parts.append(f"**Misread:** {known.misread}")
    if known.aliases:
        parts.append(f"**Elsewhere:** {elsewhere(known, quote='`')}")
    return "\n\n".join(parts)
