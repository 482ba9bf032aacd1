"""The grid language: what is understood, and where each mistake is said to be."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_lab.document.yaml_text import parse_yaml
from lora_lab.sweep.distribution import Distribution
from lora_lab.sweep.expression import Expression
from lora_lab.sweep.grid import Choice, EarlyTerminate, Grid, Metric, axis
from lora_lab.sweep.read_grid import KEYS, read_grid

GOOD = """\
base: config.json
name: rank and rate
description: which rank is enough?
method: grid
metric: {name: loss, goal: maximize}
presets:
  plain: {flip_aug: false}
  mirrored: {flip_aug: true, color_aug: false}
parameters:
  preset: [mirrored, plain]
  net_dim: [8, 16]
  alpha: net_dim / 2
  unet_lr: {values: [1e-3, 1e-4]}
  text_encoder_lr: {min: 1e-6, max: 1e-4, distribution: log_uniform, count: 3}
  scheduler: {value: constant}
  cosine_restarts: {values: [1, 3], when: scheduler == "cosine_with_restarts"}
linked:
  - {batch_size: 1, gradient_acc_steps: 4}
  - {batch_size: 4, gradient_acc_steps: 1}
seeds: [1, 2]
exclude:
  - {net_dim: [16, 8], unet_lr: 1e-3}
  - net_dim > 8 and unet_lr > 5e-4
include:
  - {net_dim: 64}
