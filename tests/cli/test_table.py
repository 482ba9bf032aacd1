"""Tables and durations in plain text."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lora_lab.cli.table import best_of, duration, outcome_table, ranked, text_table
from lora_lab.sweep.execute import Outcome
from lora_lab.sweep.grid import Metric
from lora_lab.sweep.plan import PlannedRun
from lora_lab.tracking.events import Status


def outcome(number: int, status: Status = "FINISHED", **metrics: float) -> Outcome:
    """Return the outcome of a run with these metrics."""
    run = PlannedRun(number, f"net_dim={number}", {"net_dim": number}, {})
    lora = Path(f"/r/run{number}/l.safetensors")
    return Outcome(run=run, status=status, folder=lora.parent, metrics=metrics, lora=lora, steps=7, seconds=65)


def test_columns_are_aligned() -> None:
    """Numbers stand to the right, words to the left, and no line ends in blanks."""
    assert text_table(["run", "loss"], [["run1", "0.5"], ["run10", "12.25"]]) == (
        "run     loss\n-----  -----\nrun1     0.5\nrun10  12.25"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.26, "7.3 s"), (59.9, "59.9 s"), (65, "1 min 05 s"), (3599.6, "1 h 00 min"), (7800, "2 h 10 min")],
)
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    """Seconds, minutes and hours each where they are wanted."""
    assert duration(seconds) == text


def test_the_best_run_comes_first() -> None:
    """The goal decides what is best; runs without the metric, and NaN, come last."""
    runs = [outcome(1, val_loss=0.5), outcome(2), outcome(3, val_loss=0.25), outcome(4, val_loss=math.nan)]
    assert [one.run.index for one in ranked(runs, Metric())] == [3, 1, 2, 4]
    assert [one.run.index for one in ranked(runs, Metric("val_loss", "maximize"))] == [1, 3, 2, 4]


def test_runs_judged_on_different_things_are_not_ranked_together() -> None:
    """The better number of a smaller group is neither first nor best; letters and a line say so."""
    sets = {1: "base=1", 2: "base=1", 3: "base=2", 4: "none"}
    runs = [
        replace(one, validation=sets[one.run.index])
        for one in (outcome(1, val_loss=0.5), outcome(2, val_loss=0.4), outcome(3, val_loss=0.1), outcome(4, loss=1))
    ]
    assert [one.run.index for one in ranked(runs, Metric())] == [2, 1, 3, 4]
    best = best_of(runs, Metric())
    assert best is not None
    assert best.run.index == 2
    lines = outcome_table(runs, Metric(), ["net_dim"]).split("\n")
    assert lines[0].split() == ["run", "net_dim", "val_loss", "loss", "judged", "steps", "time", "status"]
    assert [line.split()[4] for line in lines[2:6]] == ["A", "A", "B", "-"]
    assert lines[6] == "val_loss of 1 run marked B does not compare with that of A: the base model is another one"


def test_a_failed_run_is_never_the_best() -> None:
    """Only finished runs with the metric are named best."""
    runs = [outcome(1, "FAILED", val_loss=0.1), outcome(2, val_loss=0.5)]
    best = best_of(runs, Metric())
    assert best is not None
    assert best.run.index == 2
    assert best_of([outcome(1), outcome(2, val_loss=math.nan)], Metric()) is None
    assert best_of([], Metric()) is None


def test_the_table_shows_each_run_once() -> None:
    """Run, varied values, metrics, steps, time and status stand in their columns."""
    lines = outcome_table([outcome(1, loss=0.5), outcome(2, val_loss=0.25, loss=0.125)], Metric(), ["net_dim"]).split(
        "\n"
    )
    assert lines[0].split() == ["run", "net_dim", "val_loss", "loss", "steps", "time", "status"]
    assert lines[2].split() == ["run2", "2", "0.25", "0.125", "7", "1", "min", "05", "s", "finished"]
    assert lines[3].split() == ["run1", "1", "-", "0.5", "7", "1", "min", "05", "s", "finished"]
