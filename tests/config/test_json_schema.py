"""The JSON Schema against the model, both asked about the same files."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lora_lab.config import OPTIMIZERS, PARAMETERS, Parameter, check
from lora_lab.config.conflicts import CONFLICTS, conditional
from lora_lab.config.json_schema import train_schema
from lora_lab.lint import lint_values

SCHEMA = train_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
PATHS = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}
TEXT = st.text(min_size=1, max_size=20)

NUMBERS = st.lists(st.floats(0, 1e6), min_size=1, max_size=25)
NUMBERS_TEXT = st.lists(st.from_regex(r"\A ?[1-9][0-9]{0,3} ?\Z"), min_size=1, max_size=25).map(",".join)
CURVES = st.from_regex(r"\A(sine|cosine|linear|reverse_linear|zeros)(\+0\.[0-9]{1,3})?\Z")

SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "train_resolution": st.integers(64, 8192)
    | st.lists(st.integers(64, 8192), min_size=2, max_size=2)
    | st.tuples(st.integers(64, 8192), st.integers(64, 8192)).map(lambda both: f"{both[0]},{both[1]}"),
    "optimizer_type": st.sampled_from([*OPTIMIZERS, "torch.optim.SGD"]),
    "optimizer_args": st.lists(st.from_regex(r"\A[a-z_]{1,9}=[0-9.]{1,5}\Z"))
    | st.dictionaries(st.from_regex(r"\A[a-z_]{1,9}\Z"), st.floats(allow_nan=False) | TEXT | st.booleans()),
    "down_lr_weight": NUMBERS | NUMBERS_TEXT | CURVES,
    "mid_lr_weight": NUMBERS | NUMBERS_TEXT | st.floats(0, 1e6),
    "up_lr_weight": NUMBERS | NUMBERS_TEXT | CURVES,
    "block_dims": st.lists(st.integers(0, 100_000), min_size=1, max_size=25) | NUMBERS_TEXT,
    "conv_block_dims": st.lists(st.integers(0, 100_000), min_size=1, max_size=25) | NUMBERS_TEXT,
    "block_alphas": NUMBERS | NUMBERS_TEXT,
    "conv_block_alphas": NUMBERS | NUMBERS_TEXT,
    "base_weights": TEXT | st.lists(TEXT, min_size=1, max_size=3),
    "base_weights_multiplier": st.floats(-10, 10) | st.lists(st.floats(-10, 10), min_size=1, max_size=3),
    "sample_prompts": TEXT | st.lists(TEXT, max_size=3),
    "json_load_skip_list": st.lists(st.text(max_size=9), max_size=3),
    "change_output_name": st.from_regex(r"\A[a-z0-9][^/\\\x00-\x1f\x7f]{0,9}\Z"),
    "caption_extension": st.sampled_from([".txt", ".caption", ".tags.txt"]),
    "bucket_reso_steps": st.integers(1, 128).map(lambda eighth: 8 * eighth),
}


def valid_values(known: Parameter) -> st.SearchStrategy[Any]:
    """Return what a parameter takes, null included where it is optional."""
    if known.name in SPECIAL:
        values = SPECIAL[known.name]
    elif known.choices:
        values = st.sampled_from(known.choices)
    elif known.kind is bool:
        values = st.booleans()
    elif known.kind is int:
        values = st.integers(int(known.minimum or 0), int(known.maximum or 0))
    elif known.kind is float:
        values = st.floats(
            known.minimum,
            known.maximum or 1e6,
            exclude_min=known.exclusive_minimum,
            exclude_max=known.exclusive_maximum,
        )
    else:
        values = TEXT
    return values if known.required else values | st.none()


VALID_CONFIGS = st.fixed_dictionaries(
    {name: valid_values(known) for name, known in PARAMETERS.items() if known.required},
    optional={name: valid_values(known) for name, known in PARAMETERS.items() if not known.required},
)


def accepts(values: dict[str, Any]) -> bool:
    """Ask the schema."""
    valid: bool = VALIDATOR.is_valid(values)
    return valid


def test_it_is_a_schema() -> None:
    """The schema itself keeps to draft 7, the newest that VS Code supports in full."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == ["base_model", "output_folder"]


CONFLICTING = {conflict.rule for conflict in CONFLICTS}


def conflicts(values: dict[str, Any]) -> set[str]:
    """Return the codes of the linter's findings that the schema has conditional parts for."""
    found = lint_values(values, Path(), None).findings
    return {finding.code for finding in found if finding.code in CONFLICTING and finding.severity == "error"}


@given(VALID_CONFIGS)
@settings(deadline=None)
def test_valid_values_fail_by_conflicts_only(values: dict[str, Any]) -> None:
    """Of valid values in any combination the schema refuses what the linter's rules on conflicts find, no more."""
    assert check(values).problems == ()
    assert accepts(values) == (not conflicts(values))


FEW = st.lists(
    st.sampled_from(
        [
            *[(name, value) for name in ("color_aug", "random_crop", "cache_latents") for value in (True, False, None)],
            *[(name, value) for name in ("unet_only", "text_only", "v2", "save_json_only") for value in (True, None)],
            *[("use_8bit_adam", value) for value in (True, False)],
            *[("optimizer_type", value) for value in ("AdamW", "adamw8BIT", "Lion", "Prodigy", "a.B", None)],
            *[("clip_skip", value) for value in (None, 1, 12, 13, 23)],
            *[(name, value) for name in ("caption_dropout_rate", "caption_tag_dropout_rate") for value in (0, 0.5, 1)],
            *[("caption_dropout_every_n_epochs", value) for value in (None, 1, 2)],
            *[("save_json_folder", value) for value in (None, "configs")],
        ]
    ),
    max_size=6,
).map(dict)


