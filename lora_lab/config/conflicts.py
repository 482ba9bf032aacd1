"""Settings that can't go together, as conditional parts of the JSON Schema.

The linter's rules say all of this, and more, and better; here are those errors that a schema can express, for editors
that know no linter. Tests compare each with its rule on many configs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lora_lab.config.about import REQUIRED
from lora_lab.config.parameters import PARAMETERS

Schema = dict[str, Any]


@dataclass(frozen=True)
class Conflict:
    """Where each key of `when` has one of the values there, `key` must satisfy `allowed`, and not be unset if `needed`.

    A key that is left out, or null, has its default. `rule` is the code of the linter's rule, `text` what to tell.
    """

    rule: str
    text: str
    key: str
    allowed: Schema
    needed: bool = False
    when: Mapping[str, tuple[object, ...]] = field(default_factory=dict)


def _no_latents(rule: str, key: str, why: str) -> Conflict:
    return Conflict(
        rule,
        f"{key} {why}, which cache_latents (the default) rules out: set it to false",
        "cache_latents",
        {"const": False},
        needed=True,
        when={key: (True,)},
    )


CONFLICTS: Final = (
    _no_latents("LL621", "color_aug", "changes the colours each time"),
    _no_latents("LL622", "random_crop", "crops elsewhere each time"),
    Conflict(
        "LL305",
        "unet_only and text_only together leave nothing to train",
        "text_only",
        {"enum": [False, None]},
        when={"unet_only": (True,)},
    ),
    Conflict(
        "LL408",
        "use_8bit_adam asks for AdamW8bit: keep optimizer_type only",
        "optimizer_type",
        {"type": ["string", "null"], "pattern": "^[Aa][Dd][Aa][Mm][Ww](8[Bb][Ii][Tt])?$"},
        when={"use_8bit_adam": (True,)},
    ),
    Conflict(
        "LL119",
        "save_json_only is true: name the folder for the copy of the config",
        "save_json_folder",
        {"type": "string"},
        needed=True,
        when={"save_json_only": (True,)},
    ),
    Conflict(
        "LL704",
        "the text encoder of SD 1.x has 12 layers: use 1, or 2 for anime models",
        "clip_skip",
        {"maximum": 12},
        when={"v2": (False,)},
    ),
    Conflict("LL204", "1 drops every caption: use 0.05 to 0.1", "caption_dropout_rate", {"not": {"const": 1}}),
    Conflict(
        "LL204",
        "1 empties the captions of every epoch: use 3 or more",
        "caption_dropout_every_n_epochs",
        {"not": {"const": 1}},
    ),
    Conflict(
        "LL205",
        "1 drops every tag that keep_tokens does not protect: use 0.05 to 0.2",
        "caption_tag_dropout_rate",
        {"not": {"const": 1}},
    ),
)
"""The commonest first."""


def conditional(conflict: Conflict) -> Schema:
    """Return the part of a schema that refuses a conflict; the text stands where VS Code looks for it."""
    then: Schema = {"properties": {conflict.key: {**conflict.allowed, "errorMessage": conflict.text}}}
    if conflict.needed:
        then["required"] = [conflict.key]
    if not conflict.when:
        return then
    return {"$comment": conflict.rule, "if": _all_of(conflict.when), "then": then}


def _all_of(when: Mapping[str, tuple[object, ...]]) -> Schema:
    """Return the schema of configs in which every key has one of its values."""
    properties, required = {}, []
    for key, values in when.items():
        unset = PARAMETERS[key].null_means
        if unset is not REQUIRED and unset in values:
            properties[key] = {"enum": [*values, None]}
        else:
            properties[key] = {"enum": list(values)}
            required.append(key)
    return {"properties": properties, **({"required": required} if required else {})}
