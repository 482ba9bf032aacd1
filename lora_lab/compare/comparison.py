"""Runs side by side: which compare, which settings are the best, by how much, and what mattered."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_lab.compare.find import find_runs
from lora_lab.compare.noise import Noise, Spread, noise_of, spread
from lora_lab.compare.run import NOT_COMPARED, Run, Wanted, read_run
from lora_lab.compare.thin import points_of
from lora_lab.config import PARAMETERS
from lora_lab.failure import Failure
from lora_lab.sweep.comparable import Comparable, comparable
from lora_lab.sweep.grid import SEED, Goal
from lora_lab.sweep.importance import importance

ENOUGH = 4
"""Finished runs from which on it can be said what mattered."""

_MORE_IS_BETTER = frozenset({"images_per_second"})


@dataclass(frozen=True)
class Row:
    """Runs that are one setting: those that differ by their seed alone, or are equal in what was asked for.

    `values` are the columns' values that all of them have; `spread` is of the finished ones' metric, None where none
    has it. `letter` is that of `Comparable`, "" for what is not ranked. `behind` is how far the mean is from the
    group's best, `within` whether seeds alone could make so much; None where that can't be told.
    """

    runs: tuple[Run, ...]
    values: Mapping[str, object]
    spread: Spread | None
    letter: str
    behind: float | None = None
    within: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything that is said of some runs. `rows` are in order: group by group, the best first, the unranked last.

    `columns` are the parameters that differ; `averaged` those that rows put together, besides the seed; `noise` is the
    spread of the seeds in the largest group; `shares` say which part of the metric's variance each column explains.
    `planned` counts the runs that the sweeps have and nobody has begun.
    """

    metric: str
    goal: Goal
    columns: tuple[str, ...]
    averaged: tuple[str, ...]
    rows: tuple[Row, ...]
    comparable: Comparable
    noise: Noise | None
    shares: Mapping[str, float]
    runs: tuple[Run, ...]
    planned: int = 0

    @property
    def sign(self) -> int:
        """1 where small is good, -1 where great is."""
        return 1 if self.goal == "minimize" else -1

    @property
    def best(self) -> Row | None:
        """The best setting of the largest group."""
        return self.rows[0] if self.rows and self.rows[0].letter == "A" else None

    @property
    def best_run(self) -> Run | None:
        """The best run of the largest group, whatever its setting's mean."""
        found = [run for row in self.rows if row.letter == "A" for run in measured(row.runs, self.metric)]
        return min(found, key=lambda run: self.sign * run.metrics[self.metric]) if found else None


@dataclass(frozen=True)
class Question:
    """What is asked: the metric (None: the sweep's own), its goal, the parameters to group by, the curves to keep."""

    metric: str | None = None
    goal: Goal | None = None
    by: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


def compare(paths: Sequence[Path], question: Question) -> Comparison:
    """Read the runs that are meant and compare them. Raises `Failure` for what is not there."""
    places = find_runs(paths)
    sweeps = {place.sweep_folder: place.sweep for place in places if place.sweep is not None}
    records = list(sweeps.values())
    metric = question.metric or next((record.metric for record in records), "val_loss")
    goal = question.goal or _goal_of(metric, {record.metric: record.goal for record in reversed(records)})
    curves = tuple(dict.fromkeys((metric, *question.curves))) if question.curves else ()
    wanted = Wanted(metric, goal == "minimize", curves, points_of(len(places), len(curves)))
    runs = _each_once([run for place in places if (run := read_run(place, wanted)) is not None])
    if not runs:
        raise Failure(f"no run in {paths[0]} can be read", "its run.json and events.jsonl are damaged or gone")
    begun = {run.identity for run in runs}
    planned = sum(str(run.get("identity")) not in begun for record in records for run in record.runs)
    axes = tuple(dict.fromkeys(axis for record in records for axis in record.axes))
    return _compared(runs, axes, (metric, goal, question.by), planned)


def _goal_of(metric: str, known: Mapping[str, str]) -> Goal:
    goal = known.get(metric) or ("maximize" if metric in _MORE_IS_BETTER else "minimize")
    return "maximize" if goal == "maximize" else "minimize"


