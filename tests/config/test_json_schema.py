"""The JSON Schema against the model, both asked about the same files."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.config import OPTIMIZERS, PARAMETERS, Parameter, check
from lora_lab.config.json_schema import train_schema

SCHEMA = train_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PATHS = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}
TEXT = st.text(min_size=1, max_size=20)

SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "train_resolution": st.integers(64, 8192)
    | st.lists(st.integers(64, 8192), min_size=2, max_size=2)
    | st.tuples(st.integers(64, 8192), st.integers(64, 8192)).map(lambda both: f"{both[0]},{both[1]}"),
    "optimizer_type": st.sampled_from([*OPTIMIZERS, "torch.optim.SGD"]),
    "optimizer_args": st.lists(st.from_regex(r"\A[a-z_]{1,9}=[0-9.]{1,5}\Z"))
    | st.dictionaries(st.from_regex(r"\A[a-z_]{1,9}\Z"), st.floats(allow_nan=False) | TEXT | st.booleans()),
    "sample_prompts": TEXT | st.lists(TEXT, max_size=3),
    "json_load_skip_list": st.lists(st.text(max_size=9), max_size=3),
    "change_output_name": st.from_regex(r"\A[a-z0-9][^/\\]{0,9}\Z"),
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
    """The schema itself keeps to draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == list(PATHS)


@given(VALID_CONFIGS)
def test_valid_configs_pass_schema_and_model(values: dict[str, Any]) -> None:
    """Whatever combination of valid values a file has, neither finds a problem."""
    assert check(values).problems == ()
    assert accepts(values)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)


@given(
    st.sampled_from(list(PARAMETERS)), VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(TEXT, VALUES, max_size=2)
)
def test_the_schema_is_never_stricter_than_the_model(name: str, value: Any) -> None:
    """A file without problems is never underlined in an editor."""
    values = {**PATHS, name: value}
    if not check(values).problems:
        assert accepts(values)


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
    assert accepts(
        {**PATHS, "$schema": "train.schema.json", "list_of_json_to_run": None, "use_lion": False, "lowram": None}
    )


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
