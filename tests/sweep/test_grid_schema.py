"""The schema of grid files, asked together with the reader about the same files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.config import PARAMETERS
from lora_lab.document.yaml_text import YamlDocument, parse_yaml
from lora_lab.sweep.grid_schema import grid_schema
from lora_lab.sweep.read_axes import PRESET, WORDS
from lora_lab.sweep.read_grid import FOREIGN, KEYS, read_grid

SCHEMA = grid_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))

GOOD = [
    "base: config.json\nname: rank and rate\nmethod: grid\nmetric: {name: loss, goal: maximize}\n"
    "presets:\n  plain: {flip_aug: false}\nparameters:\n  preset: [plain]\n  net_dim: [8, 16]\n  alpha: net_dim / 2\n"
    "  unet_lr: {values: [1e-3, 1e-4]}\n"
    "  text_encoder_lr: {min: 1e-6, max: 1e-4, distribution: log_uniform, count: 3}\n  scheduler: {value: constant}\n"
    '  cosine_restarts: {values: [1, 3], when: scheduler == "cosine_with_restarts"}\n'
    "linked:\n  - {batch_size: 1, gradient_acc_steps: 4}\n  - {batch_size: 4, gradient_acc_steps: 1}\nseeds: [1, 2]\n"
    "exclude:\n  - {net_dim: [16, 8], unet_lr: 1e-3}\n  - net_dim > 8\ninclude:\n  - {net_dim: 64}\n"
    "early_terminate: {type: hyperband, min_iter: 2, s: 3}\nmax_runs: 50\nmax_hours: 8\nseed: 7\n",
    "program: train.py\nproject: mine\nmethod: random\nrun_cap: 12\ncommand: [python]\nbase: {}\nparameters:\n"
    "  learning_rate: {distribution: log_uniform, min: -9.2, max: -6.9}\n"
    "  optimizer_type: {distribution: categorical, values: [AdamW, Lion], probabilities: [0.7, 0.3]}\n"
    "  max_grad_norm: {distribution: constant, value: 1.0}\n"
    "  net_dim: {distribution: q_normal, mu: 32, sigma: 8, q: 4}\n",
    "base: {base_model: b}\nseeds: 3\nmetric: val_loss\nlinked: [[{net_dim: 8}, {net_dim: 9}], [{alpha: 1}]]\n",
]

BAD = [
    "name: x",
    "base: 3",
    "base: {net_dim: '8'}",
    "base: b\nmetod: grid",
    "base: b\nmethod: gird",
    "base: b\nmethod: random",
    "base: b\nname: a/b",
    "base: b\nname: ..",
    "base: b\nnet_dim: [8]",
    "base: b\nparameters: {net_dimm: [8]}",
    "base: b\nparameters: {net_dim: [8, 0]}",
    "base: b\nparameters: {net_dim: [8, 8]}",
    "base: b\nparameters: {net_dim: 8}",
    "base: b\nparameters: {net_dim: []}",
    "base: b\nparameters: {unet_lr: ['1e-4']}",
    "base: b\nparameters: {scheduler: [cosin]}",
    "base: b\nparameters: {scheduler: {min: 1, max: 2}}",
    "base: b\nparameters: {net_dim: {valeus: [8]}}",
    "base: b\nparameters: {net_dim: {value: 8, values: [8]}}",
    "base: b\nparameters: {unet_lr: {min: 1e-5}}",
    "base: b\nparameters: {unet_lr: {min: 1e-5, max: 1e-3, distribution: log_unifrom}}",
    "base: b\nparameters: {unet_lr: {mu: 1, sigma: 0}}",
    "base: b\nparameters: [net_dim]",
    "base: b\nmetric: {gaol: minimize}",
    "base: b\nmetric: {goal: minimise}",
    "base: b\nseeds: 0",
    "base: b\nseeds: [1, -1]",
    "base: b\nexclude: 3",
    "base: b\ninclude: [{net_dim: 0}]",
    "base: b\nlinked: [{net_dim: 0}]",
    "base: b\npresets: {a: 3}",
    "base: b\nearly_terminate: {type: hyperbend}",
    "base: b\nearly_terminate: {type: median, min_iter: 0}",
    "base: b\nmax_runs: 0",
    "base: b\nmax_hours: soon",
]


def accepts(values: Any) -> bool:
    """Ask the schema."""
    valid: bool = VALIDATOR.is_valid(values)
    return valid


def test_it_is_a_schema() -> None:
    """The schema keeps to draft 7, and its references lead somewhere."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert {one.rpartition("/")[2] for one in _references(SCHEMA)} <= SCHEMA["definitions"].keys()