def _each_once(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the runs without those that are another one's twin: one sweep took them over from the other."""
    found: dict[object, Run] = {}
    for place, run in enumerate(runs):
        key = run.identity or place
        if key not in found or (run.finished and not found[key].finished):
            found[key] = run
    return tuple(found.values())


def _compared(
    runs: tuple[Run, ...], axes: tuple[str, ...], asked: tuple[str, Goal, tuple[str, ...]], planned: int
) -> Comparison:
    metric, goal, by = asked
    varied = _varied(runs, axes)
    unknown = [name for name in by if name not in PARAMETERS and name not in varied]
    if unknown:
        raise Failure(f"{unknown[0]} is no parameter", f"the runs differ in {', '.join(varied) or 'nothing'}")
    known = comparable(metric, [(run.judging, is_measured(run, metric)) for run in runs])
    letters = dict(zip((id(run) for run in runs), known.letters, strict=True))
    columns = by or tuple(name for name in varied if name != SEED)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        letter = letters[id(run)] if run.finished else ""
        key = _setting(run, columns) if by else _setting(run, _deciding(run))
        alone = "" if letter or by else str(id(run))  # what is not ranked is a row of its own
        groups.setdefault((letter, key + alone), []).append(run)
    rows = [_row(members, columns, letter, metric) for (letter, _), members in groups.items()]
    noise = noise_of([row.spread for row in rows if row.letter == "A" and row.spread is not None])
    sign = 1 if goal == "minimize" else -1
    ordered = sorted(rows, key=lambda row: _rank(row, sign))
    finished = [run for run in runs if run.finished and letters[id(run)] == "A"]
    points = [(_shown_values(run), run.metrics[metric]) for run in finished]
    return Comparison(
        metric=metric,
        goal=goal,
        columns=columns,
        averaged=tuple(name for name in varied if name not in by and name != SEED) if by else (),
        rows=tuple(_against_the_best(ordered, noise)),
        comparable=known,
        noise=noise,
        shares=importance(points, varied) if len(points) >= ENOUGH else {},
        runs=runs,
        planned=planned,
    )


LARGEST: Final = 1e100
"""Of a metric. Training in 32 bits measures nothing beyond 1e39; squares of what a broken file holds overflow."""


def is_measured(run: Run, metric: str) -> bool:
    """Return whether a run has the metric, as a number that can be reckoned with."""
    return abs(run.metrics.get(metric, math.nan)) <= LARGEST


def measured(runs: Sequence[Run], metric: str) -> list[Run]:
    """Return the finished runs that have the metric."""
    return [run for run in runs if run.finished and is_measured(run, metric)]


def value_of(run: Run, name: str) -> object:
    """Return what a parameter is in a run, as its sweep says it, else the effective value."""
    return run.axes.get(name, run.values.get(name))


def _shown_values(run: Run) -> dict[str, object]:
    return {**run.values, **run.axes}


def _varied(runs: Sequence[Run], axes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parameters that differ: those of the sweeps, and whatever else differs between several sources.

    Within one sweep everything else follows from its axes.
    """
    if axes and len({run.folder.parent for run in runs}) == 1:
        return axes
    others = [
        name
        for name in PARAMETERS
        if name not in axes and name not in NOT_COMPARED and len({as_key(value_of(run, name)) for run in runs}) > 1
    ]
    return (*axes, *others)


def _deciding(run: Run) -> tuple[str, ...]:
    """Return the parameters that decide what a run learns, but for the seed."""
    known = run.values or run.axes
    return tuple(name for name in known if name != SEED and name not in NOT_COMPARED)


def _setting(run: Run, names: Sequence[str]) -> str:
    return as_key([[name, value_of(run, name)] for name in names])


def as_key(value: object) -> str:
    """Return a text that is the same for equal values of a setting."""
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, (dict, list, tuple)) else repr(value)


def _row(members: Sequence[Run], columns: Sequence[str], letter: str, metric: str) -> Row:
    values = {
        name: value_of(members[0], name)
        for name in columns
        if len({as_key(value_of(run, name)) for run in members}) == 1
    }
    by_seed = {
        (as_key(run.seed), _setting(run, _deciding(run))): run.metrics[metric] for run in measured(members, metric)
    }
    found = spread(list(by_seed.values())) if by_seed else None
    return Row(tuple(members), values, found, letter)


def _rank(row: Row, sign: int) -> tuple[bool, int, str, float]:
    mean = sign * row.spread.mean if row.spread is not None else math.inf
    return (not row.letter, len(row.letter), row.letter, mean)


def _against_the_best(rows: Sequence[Row], noise: Noise | None) -> list[Row]:
    """Return the rows with how far each is behind the best of its group."""
    best: dict[str, Spread] = {}
    found = []
    for row in rows:
        if not row.letter or row.spread is None:
            found.append(row)
            continue
        first = best.setdefault(row.letter, row.spread)
        behind = row.spread.mean - first.mean
        within = abs(behind) <= noise.margin(row.spread, first) if noise is not None else None
        found.append(Row(row.runs, row.values, row.spread, row.letter, behind, within))
    return found