@given(FEW)
@settings(deadline=None, max_examples=400)
def test_conflicts_are_those_of_the_rules(few: dict[str, Any]) -> None:
    """On configs that are full of them, the schema and the linter's rules name the same files."""
    values = {**PATHS, **few}
    assert accepts(values) == (not conflicts(values))


def test_every_conflict_is_seen() -> None:
    """Each conditional part refuses some file for itself, in its own words, so that none is idle."""
    bad: dict[str, dict[str, Any]] = {
        "color_aug": {"color_aug": True},
        "random_crop": {"random_crop": True, "cache_latents": None},
        "unet_only": {"unet_only": True, "text_only": True},
        "use_8bit_adam": {"use_8bit_adam": True, "optimizer_type": "Lion"},
        "save_json_only": {"save_json_only": True},
        "the text encoder": {"clip_skip": 13},
        "1 drops every caption": {"caption_dropout_rate": 1},
        "1 empties": {"caption_dropout_every_n_epochs": 1},
        "1 drops every tag": {"caption_tag_dropout_rate": 1.0},
    }
    assert len(bad) == len(CONFLICTS)
    for conflict, (start, values) in zip(CONFLICTS, bad.items(), strict=True):
        assert conflict.text.startswith(start)
        assert conflict.rule in conflicts({**PATHS, **values})
        alone = jsonschema.Draft7Validator({**SCHEMA, "allOf": [conditional(conflict)]})
        assert not alone.is_valid({**PATHS, **values})


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-10, 600)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.sampled_from(
        ["cosine", "AdamW", "lion", "a.B", "512,768", "63,64", "0512x512", ".txt", "x=1", "no", "fp16", ""]
    )
)


def is_told_apart(value: Any) -> bool:
    """Say whether JSON Schema sees the value as Python does: it takes 8.0 for 8, and a pattern's $ sees line ends."""
    if isinstance(value, list | dict):
        return all(map(is_told_apart, value)) and (isinstance(value, list) or all(map(is_told_apart, value.values())))
    if isinstance(value, float):
        return not value.is_integer()
    return not (isinstance(value, str) and (value.endswith("\n") or not value.isascii()))


@given(
    st.sampled_from(list(PARAMETERS)), VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(TEXT, VALUES, max_size=2)
)
@settings(deadline=None, max_examples=600)
def test_schema_and_model_agree_on_any_value(name: str, value: Any) -> None:
    """What an editor underlines is what `check` or a rule on conflicts finds, and the other way round."""
    assume(is_told_apart(value))
    values = {**PATHS, name: value}
    assert accepts(values) == (not check(values).problems and not conflicts(values))


@pytest.mark.parametrize(
    "wrong",
    [
        {"net_dim": 0},
        {"net_dim": "32"},
        {"net_dim": 1.5},
        {"learning_rate": 0},
        {"warmup_lr_ratio": 1},
        {"buckets": "true"},
        {"save_as": "diffusers"},
        {"bucket_reso_steps": 60},
        {"clip_skip": True},
        {"train_resolution": [512, 512, 512]},
        {"train_resolution": "big"},
        {"optimizer_args": ["weight_decay"]},
        {"caption_extension": "txt"},
        {"change_output_name": "a/b"},
        {"base_model": None},
        {"network_dim": 32},
        {"use_lion": True},
    ],
)
def test_wrong_values_fail_both(wrong: dict[str, Any]) -> None:
    """What the model refuses here, an editor underlines."""
    values = {**PATHS, **wrong}
    assert check(values).problems
    assert not accepts(values)


def test_required_keys_and_leftovers() -> None:
    """Without a required key a file fails; the schema link and harmless leftovers do not."""
    assert not accepts({"base_model": "b", "img_folder": "i"})
    assert not accepts({"base_model": "b", "output_folder": "o"})
    assert not accepts({"base_model": "b", "output_folder": "o", "img_folder": None, "dataset_config": None})
    assert accepts({"base_model": "b", "output_folder": "o", "dataset_config": "d.toml"})
    assert accepts({"base_model": "b", "output_folder": "o", "img_folder": None, "dataset_config": "d.toml"})
    assert accepts(
        {**PATHS, "$schema": "train.schema.json", "list_of_json_to_run": None, "use_lion": False, "lowram": None}
    )


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"LL701": "an old viewer"}, True),
        ({"pickle-format": "an old viewer", "LL4": "mine"}, True),
        (["LL701 an old viewer", "LL4: mine"], True),
        ("LL701 an old viewer", True),
        ({"LL701": ""}, False),
        (["LL701"], False),
        ({"l l": "why"}, False),
        (3, False),
    ],
)
def test_suppressions_need_a_reason(value: Any, fits: bool) -> None:
    """What the linter takes as a suppression with its reason is no mistake; comments as keys are none either."""
    assert accepts({**PATHS, "lora_lab:ignore": value, "// note": 1, "_comment": "x"}) == fits


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_hover_texts_hold_what_is_known(name: str) -> None:
    """Description and Markdown of each property carry meaning, default, typical values and every source."""
    known, shown = PARAMETERS[name], SCHEMA["properties"][name]
    assert known.meaning in shown["description"]
    for text in (known.meaning, known.typical, known.misread or "", *(one.source for one in known.pitfalls)):
        assert text in shown["markdownDescription"]
    assert ("default" in shown) is not known.required
    assert shown["x-typical"] == known.typical
    assert [one["text"] for one in shown.get("x-pitfalls", [])] == [one.text for one in known.pitfalls]
    assert shown.get("x-unit", "") == known.unit
