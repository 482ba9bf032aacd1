"""Which of the varied parameters mattered for the metric."""

from collections.abc import Mapping, Sequence
from statistics import fmean

_BINS = 3
"""Groups that a parameter's values are put in where hardly two runs share one."""


def importance(points: Sequence[tuple[Mapping[str, object], float]], axes: Sequence[str]) -> dict[str, float]:
    """Return for each axis which part of the metric's variance it explains by itself, from 0 to 1, the biggest first.

    `points` are the runs' varied values with their metric. The figure is omega squared, which is corrected for chance:
    an axis that means nothing comes out near 0 (Hays, Statistics, 1963; its bias is less than eta squared's). Axes that
    it can't be told of, with one value or as many as runs, are left out.
    """
    values = [metric for _, metric in points]
    found: dict[str, float] = {}
    for axis in axes:
        groups = _grouped([point.get(axis) for point, _ in points], values)
        if 2 <= len(groups) < len(values):
            found[axis] = _omega_squared(groups)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _grouped(settings: Sequence[object], values: Sequence[float]) -> list[list[float]]:
    """Put the metric's values together that belong to one setting, or to a range of numbers where most differ."""
    kinds: dict[object, list[float]] = {}
    numbers = [setting for setting in settings if isinstance(setting, (int, float)) and not isinstance(setting, bool)]
    many = len(numbers) == len(settings) and len(set(numbers)) > max(len(settings) // 2, 2)
    if many:
        ordered = sorted(numbers)
        size = max(-(-len(ordered) // _BINS), 1)
        settings = [min(ordered.index(number) // size, _BINS - 1) for number in numbers]
    for setting, value in zip(settings, values, strict=True):
        kinds.setdefault(repr(setting), []).append(value)
    return list(kinds.values())


def _omega_squared(groups: Sequence[Sequence[float]]) -> float:
    everything = [value for group in groups for value in group]
    mean = fmean(everything)
    total = sum((value - mean) ** 2 for value in everything)
    between = sum(len(group) * (fmean(group) - mean) ** 2 for group in groups)
    freedom = len(everything) - len(groups)
    within = (total - between) / freedom
    explained = (between - (len(groups) - 1) * within) / (total + within) if total + within > 0 else 0.0
    return min(max(explained, 0.0), 1.0)
