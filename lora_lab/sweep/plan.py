"""A grid and a base config become a plan: every run with its name and values, in order, as plain values."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_lab.config import PARAMETERS, resolve_path
from lora_lab.document.trainable import read_trainable, reading, trainable_values
from lora_lab.failure import Failure
from lora_lab.sweep.grid import Axis, Grid, Metric, same


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One point of the grid: `index` counts from 0, `axes` are the varied values only, `shared` those of all runs."""

    index: int
    name: str
    axes: Mapping[str, object]
    shared: Mapping[str, object] = field(repr=False)

    @property
    def values(self) -> dict[str, object]:
        """Return every value given for the run, paths absolute."""
        return {**self.shared, **self.axes}


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep is going to train. `axes` names the varied parameters, the fastest last."""

    name: str
    metric: Metric
    axes: tuple[str, ...]
    runs: tuple[PlannedRun, ...]


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
    parameter = PARAMETERS.get(key)
    if parameter is None or parameter.path_kind is None or not isinstance(value, str) or not value:
        return value
    return str(resolve_path(value, folder))


def make_plan(grid: Grid, base: Mapping[str, object]) -> Plan:
    """Return every point of the grid that is not excluded, on top of `base`; the last axis turns fastest.

    Raises `Failure` where nothing is left to train.
    """
    varied = [axis for axis in grid.axes if len(axis.values) > 1]
    set_values = {axis.name: axis.values[0] for axis in grid.axes if len(axis.values) == 1}
    shared = {**base, **absolute(set_values, grid.folder)}
    values = [[_absolute(axis.name, value, grid.folder) for value in axis.values] for axis in varied]
    labels = [[f"{axis.name}={label}" for label in axis_labels(axis)] for axis in varied]
    names = tuple(axis.name for axis in varied)
    runs = tuple(
        PlannedRun(
            index,
            " ".join(labels[axis][at] for axis, at in enumerate(point)) or grid.name,
            {name: values[axis][at] for axis, (name, at) in enumerate(zip(names, point, strict=True))},
            shared,
        )
        for index, point in enumerate(_points(grid, varied))
    )
    if not runs:
        raise Failure("the grid excludes every one of its points", "take something out of exclude")
    return Plan(grid.name, grid.metric, names, runs)


def _points(grid: Grid, varied: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    """Yield the points as positions on the axes, without the excluded ones."""
    excluded = [_positions(pattern, varied) for pattern in grid.exclude]
    for point in itertools.product(*(range(len(axis.values)) for axis in varied)):
        if not any(all(point[axis] == at for axis, at in pattern) for pattern in excluded):
            yield point


def _positions(pattern: Mapping[str, object], varied: Sequence[Axis]) -> tuple[tuple[int, int], ...]:
    """Return an exclusion as pairs of axis and position; a parameter with one value is met by every point."""
    return tuple(
        (number, next(at for at, value in enumerate(axis.values) if same(value, pattern[axis.name])))
        for number, axis in enumerate(varied)
        if axis.name in pattern
    )


def axis_labels(axis: Axis) -> list[str]:
    """Return a short text for each value of an axis: of a path its last part, as long as that tells them apart."""
    full = [label(value) for value in axis.values]
    parameter = PARAMETERS.get(axis.name)
    if parameter is None or parameter.path_kind is None:
        return full
    short = [text.replace("\\", "/").rstrip("/").rpartition("/")[2] for text in full]
    return short if len(set(short)) == len(short) and all(short) else full


def label(value: object) -> str:
    """Return a value as a person writes it: texts bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
