"""A grid and a base config become a plan: every run with its name and values, in order, as plain values."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lora_lab.config import resolve_path, with_paths
from lora_lab.document.trainable import read_trainable, reading, trainable_values
from lora_lab.failure import Failure
from lora_lab.sweep.grid import SEED, Axis, Grid, Metric
from lora_lab.sweep.points import Point, TooMany, points


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One point of the grid: `index` counts from 0, `axes` are the varied values only, `shared` those of all runs.

    `derived` are the values that follow from the others.
    """

    index: int
    name: str
    axes: Mapping[str, object]
    shared: Mapping[str, object] = field(repr=False)
    derived: Mapping[str, object] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, object]:
        """Return every value given for the run, paths absolute."""
        return {**self.shared, **self.axes, **self.derived}


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep is going to train. `axes` names the varied parameters, the fastest last.

    `left_out` counts the points that `max_runs` cuts off, as far as anybody counts them.
    """

    name: str
    metric: Metric
    axes: tuple[str, ...]
    runs: tuple[PlannedRun, ...]
    left_out: int = 0


def read_base(grid: Grid, say: Callable[[str], None] = lambda line: None) -> dict[str, object]:
    """Return the base config's values, relative paths made absolute from the file they stand in.

    The file may be of any dialect; `say` is told how another program's file was understood. Raises `Failure` where the
    base config cannot be read.
    """
    if not isinstance(grid.base, str):
        return absolute(grid.base, grid.folder)
    path = resolve_path(grid.base, grid.folder)
    document = read_trainable(path)
    if document.broken:
        raise Failure(f"{path} can't be read", f"see what `lora-lab lint {path}` says about it")
    for line in reading(path, document):
        say(line)
    return absolute(trainable_values(document), path.parent)


def absolute(values: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return the values with every path made absolute from `folder`, where the file that they stand in lies."""
    return {key: _absolute(key, value, folder) for key, value in values.items()}


def _absolute(key: str, value: object, folder: Path) -> object:
    return with_paths(key, value, lambda path: str(resolve_path(path, folder)))


def make_plan(grid: Grid, base: Mapping[str, object]) -> Plan:
    """Return every point of the grid that is not excluded, on top of `base`; the last axis turns fastest.

    Raises `Failure` where nothing is left to train, or an expression has no value.
    """
    space = space_of(grid, base)
    found = points(space.grid, space.varied, space.shared)
    runs = tuple(
        space.run(index, point.labels, point) for index, point in enumerate(itertools.islice(found, grid.max_runs))
    )
    if not runs:
        raise Failure("the grid excludes every one of its points", "take something out of exclude")
    return Plan(grid.name, grid.metric, space.names, runs, _left(found))


def _left(found: Iterator[Point]) -> int:
    """Return how many points there are still; of too many to count, those that were counted."""
    count = 0
    with contextlib.suppress(TooMany):
        for _ in found:
            count += 1
    return count


@dataclass(frozen=True)
class Space:
    """What a grid varies, and the values that all its runs have in common. All paths are absolute."""

    grid: Grid
    varied: tuple[Axis, ...]
    shared: Mapping[str, object]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the parameters that differ from run to run, in the order of the file, the seed last."""
        return _axis_names(self.grid, self.varied)

    def run(self, index: int, labels: Sequence[str], point: Point) -> PlannedRun:
        """Return the run of a point."""
        return PlannedRun(index, " ".join(labels) or self.grid.name, point.axes, self.shared, point.derived)


def space_of(grid: Grid, base: Mapping[str, object]) -> Space:
    """Return what the grid varies on top of `base`: an axis with one choice is set, not varied."""
    fixed = [axis for axis in grid.axes if len(axis.choices) == 1 and axis.when is None]
    varied = [_with_absolute_paths(axis, grid.folder) for axis in grid.axes if axis not in fixed]
    set_values = {name: value for axis in fixed for name, value in axis.choices[0].values.items()}
    if len(grid.seeds) == 1:
        set_values[SEED] = grid.seeds[0]
    shared = {**base, **absolute(set_values, grid.folder)}
    included = tuple(absolute(point, grid.folder) for point in grid.include)
    return Space(replace(grid, include=included), tuple(varied), shared)


def _with_absolute_paths(axis: Axis, folder: Path) -> Axis:
    choices = (replace(choice, values=absolute(choice.values, folder)) for choice in axis.choices)
    return replace(axis, choices=tuple(choices))


def _axis_names(grid: Grid, varied: Sequence[Axis]) -> tuple[str, ...]:
    """Return the parameters that differ from run to run, in the order of the file, the seed last."""
    names = [name for axis in varied for name in axis.names]
    names += [name for point in grid.include for name in point]
    if len(grid.seeds) > 1:
        names.append(SEED)
    return tuple(dict.fromkeys(names))
