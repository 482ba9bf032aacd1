"""What a sweep says of itself as a whole, while it goes on and at its end: table, figures, pictures, the best run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.cli.table import best_of, judged, outcome_table, ranked
from lora_lab.sweep.grid import label, labels
from lora_lab.sweep.importance import importance
from lora_lab.sweep.plan import Plan
from lora_lab.sweep.roles import Outcome
from lora_lab.sweep.summary import sweep_note
from lora_lab.tracking.describe import git_tags
from lora_lab.tracking.events import Artifact, Event, Metrics, Record, RunStarted, SamplePicture
from lora_lab.tracking.spool import read_events
from lora_lab.tracking.view import AXES_TAG, GOAL_TAG, METRIC_TAG, PICTURES_TAG, RUN_TAG, join_axes, join_pictures
from lora_lab.whole_files import write_whole

if TYPE_CHECKING:
    from lora_lab.tracking.figures import Curve

TABLE = "table.txt"
FIGURES = "figures"

ENOUGH = 4
"""Finished runs from which on it can be said what mattered."""

MOST_ROWS = 30
"""Runs in the table of a sweep's summary, the best ones."""

GROUPS_TAG = "lora_lab.validation_sets"
"""The tag of a sweep that says how many things its runs are judged on: all of them compare where it is 1."""

MOST_GRIDS = 4
"""Prompts of which there is a grid picture."""


@dataclass
class SweepSummary:
    """Tells `parent`, the sweep's own run, how the sweep of a plan in `folder` stands; `runs` are planned."""

    plan: Plan
    runs: int
    folder: Path
    parent: Record
    warn: Callable[[str], None]
    _outcomes: list[Outcome] = field(default_factory=list)
    _pictures: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Say what is going to be trained."""
        self._say(f"{self.runs} runs, being trained")

    def ended(self, outcome: Outcome) -> None:
        """Say how the sweep stands after another run."""
        self._outcomes.append(outcome)
        self._pictures = self._pictures or _picture_tags(_told(outcome))
        left = self.runs - len(self._outcomes)
        if left > 0:
            self._say(f"{left} of {self.runs} runs are still to come\n\n{self._note(self._outcomes)}")

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Write the table, the figures and the pictures' grid, and say what came out."""
        self._outcomes = list(outcomes)
        write_whole(self.folder / TABLE, self._table(outcomes) + "\n")
        self.parent(Artifact(path=self.folder / TABLE))
        try:
            for path in self._figures(outcomes):
                self.parent(Artifact(path=path, folder=FIGURES))
        except Exception as error:  # a picture that can't be drawn must not cost the sweep's end
            self.warn(f"the sweep's figures are not complete: {error}")
        self._say(self._note(outcomes))

    def _say(self, note: str) -> None:
        tags = {
            RUN_TAG: "sweep",
            "lora_lab.sweep": self.plan.name,
            AXES_TAG: join_axes(self.plan.axes),
            METRIC_TAG: self.plan.metric.name,
            GOAL_TAG: self.plan.metric.goal,
            "lora_lab.run_folder": str(self.folder),
            GROUPS_TAG: str(len(set(judged(self._outcomes, self.plan.metric).letters) - {""})),
            **git_tags(Path.cwd()),
            **self._pictures,
        }
        self.parent(RunStarted(name=self.plan.name, params={}, tags=tags, note=note))

    def _table(self, outcomes: Sequence[Outcome]) -> str:
        return outcome_table(outcomes, self.plan.metric, self.plan.axes)

    def _note(self, outcomes: Sequence[Outcome]) -> str:
        best = best_of(outcomes, self.plan.metric)
        metric = self.plan.metric.name
        said = f"{best.run.name} ({metric} {best.metrics[metric]:.5g})" if best else ""
        table = self._table(ranked(outcomes, self.plan.metric)[:MOST_ROWS])
        return sweep_note(table, said, shares_of(outcomes, self.plan), metric)

    def _figures(self, outcomes: Sequence[Outcome]) -> list[Path]:
        """Draw what there is to draw; return the files."""
        from lora_lab.tracking.figures import draw_curves, draw_shares

        told = {outcome.folder: _told(outcome) for outcome in outcomes}
        order = ranked(outcomes, self.plan.metric)
        folder = self.folder / FIGURES
        written = []
        for metric in dict.fromkeys((self.plan.metric.name, "val_loss", "loss")):
            curves = {outcome.run.name: _curve(told[outcome.folder], metric) for outcome in order}
            if draw_curves(curves, metric, folder / f"{metric}.png"):
                written.append(folder / f"{metric}.png")
        if draw_shares(shares_of(outcomes, self.plan), self.plan.metric.name, folder / "importance.png"):
            written.append(folder / "importance.png")
        return [*written, *self._grids(order, told, folder)]

    def _grids(self, order: Sequence[Outcome], told: Mapping[Path, Sequence[Event]], folder: Path) -> list[Path]:
        """Draw the last pictures of all runs over the two parameters that matter most; one file for each prompt."""
        from lora_lab.tracking.contact_sheet import write_grid

        across, down = main_axes(self.plan, shares_of(order, self.plan))
        columns, rows = _values(order, across), _values(order, down)
        last: dict[str, dict[tuple[int, int], Path]] = {}
        for outcome in order:  # the best first: of several runs in one cell it is shown
            place = (rows.index(_key(outcome, down)), columns.index(_key(outcome, across)))
            pictures = [event for event in told[outcome.folder] if isinstance(event, SamplePicture)]
            for picture in sorted(pictures, key=lambda one: one.step, reverse=True):
                last.setdefault(picture.key, {}).setdefault(place, picture.path)
        texts = (self._labels(order, across), self._labels(order, down))
        title = " against ".join(filter(None, (across, down))) or self.plan.name
        best = "; of several runs in a cell the best" if len(order) > len(columns) * len(rows) else ""
        written = []
        for key in sorted(last)[:MOST_GRIDS]:
            path = folder / f"xy_grid_{key}.png"
            if write_grid(last[key], texts, path, f"{key}: {title}{best}"):
                written.append(path)
        return written

    def _labels(self, order: Sequence[Outcome], axis: str) -> list[str]:
        """Return the texts at a grid's edge, in the order of `_values`."""
        if not axis:
            return [""]
        values = {_key(outcome, axis): outcome.run.axes.get(axis) for outcome in order}
        keys = _values(order, axis)
        return [f"{axis}={text}" for text in labels(axis, [values[key] for key in keys])]