def _references(part: Any) -> Iterator[str]:
    """Yield every reference in a schema."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _references(inner)
    if isinstance(part, dict) and isinstance(part.get("$ref"), str):
        yield part["$ref"]


def test_it_knows_every_word_of_the_language() -> None:
    """Whoever adds a key of the grid, or of a parameter in it, adds it to the schema, and the other way round."""
    assert SCHEMA["properties"].keys() == {*KEYS, *FOREIGN, "run_cap"}
    described = SCHEMA["properties"]["parameters"]["properties"]["net_dim"]["anyOf"][1]
    assert grid_schema()["definitions"]["number_axis"]["properties"].keys() == set(WORDS)
    assert described["allOf"] == [{"$ref": "#/definitions/number_axis"}]
    assert SCHEMA["properties"]["parameters"]["properties"].keys() == {PRESET, *PARAMETERS}


@pytest.mark.parametrize("text", [*GOOD, *(path.read_text(encoding="utf-8") for path in EXPERIMENTS)])
def test_good_grids(text: str) -> None:
    """What the reader understands, the packaged experiments too, the schema accepts."""
    document = parse_yaml(text)
    assert read_grid(document).problems == ()
    assert list(VALIDATOR.iter_errors(document.values)) == []


def test_there_are_experiments() -> None:
    """The test above looked at some."""
    assert EXPERIMENTS


@pytest.mark.parametrize("text", BAD)
def test_bad_grids(text: str) -> None:
    """What the schema is there to refuse it refuses, and the reader or the linter does too."""
    document = parse_yaml(text)
    assert not accepts(document.values)
    assert read_grid(document).grid is None or "base: {" in text  # a base's settings are the linter's business


WORD = st.sampled_from(["grid", "random", "cosine", "net_dim / 2", "b", "val_loss", "minimize", "AdamW", "uniform"])
LEAF = st.none() | st.booleans() | st.integers(-2, 70) | st.floats(1e-6, 2.5) | WORD
SOME = st.sampled_from(["net_dim", "alpha", "unet_lr", "scheduler", "optimizer_type", "flip_aug", "sample_prompts"])
POINT = st.dictionaries(SOME, LEAF, max_size=2)
AXIS = st.one_of(
    st.lists(LEAF, max_size=3), LEAF, st.dictionaries(st.sampled_from([*WORDS, "x"]), LEAF | st.lists(LEAF, max_size=2))
)
GRIDS = st.fixed_dictionaries(
    {"base": st.just("config.json")},
    optional={
        "parameters": st.dictionaries(SOME, AXIS, max_size=2),
        "method": WORD,
        "metric": WORD | st.dictionaries(st.sampled_from(["name", "goal", "target"]), WORD),
        "linked": st.lists(POINT, max_size=2),
        "include": st.lists(POINT, max_size=2),
        "exclude": st.lists(POINT | WORD, max_size=2),
        "presets": st.dictionaries(WORD, POINT, max_size=1),
        "seeds": LEAF | st.lists(LEAF, max_size=2),
        "max_runs": LEAF,
        "max_hours": LEAF,
        "name": WORD,
    },
)


@given(GRIDS)
@settings(deadline=None, max_examples=500)
def test_the_schema_is_never_stricter_than_the_reader(values: dict[str, Any]) -> None:
    """A grid that runs is never underlined in an editor."""
    if read_grid(YamlDocument(None, "", values)).grid is not None:
        assert list(VALIDATOR.iter_errors(values)) == []
