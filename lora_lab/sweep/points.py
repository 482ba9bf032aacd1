"""The points of a grid: which values each run has, one after another, without making any run twice."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lora_lab.config import PARAMETERS
from lora_lab.failure import Failure
from lora_lab.sweep.expression import ExpressionError, same
from lora_lab.sweep.grid import SEED, Axis, Choice, Derived, Grid, Pattern, choice

MOST_POINTS: Final = 300_000
"""Points of a grid that are listed, the excluded ones too; nobody trains so many runs."""


class TooMany(Failure):
    """A grid stands for more points than anybody lists."""

    def __init__(self) -> None:
        remedy = "leave values out, or draw some of them: method: random and max_runs"
        super().__init__(f"the grid stands for more than {MOST_POINTS:,} points", remedy)


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: the label of each axis that was chosen from, the values chosen, and those that follow."""

    labels: tuple[str, ...]
    axes: Mapping[str, object]
    derived: Mapping[str, object]


def points(grid: Grid, varied: Sequence[Axis], fixed: Mapping[str, object]) -> Iterator[Point]:
    """Yield every point of `varied`, once, in the order of nested loops (or as drawn); the last turns fastest.

    `fixed` are the values of all runs: expressions may speak of them. The grid's `seeds` repeat each point. Raises
    `Failure` where an expression has no value for a point, and `TooMany` after `MOST_POINTS`.
    """
    seen: set[str] = set()
    looked_at = 0
    seeds = [Choice(f"{SEED}={seed}", {SEED: seed}) for seed in grid.seeds] if len(grid.seeds) > 1 else [None]
    included = ((choice(values),) for values in grid.include)
    for choices in itertools.chain(_chosen(grid, varied, fixed), included):
        for seed in seeds:
            looked_at += 1
            if looked_at > MOST_POINTS:
                raise TooMany
            point = point_of(grid, fixed, choices if seed is None else (*choices, seed))
            key = repr(sorted(point.axes.items()))
            if key not in seen and not excluded(grid, fixed, point):
                seen.add(key)
                yield point


def point_of(grid: Grid, fixed: Mapping[str, object], choices: Iterable[Choice]) -> Point:
    """Return the point of some choices with what follows from them. Raises `Failure`."""
    axes: dict[str, object] = {}
    labels: list[str] = []
    for one in choices:
        axes.update(one.values)
        labels.append(one.label)
    derived = derive(grid.derived, {**fixed, **axes}, " ".join(labels)) if grid.derived else {}
    return Point(tuple(labels), axes, derived)


def _chosen(grid: Grid, varied: Sequence[Axis], fixed: Mapping[str, object]) -> Iterator[tuple[Choice, ...]]:
    """Yield the choices of each point before exclusions."""
    if grid.method != "grid":
        yield from _drawn(grid, varied, fixed)
    elif any(axis.when for axis in varied):
        yield from _nested(varied, fixed, ())
    else:
        yield from itertools.product(*(axis.choices for axis in varied))


def _nested(
    axes: Sequence[Axis], values: Mapping[str, object], before: tuple[Choice, ...]
) -> Iterator[tuple[Choice, ...]]:
    """Yield the choices of nested loops, an axis left out where its condition does not hold."""
    if not axes:
        yield before
        return
    first, rest = axes[0], axes[1:]
    if first.when is not None and not holds(first, values):
        yield from _nested(rest, values, before)
        return
    for one in first.choices:
        yield from _nested(rest, {**values, **one.values}, (*before, one))


def _drawn(grid: Grid, varied: Sequence[Axis], fixed: Mapping[str, object]) -> Iterator[tuple[Choice, ...]]:
    """Yield drawn points: as many as `max_runs` leaves room for; one that is excluded is not replaced."""
    count = (grid.max_runs or 0) // max(len(grid.seeds), 1)
    for numbers in _sobol(grid, varied, count) if grid.method == "sobol" else _random(grid, varied, count):
        yield tuple(chosen(varied, numbers, fixed))


def chosen(varied: Sequence[Axis], numbers: Sequence[float], fixed: Mapping[str, object]) -> Iterator[Choice]:
    """Yield what numbers in [0, 1), one for each axis, choose; axes whose condition does not hold are left out."""
    values = dict(fixed)
    for axis, number in zip(varied, numbers, strict=True):
        if axis.when is None or holds(axis, values):
            one = axis.pick(number)
            values.update(one.values)
            yield one


def _random(grid: Grid, varied: Sequence[Axis], count: int) -> Iterator[list[float]]:
    """Yield independent numbers that depend on the seed, the axis and the point alone: a longer sweep begins alike."""
    for index in range(count):
        yield [_hashed(f"{grid.seed}:{axis.names[0]}:{index}") for axis in varied]


def _hashed(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _sobol(grid: Grid, varied: Sequence[Axis], count: int) -> Iterator[list[float]]:
    """Yield a scrambled Sobol sequence: it fills the space more evenly than chance. Raises `Failure` without scipy."""
    if not varied:
        yield from ([] for _ in range(count))
        return
    try:
        from scipy.stats import qmc  # noqa: PLC0415 -- it loads numpy, which no other plan needs
    except ImportError as error:
        raise Failure("method sobol needs scipy", 'pip install "lora-lab[search]", or write method: random') from error
    power = max(count - 1, 1).bit_length()
    yield from qmc.Sobol(len(varied), scramble=True, seed=grid.seed).random_base2(power)[:count].tolist()


def holds(axis: Axis, values: Mapping[str, object]) -> bool:
    """Return whether an axis's condition holds; raises `Failure` where it has no value."""
    assert axis.when is not None
    try:
        return bool(axis.when.value(_known(axis.when.names, values)))
    except ExpressionError as error:
        raise Failure(f"{axis.names[0]}: {error}", "mend its `when` in the grid file") from error


def derive(derived: Sequence[Derived], values: Mapping[str, object], name: str) -> dict[str, object]:
    """Return the values that follow from others; one may speak of those before it. Raises `Failure`."""
    found: dict[str, object] = {}
    for one in derived:
        try:
            value = one.expression.value(_known(one.expression.names, {**values, **found}))
        except ExpressionError as error:
            raise Failure(f"{one.name}: {error} (at {name})", "mend its expression in the grid file") from error
        whole = isinstance(value, float) and value.is_integer() and PARAMETERS[one.name].kind is int
        found[one.name] = int(value) if whole else value  # type: ignore[call-overload]
    return found


def _known(names: Iterable[str], values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that an expression speaks of: a parameter that is not set has its default."""
    return {name: values[name] if values.get(name) is not None else PARAMETERS[name].default for name in names}


def excluded(grid: Grid, fixed: Mapping[str, object], point: Point) -> bool:
    """Return whether the grid leaves a point out. Raises `Failure`."""
    return _excluded(grid.exclude, {**fixed, **point.axes, **point.derived})


def _excluded(patterns: Iterable[Pattern], values: Mapping[str, object]) -> bool:
    for pattern in patterns:
        if isinstance(pattern, Mapping):
            if all(any(same(values.get(name), one) for one in wanted) for name, wanted in pattern.items()):
                return True
        else:
            try:
                if pattern.value(_known(pattern.names, values)):
                    return True
            except ExpressionError as error:
                raise Failure(f"exclude: {error}", "mend the expression in the grid file") from error
    return False
