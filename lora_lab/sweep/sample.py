"""Points of a space that is searched, to be looked at before the search begins: its corners, its middle, some more."""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from lora_lab.failure import Failure
from lora_lab.sweep.grid import Axis, Choice, choice
from lora_lab.sweep.plan import Plan, PlannedRun, Space
from lora_lab.sweep.points import excluded, holds, point_of

WHOLE: Final = 64
"""A space of so few combinations is looked at whole."""

DRAWN: Final = 32
"""Points that are drawn from a bigger one."""

ENDS: Final = (0.0, 0.5, 1.0)


def sample_plan(space: Space) -> Plan:
    """Return points from all over the space, as a plan: every value of a list, both ends of every range.

    Points that the grid excludes are left out. Raises `Failure` where that leaves none, or an expression has no value.
    """
    grid = space.grid
    runs: dict[str, PlannedRun] = {}
    for choices in itertools.chain(_combinations(space), ((choice(values),) for values in grid.include)):
        point = point_of(grid, space.shared, choices)
        if not excluded(grid, space.shared, point):
            runs.setdefault(repr(sorted(point.axes.items())), space.run(len(runs), point.labels, point))
    if not runs:
        raise Failure("the grid excludes every point that was looked at", "take something out of exclude")
    return Plan(grid.name, grid.metric, space.names, tuple(runs.values()))


def _combinations(space: Space) -> Iterator[tuple[Choice, ...]]:
    options = [_options(axis) for axis in space.varied]
    if math.prod(len(one) for one in options) <= WHOLE:
        every: Iterator[Sequence[Choice]] = itertools.product(*options)
    else:
        every = itertools.chain(_one_by_one(options), _random(space.varied))
    for picked in every:
        yield tuple(_where_it_holds(space, picked))


def _options(axis: Axis) -> list[Choice]:
    return [axis.pick(u) for u in ENDS] if axis.distribution is not None else list(axis.choices)


def _one_by_one(options: Sequence[Sequence[Choice]]) -> Iterator[Sequence[Choice]]:
    """Yield all lows, all highs, and around the middle each option of each axis."""
    yield [one[0] for one in options]
    yield [one[-1] for one in options]
    middle = [one[len(one) // 2] for one in options]
    for at, axis in enumerate(options):
        for option in axis:
            yield [*middle[:at], option, *middle[at + 1 :]]


def _random(varied: Sequence[Axis]) -> Iterator[Sequence[Choice]]:
    for index in range(DRAWN):
        hashes = (hashlib.sha256(f"{axis.names}:{index}".encode()).digest() for axis in varied)
        yield [axis.pick(int.from_bytes(one[:6], "big") / 2**48) for axis, one in zip(varied, hashes, strict=True)]


def _where_it_holds(space: Space, picked: Sequence[Choice]) -> Iterator[Choice]:
    """Yield the choices of the axes whose conditions hold."""
    values = dict(space.shared)
    for axis, one in zip(space.varied, picked, strict=True):
        if axis.when is None or holds(axis, values):
            values.update(one.values)
            yield one