early_terminate: {type: hyperband, min_iter: 2, s: 3}
max_runs: 50
max_hours: 8
seed: 7
"""


def grid_of(text: str) -> Grid:
    """Return the grid of a text that has no mistakes."""
    read = read_grid(parse_yaml(text, Path("/grids/some.yaml")))
    assert read.problems == ()
    assert read.grid is not None
    return read.grid


def test_every_word_of_the_language_is_understood() -> None:
    """A grid with all keys becomes its axes in their order, values that follow, exclusions and limits."""
    grid = grid_of(GOOD)
    assert grid.name == "rank and rate"
    assert grid.base == "config.json"
    assert grid.folder == Path("/grids")
    assert grid.metric == Metric("loss", "maximize")
    when = grid.axes[5].when
    assert when is not None
    assert when.text == 'scheduler == "cosine_with_restarts"'
    assert grid.axes[0].choices == (
        Choice("preset=mirrored", {"flip_aug": True, "color_aug": False}),
        Choice("preset=plain", {"flip_aug": False}),
    )
    assert grid.axes[1:6] == (
        axis("net_dim", (8, 16)),
        axis("unet_lr", (1e-3, 1e-4)),
        axis("text_encoder_lr", (1e-6, 1e-5, 1e-4)),
        axis("scheduler", ("constant",)),
        axis("cosine_restarts", (1, 3), when),
    )
    assert grid.axes[6].names == ("batch_size", "gradient_acc_steps")
    assert grid.axes[6].choices[0] == Choice(
        "batch_size=1 gradient_acc_steps=4", {"batch_size": 1, "gradient_acc_steps": 4}
    )
    assert [(one.name, one.expression.text) for one in grid.derived] == [("alpha", "net_dim / 2")]
    assert grid.exclude[0] == {"net_dim": (16, 8), "unet_lr": (1e-3,)}
    assert isinstance(grid.exclude[1], Expression)
    assert grid.include == ({"net_dim": 64},)
    assert grid.early_terminate == EarlyTerminate("hyperband", min_iter=2)
    assert (grid.seeds, grid.max_runs, grid.max_hours, grid.seed) == ((1, 2), 50, 8.0, 7)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{type: hyperband, max_iter: 27, s: 2}", EarlyTerminate("hyperband", min_iter=3, max_iter=27)),
        ("{type: hyperband, max_iter: 27, s: 2, eta: 2}", EarlyTerminate("hyperband", min_iter=6, max_iter=27, eta=2)),
        ("{type: hyperband, max_iter: 9, min_iter: 2}", EarlyTerminate("hyperband", min_iter=2, max_iter=9)),
        ("{type: hyperband, max_iter: 2, s: 5}", EarlyTerminate("hyperband", min_iter=1, max_iter=2)),
        ("{type: median, max_iter: 9}", EarlyTerminate("median", min_iter=1, max_iter=9)),
    ],
)
def test_where_the_first_rung_is(text: str, wanted: EarlyTerminate) -> None:
    """W&B names the first rung itself, or by the last and their number: 27 / 3 / 3 is 3."""
    assert grid_of(f"base: b\nparameters: {{net_dim: [4, 8]}}\nearly_terminate: {text}").early_terminate == wanted


def test_a_wandb_file_loads_as_it_is() -> None:
    """The words of a W&B sweep file are understood; those about programs and projects do nothing here."""
    grid = grid_of(
        "program: train.py\nproject: mine\nmethod: random\nrun_cap: 12\nmetric: {goal: minimize, name: val_loss}\n"
        "command: [python, train.py]\nbase: {}\nparameters:\n"
        "  learning_rate: {distribution: log_uniform, min: -9.2, max: -6.9}\n"
        "  batch_size: {distribution: q_log_uniform_values, q: 2, min: 2, max: 8}\n"
        "  optimizer_type: {distribution: categorical, values: [AdamW, Lion], probabilities: [0.7, 0.3]}\n"
        "  max_grad_norm: {distribution: constant, value: 1.0}\n"
        "  num_epochs: {min: 2, max: 6}\n"
        "  net_dim: {distribution: q_normal, mu: 32, sigma: 8, q: 4}\n"
    )
    rate, batch, optimizer, norm, epochs, rank = grid.axes
    assert rate.distribution is not None
    assert rate.distribution.low == pytest.approx(1.01e-4, rel=0.01)
    assert batch.distribution == Distribution("q_log_uniform_values", 2.0, 8.0, q=2.0, whole=True)
    assert optimizer.weights == (0.7, 0.3)
    assert norm.choices[0].values == {"max_grad_norm": 1.0}
    assert epochs.distribution == Distribution("int_uniform", 2.0, 6.0, whole=True)
    assert rank.distribution == Distribution("q_normal", mu=32.0, sigma=8.0, q=4.0, whole=True)
    assert grid.max_runs == 12


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
        ("parameters:\n  net_dim: {min: 8, max: 16}", 2, 12, "method grid needs values"),
        ("parameters:\n  net_dim: {min: 16, max: 8}", 2, 27, "above min"),
        ("parameters:\n  net_dim: {min: 0, max: 8, count: 3}", 2, 18, "net_dim must be"),
        ("parameters:\n  net_dim: {min: 1, max: 8, count: 1}", 2, 36, "2 or more"),
        ("parameters:\n  unet_lr: {min: 0, max: -1, distribution: log_uniform_values}", 2, 26, "above min"),
        ("parameters:\n  unet_lr: {min: 1e-5, max: 1e-3, distribution: log_unifrom}", 2, 49, "mean log_uniform?"),
        ("parameters:\n  unet_lr: {min: 1e-5}", 2, 12, "needs min and max"),
        ("parameters:\n  unet_lr: {min: 1e-5, max: 1e-3, q: 1e-5, distribution: uniform}", 2, 35, "no q"),
        ("parameters:\n  scheduler: {min: 1, max: 2}", 2, 14, "is no number"),
        ("parameters:\n  unet_lr: {mu: 1, sigma: 0}", 2, 27, "width above 0"),
        ("parameters:\n  net_dim: {values: [8, 16], probabilities: [1]}", 2, 45, "for each value"),
        ("parameters:\n  net_dim: {parameters: {a: 1}}", 2, 13, "no parameters of its own"),
        ("parameters:\n  alpha: 2 * net_dimm", 2, 14, "did you mean net_dim?"),
        ("parameters:\n  alpha: cosine", 2, 10, "write alpha: [cosine]"),
        ("parameters:\n  vae: models/vae", 2, 8, "write vae: [models/vae]"),
        ("parameters:\n  alpha: {expression: net_dimm / 2}", 2, 23, "did you mean net_dim?"),
        ("parameters:\n  alpha: {expression: 2 * open(3)}", 2, 27, "open is no function"),
        ("parameters:\n  alpha: {expression: 3}", 2, 23, "an expression is a text"),
        ("parameters:\n  alpha: {values: [1, 2], when: net_dim >}", 2, 33, "no expression"),
        ("linked: [{net_dim: 8}, {alpha: 1}]", 1, 24, "same parameters"),
        ("linked: [{net_dim: 8}, {net_dim: 8}]", 1, 24, "stands twice"),
        ("linked: [{net_dim: 0}, {net_dim: 8}]", 1, 20, "net_dim must be"),
        ("linked: 3", 1, 9, "list of mappings"),
        ("linked: [{net_dim: 8}, {net_dim: 9}]\nparameters: {net_dim: [4]}", 2, 14, "varied twice"),
        ("presets: {a: {net_dim: 8}}\nparameters: {preset: [b]}", 2, 23, "no preset 'b'"),
        ("presets: {a: {net_dim: 8}}\nparameters: {preset: {values: [a]}}", 2, 22, "list of names of presets"),
        ("presets: {a: {net_dim: 8}}\nparameters: {preset: [a, {b: 1}]}", 2, 26, "list of names of presets"),
        ("presets: {a: 3}", 1, 14, "names one or more"),
        ("include: [{net_dim: 0}]", 1, 21, "net_dim must be"),
        ("exclude: [net_dim > ]", 1, 11, "no expression"),
        ("method: random", 1, 9, "write max_runs"),
        ("max_runs: 0", 1, 11, "at least 1"),
        ("max_hours: soon", 1, 12, "above 0"),
        ("seeds: 0", 1, 8, "or their number"),
        ("early_terminate: {type: hyperbend}", 1, 25, "hyperband or median"),
        ("early_terminate: {type: median, min_iter: 0}", 1, 43, "at least 1"),
        ("parameters:\n  net_dim: {valeus: [8]}", 2, 13, "did you mean values?"),
        ("parameters:\n  net_dim: {value: 8, values: [8]}", 2, 12, "one of values and value"),
        ("parameters:\n  - net_dim", 2, 3, "parameters must be a mapping"),
        ("method: gird", 1, 9, "method must be grid, random"),
        ("metod: grid", 1, 1, "did you mean method?"),
        ("early_terminate: {}", 1, 18, "type is hyperband or median"),
        ("net_dim: 8", 1, 1, "move it into parameters"),
        ("name: a/b", 1, 7, "can name a folder"),
        ("name: ..", 1, 7, "can name a folder"),
        ("metric: {name: loss, gaol: minimize}", 1, 22, "did you mean goal?"),
        ("metric: {goal: minimise}", 1, 16, "minimize or maximize"),
        ("seeds: [1, -1]", 1, 12, "test_seed must be"),
        ("seeds: [1]\nparameters: {test_seed: [2]}", 1, 1, "keep one"),
        ("exclude: [{net_dim: 8}]", 1, 12, "not varied here"),
        ("parameters: {net_dim: [8, 16]}\nexclude: [{net_dim: 32}]", 2, 21, "never 32"),
        ("include: [{net_dim: 8}]\nexclude: [{net_dim: false}]", 2, 21, "net_dim must be"),
        ("include: [{net_dim: 8}]\nexclude: [{net_dim: []}]", 2, 21, "excludes nothing"),
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


def test_seeds_as_a_number() -> None:
    """`seeds: 3` means the seeds 1, 2 and 3."""
    assert grid_of("base: {}\nseeds: 3").seeds == (1, 2, 3)


def test_another_base_goes_first() -> None:
    """A base given from outside takes the place of the file's, which need not have one."""
    read = read_grid(parse_yaml("parameters: {net_dim: [8]}"), base="other.json")
    assert read.grid is not None
    assert read.grid.base == "other.json"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*KEYS, "metod"]), _VALUES))
def test_any_values_are_read_without_an_exception(values: dict[str, object]) -> None:
    """Whatever stands under the known keys, the reader answers with a grid or with problems."""
    document = parse_yaml("")
    read = read_grid(type(document)(None, "", values))
    assert (read.grid is None) == bool(read.problems)
