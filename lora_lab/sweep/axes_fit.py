"""A point and the parameters of the sampler: which choice of each axis a point is, and how the sampler knows it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lora_lab.sweep.expression import same
from lora_lab.sweep.grid import Axis, Choice, label
from lora_lab.sweep.plan import Space
from lora_lab.sweep.points import holds

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution


class Fitting(NamedTuple):
    """An axis, what is chosen from it, and the sampler's parameter for that: a text, or a share from 0 to 1."""

    axis: Axis
    choice: Choice
    parameter: float | str


def axis_name(axis: Axis) -> str:
    """Return what the sampler calls an axis."""
    return " ".join(axis.names)


def texts(axis: Axis) -> list[str]:
    """Return what the sampler calls the choices of an axis: equal values, equal texts."""
    return [json.dumps(one.values, sort_keys=True, ensure_ascii=False, default=str) for one in axis.choices]


def merged(choices: Iterable[Choice]) -> dict[str, object]:
    """Return the values of several choices together."""
    return {name: value for one in choices for name, value in one.values.items()}


def fit(space: Space, values: Mapping[str, object]) -> list[Fitting] | None:
    """Return which choices a point is made of; None where the space has no such point. Raises `Failure`."""
    known = dict(space.shared)
    found: list[Fitting] = []
    for axis in space.varied:
        if axis.when is not None and not holds(axis, known):
            continue
        one = _fitting(axis, values)
        if one is None:
            return None
        found.append(one)
        known.update(one.choice.values)
    return found if merged(one.choice for one in found).keys() == values.keys() else None


def _fitting(axis: Axis, values: Mapping[str, object]) -> Fitting | None:
    if axis.distribution is not None:
        name = axis.names[0]
        value = values.get(name)
        share = axis.distribution.share(value)
        if share is None:
            return None
        return Fitting(axis, Choice(f"{name}={label(value)}", {name: value}), share)
    for one, text in zip(axis.choices, texts(axis), strict=True):
        if all(name in values and same(value, values[name]) for name, value in one.values.items()):
            return Fitting(axis, one, text)
    return None


def suggested(trial: "Trial", axis: Axis) -> Choice:
    """Return what the sampler chooses for one axis."""
    if axis.distribution is not None:
        return axis.pick(trial.suggest_float(axis_name(axis), 0.0, 1.0))
    by_text = dict(zip(texts(axis), axis.choices, strict=True))
    return by_text[trial.suggest_categorical(axis_name(axis), list(by_text))]


def distribution_of(axis: Axis) -> "BaseDistribution":
    """Return what the sampler may choose for an axis."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415 -- see study.py

    return FloatDistribution(0.0, 1.0) if axis.distribution is not None else CategoricalDistribution(texts(axis))


def fingerprint(space: Space) -> str:
    """Return a hash of the space and of what it is judged by: equal spaces, equal hashes, in every process."""
    grid = space.grid
    axes: list[Any] = [
        [one.names, texts(one), vars(one.distribution) if one.distribution else None, one.when and one.when.text]
        for one in space.varied
    ]
    excluded = [one if isinstance(one, Mapping) else one.text for one in grid.exclude]
    derived = [[one.name, one.expression.text] for one in grid.derived]
    whole = [axes, derived, excluded, grid.include, grid.seeds, space.shared, grid.metric.name, grid.metric.goal]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()
