"""Curves with few points that keep what an eye would see of them: every peak, and the mean in between."""

import math
from collections.abc import Sequence
from typing import NamedTuple

ALL_POINTS = 60_000
"""Points of all curves together: more would make a page slow and large."""

FEWEST, MOST = 24, 240


class Thin(NamedTuple):
    """A stretch of a curve: its middle step, and the smallest, mean and greatest finite value in it."""

    step: int
    low: float
    mean: float
    high: float


def points_of(runs: int, metrics: int) -> int:
    """Return how many points each of so many runs' curves may have."""
    return max(FEWEST, min(MOST, ALL_POINTS // max(runs * metrics, 1)))


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[Thin]:
    """Return at most `most` stretches of a curve; the extremes of each are kept, values that are no numbers left out.

    `points` are in the order of their steps. With few points each is a stretch of its own.
    """
    finite = [(step, value) for step, value in points if math.isfinite(value)]
    count = len(finite)
    if count <= most:
        return [Thin(step, value, value, value) for step, value in finite]
    found = []
    for place in range(most):
        stretch = finite[place * count // most : (place + 1) * count // most]
        values = [value for _, value in stretch]
        middle = stretch[len(stretch) // 2][0]
        found.append(Thin(middle, min(values), math.fsum(values) / len(values), max(values)))
    return found