def main_axes(plan: Plan, shares: Mapping[str, float]) -> tuple[str, str]:
    """Return the two varied parameters that matter most; where that can't be told the first ones, "" where none is."""
    names = [*(axis for axis in shares if axis in plan.axes), *(axis for axis in plan.axes if axis not in shares)]
    first, second, *_ = [*names, "", ""]
    return first, second


def shares_of(outcomes: Sequence[Outcome], plan: Plan) -> dict[str, float]:
    """Return which part of the metric's variance each parameter explains, where there are runs enough to tell.

    Only the largest group of runs that compare counts.
    """
    name = plan.metric.name
    letters = judged(outcomes, plan.metric).letters
    points = [
        (outcome.run.axes, outcome.metrics[name])
        for outcome, letter in zip(outcomes, letters, strict=True)
        if letter == "A" and outcome.status == "FINISHED" and math.isfinite(outcome.metrics[name])
    ]
    return importance(points, plan.axes) if len(points) >= ENOUGH else {}


def _key(outcome: Outcome, axis: str) -> str:
    return label(outcome.run.axes.get(axis)) if axis else ""


def _values(order: Sequence[Outcome], axis: str) -> list[str]:
    """Return an axis' different values as texts, numbers by size, others in the order of the plan."""
    values = {_key(one, axis): one.run.axes.get(axis) for one in sorted(order, key=lambda one: one.run.index)}
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    return sorted(numbers, key=lambda key: numbers[key]) if len(numbers) == len(values) else list(values)


def _picture_tags(events: Sequence[Event]) -> dict[str, str]:
    """Return which pictures to show of all runs, by those of one that is over: they all draw the same prompts."""
    pictures = [event for event in events if isinstance(event, SamplePicture)]
    keys = sorted({picture.key for picture in pictures})
    return {PICTURES_TAG: join_pictures(keys, max(picture.step for picture in pictures))} if pictures else {}


def _told(outcome: Outcome) -> list[Event]:
    """Return what a run has told; nothing where its record is gone."""
    try:
        return [spooled.event for spooled in read_events(outcome.folder, 0)]
    except OSError:
        return []


def _curve(events: Sequence[Event], metric: str) -> "Curve":
    points = {
        event.step: event.values[metric] for event in events if isinstance(event, Metrics) and metric in event.values
    }
    return sorted(points.items())
