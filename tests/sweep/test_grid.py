"""The grid language: what is understood, and where each mistake is said to be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document.yaml_text import parse_yaml
from lora_lab.sweep.grid import KEYS, Axis, Metric, read_grid, same

GOOD = """\
base: config.json
name: rank and rate
method: grid
metric: {name: loss, goal: maximize}
parameters:
  net_dim: [8, 16]
  unet_lr: {values: [1e-3, 1e-4]}
  scheduler: {value: constant}
seeds: [1, 2]
exclude:
  - {net_dim: 16, unet_lr: 1e-3}
"""


def test_every_word_of_the_language_is_understood() -> None:
    """A grid with all keys becomes the axes in their order, the seeds last."""
    read = read_grid(parse_yaml(GOOD, Path("/grids/some.yaml")))
    assert read.problems == ()
    grid = read.grid
    assert grid is not None
    assert grid.name == "rank and rate"
    assert grid.base == "config.json"
    assert grid.folder == Path("/grids")
    assert grid.metric == Metric("loss", "maximize")
    assert grid.axes == (
        Axis("net_dim", (8, 16)),
        Axis("unet_lr", (1e-3, 1e-4)),
        Axis("scheduler", ("constant",)),
        Axis("test_seed", (1, 2)),
    )
    assert grid.exclude == ({"net_dim": 16, "unet_lr": 1e-3},)


def test_what_is_left_out_has_a_default() -> None:
    """A grid needs a base alone; its name is the file's and the metric is val_loss, the lower the better."""
    grid = read_grid(parse_yaml("base: {base_model: x}", Path("/grids/some.yaml"))).grid
    assert grid is not None
    assert (grid.name, grid.metric, grid.axes) == ("some", Metric("val_loss", "minimize"), ())
    assert grid.base == {"base_model": "x"}


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("parameters:\n  net_dimm: [8]", 2, 3, "did you mean net_dim?"),
        ("parameters:\n  net_dim: [8, 0]", 2, 16, "net_dim must be"),
        ('parameters:\n  unet_lr: ["1e-4"]', 2, 13, "did you mean 0.0001?"),
        ("parameters:\n  net_dim: [8, 16, 8]", 2, 20, "8 stands twice"),
        ("parameters:\n  net_dim: 8", 2, 12, "write net_dim: [8]"),
        ("parameters:\n  net_dim: []", 2, 12, "needs a list"),
        ("parameters:\n  net_dim: {values: 8}", 2, 21, "needs a list"),
        ("parameters:\n  net_dim: {min: 8, max: 16}", 2, 13, "min is not built yet"),
        ("parameters:\n  net_dim: {valeus: [8]}", 2, 13, "did you mean values?"),
        ("parameters:\n  net_dim: {value: 8, values: [8]}", 2, 12, "one of values and value"),
        ("parameters:\n  - net_dim", 2, 3, "parameters must be a mapping"),
        ("method: bayes", 1, 9, "not built yet"),
        ("method: gird", 1, 9, "method must be grid"),
        ("metod: grid", 1, 1, "did you mean method?"),
        ("early_terminate: {}", 1, 1, "not built yet"),
        ("program: train.py", 1, 1, "means nothing here"),
        ("net_dim: 8", 1, 1, "move it into parameters"),
        ("name: a/b", 1, 7, "can name a folder"),
        ("name: ..", 1, 7, "can name a folder"),
        ("metric: {name: loss, gaol: minimize}", 1, 22, "did you mean goal?"),
        ("metric: {goal: minimise}", 1, 16, "minimize or maximize"),
        ("seeds: [1, -1]", 1, 12, "test_seed must be"),
        ("seeds: [1]\nparameters: {test_seed: [2]}", 1, 1, "keep one"),
        ("exclude: [{net_dim: 8}]", 1, 12, "not varied here"),
        ("parameters: {net_dim: [8, 16]}\nexclude: [{net_dim: 32}]", 2, 21, "never 32"),
        ("exclude: 3", 1, 10, "list of mappings"),
        ("base: 3", 1, 7, "base must be the path"),
    ],
)
def test_mistakes_are_said_where_they_stand(text: str, line: int, column: int, said: str) -> None:
    """Each mistake gives one problem at the line and column of the offending word, and no grid."""
    if "base" not in text:
        text += "\nbase: config.json"
    read = read_grid(parse_yaml(text))
    assert read.grid is None
    (problem,) = read.problems
    assert said in problem.message
    assert (problem.span.line, problem.span.column) == (line, column)


def test_a_base_must_be_named() -> None:
    """Without a base the grid is refused, as an empty file is."""
    assert "base is missing" in read_grid(parse_yaml("name: x")).problems[0].message
    assert "base" in read_grid(parse_yaml("")).problems[0].message


def test_broken_yaml_is_the_only_thing_said() -> None:
    """Where the YAML itself is broken, its problem is reported and nothing is guessed from the rest."""
    (problem,) = read_grid(parse_yaml("base: a: b\nmetod: 1")).problems
    assert "mapping values" in problem.message


def test_true_is_not_one() -> None:
    """Values of a parameter are told apart by kind where Python does not."""
    assert same(1, 1.0)
    assert not same(1, True)
    assert same(True, True)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*KEYS, "metod"]), _VALUES))
def test_any_values_are_read_without_an_exception(values: dict[str, object]) -> None:
    """Whatever stands under the known keys, the reader answers with a grid or with problems."""
    document = parse_yaml("")
    read = read_grid(type(document)(None, "", values))
    assert (read.grid is None) == bool(read.problems)
