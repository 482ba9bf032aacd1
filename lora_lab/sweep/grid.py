"""The grid: what a grid file says, as plain values. `read_grid.py` reads it, `points.py` lists its points."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lora_lab.config import PARAMETERS
from lora_lab.sweep.distribution import Distribution
from lora_lab.sweep.expression import Expression

Goal = Literal["minimize", "maximize"]
Method = Literal["grid", "random", "sobol", "bayes"]
METHODS: Final[tuple[Method, ...]] = ("grid", "random", "sobol", "bayes")
SEED: Final = "test_seed"


@dataclass(frozen=True)
class Metric:
    """What runs are compared by."""

    name: str = "val_loss"
    goal: Goal = "minimize"


@dataclass(frozen=True)
class Choice:
    """One position of an axis: the values that it sets, and how a run's name says so."""

    label: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Axis:
    """One thing that is varied (or, with one choice, set): a parameter, or several that move together.

    An axis that is drawn from a distribution has no choices. `weights` are the probabilities of the choices, equal
    where empty. Where `when` does not hold the axis is left out: its parameters keep the base's values.
    """

    names: tuple[str, ...]
    choices: tuple[Choice, ...]
    weights: tuple[float, ...] = ()
    distribution: Distribution | None = None
    when: Expression | None = None

    def pick(self, u: float) -> Choice:
        """Return the choice for a number 0 ≤ u < 1, so that equal numbers mean equal choices."""
        if self.distribution is not None:
            value = self.distribution.value(u)
            return Choice(f"{self.names[0]}={label(value)}", {self.names[0]: value})
        weights = self.weights or (1.0,) * len(self.choices)
        reached = 0.0
        for choice, weight in zip(self.choices, weights, strict=True):
            reached += weight / sum(weights)
            if u < reached:
                return choice
        return self.choices[-1]


@dataclass(frozen=True)
class Derived:
    """A parameter whose value follows from others'."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class EarlyTerminate:
    """When a run is cut short: `hyperband` keeps the best 1/eta at each rung, `median` what is no worse than half.

    `min_iter` and `max_iter` count validations: the first rung, and from where on nothing is cut any more.
    """

    type: Literal["hyperband", "median"]
    min_iter: int = 1
    max_iter: int | None = None
    eta: int = 3


Pattern = Mapping[str, tuple[object, ...]] | Expression
"""What is excluded: points where each parameter has one of its values, or where the expression holds."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid file as it was understood. `base` is a path as written, or the config's values; `folder` is the file's.

    `max_runs` and `max_hours` are limits for the whole sweep; `seed` is that of the points that are drawn.
    """

    name: str
    base: str | Mapping[str, object]
    folder: Path
    method: Method = "grid"
    metric: Metric = Metric()
    axes: tuple[Axis, ...] = ()
    derived: tuple[Derived, ...] = ()
    exclude: tuple[Pattern, ...] = ()
    include: tuple[Mapping[str, object], ...] = ()
    seeds: tuple[int, ...] = ()
    early_terminate: EarlyTerminate | None = None
    max_runs: int | None = None
    max_hours: float | None = None
    seed: int = 0


def axis(name: str, values: Sequence[object], when: Expression | None = None) -> Axis:
    """Return the axis of one parameter."""
    shown = labels(name, values)
    choices = (Choice(f"{name}={text}", {name: value}) for text, value in zip(shown, values, strict=True))
    return Axis((name,), tuple(choices), when=when)


def choice(values: Mapping[str, object]) -> Choice:
    """Return several values as one choice."""
    return Choice(" ".join(f"{name}={labels(name, [value])[0]}" for name, value in values.items()), values)


def labels(name: str, values: Sequence[object]) -> list[str]:
    """Return a short text for each value: of a path its last part, as long as that tells them apart."""
    full = [label(value) for value in values]
    parameter = PARAMETERS.get(name)
    if parameter is None or parameter.path_kind is None:
        return full
    short = [text.replace("\\", "/").rstrip("/").rpartition("/")[2] for text in full]
    return short if len(set(short)) == len(short) and all(short) else full


def label(value: object) -> str:
    """Return a value as a person writes it: texts bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


LONGEST_NAME: Final = 200
"""Bytes of a sweep's name; file systems take 255."""

_RESERVED: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))]
)
"""What Windows takes for a device, whatever ending follows."""


def can_name_a_folder(name: str) -> bool:
    """Return whether a sweep can be called so: its runs go to a folder of that name, on any system."""
    plain = bool(name.strip(" .")) and name.isprintable() and not set(name) & set('/\\:*?"<>|')
    return plain and len(name.encode()) <= LONGEST_NAME and name.partition(".")[0].strip().upper() not in _RESERVED
