"""Points from all over a space, to be linted before it is searched."""

from pathlib import Path

import pytest

from lora_lab.document.yaml_text import parse_yaml
from lora_lab.failure import Failure
from lora_lab.sweep.plan import Plan, space_of
from lora_lab.sweep.read_grid import read_grid
from lora_lab.sweep.sample import DRAWN, sample_plan


def sample_of(text: str) -> Plan:
    """Return the sample of a grid file's text."""
    read = read_grid(parse_yaml(f"base: {{}}\nmethod: bayes\nmax_runs: 9\nname: n\n{text}", Path("/grids/g.yaml")))
    assert read.problems == ()
    assert read.grid is not None
    return sample_plan(space_of(read.grid, {"batch_size": 2}))


def test_a_small_space_is_looked_at_whole() -> None:
    """Every choice with both ends and the middle of every range; names and shared values are those of runs."""
    plan = sample_of(
        "parameters:\n  net_dim: [4, 8]\n  learning_rate: {min: 1e-5, max: 1e-3, distribution: log_uniform}\n"
    )
    assert [tuple(run.axes.values()) for run in plan.runs] == [
        (4, 1e-5), (4, 1e-4), (4, 1e-3), (8, 1e-5), (8, 1e-4), (8, 1e-3),
    ]  # fmt: skip
    assert plan.runs[0].name == "net_dim=4 learning_rate=1e-05"
    assert plan.runs[0].values["batch_size"] == 2
    assert [run.index for run in plan.runs] == list(range(6))


def test_of_a_big_space_every_option_is_seen() -> None:
    """Both extreme corners, each option of each axis, and some drawn points; the same in every process."""
    text = (
        "parameters:\n  net_dim: {min: 1, max: 500}\n  alpha: {min: 1.0, max: 9.0}\n  batch_size: {min: 1, max: 64}\n"
    )
    text += "  scheduler: [constant, cosine, linear, polynomial, cosine_with_restarts]\n"
    plan = sample_of(text)
    seen = [tuple(run.axes.values()) for run in plan.runs]
    assert (1, 1.0, 1, "constant") in seen
    assert (500, 9.0, 64, "cosine_with_restarts") in seen
    assert {run.axes["scheduler"] for run in plan.runs} >= {"constant", "cosine", "linear", "polynomial"}
    assert DRAWN < len(seen) == len(set(seen)) <= 2 + 3 + 3 + 3 + 5 + DRAWN
    assert [run.axes for run in sample_of(text).runs] == [run.axes for run in plan.runs]


def test_conditions_exclusions_and_included_points() -> None:
    """An axis is left out where its condition does not hold, excluded points too; included ones are looked at."""
    plan = sample_of(
        "parameters:\n  scheduler: [constant, cosine_with_restarts]\n  alpha: net_dim / 2\n  net_dim: [4, 8]\n"
        '  cosine_restarts: {values: [2, 3], when: scheduler == "cosine_with_restarts"}\n'
        "exclude:\n  - {net_dim: 8, cosine_restarts: 3}\ninclude:\n  - {net_dim: 64}\n"
    )
    assert [(*run.axes.values(), run.derived["alpha"]) for run in plan.runs] == [
        ("constant", 4, 2),
        ("constant", 8, 4),
        ("cosine_with_restarts", 4, 2, 2),
        ("cosine_with_restarts", 4, 3, 2),
        ("cosine_with_restarts", 8, 2, 4),
        (64, 32),
    ]


def test_a_grid_that_excludes_everything() -> None:
    """Nothing to look at is nothing to search."""
    with pytest.raises(Failure, match="excludes every point"):
        sample_of("parameters: {net_dim: [4, 8]}\nexclude: [net_dim > 0]\n")
