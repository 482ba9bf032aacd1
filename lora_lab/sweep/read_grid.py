"""The grid language: which values of which parameters are tried.

    base: config.json          # or the config itself; relative to this file
    name: rank_and_rate        # the file's name where it is left out
    method: grid               # or random, sobol, bayes
    metric: {name: val_loss, goal: minimize}
    parameters:
      net_dim: [8, 16]
      alpha: net_dim / 2       # follows from others
      unet_lr: {values: [1e-3, 1e-4]}
      text_encoder_lr: {min: 1e-6, max: 1e-4, distribution: log_uniform, count: 3}
      scheduler: {value: constant}
      cosine_restarts: {values: [1, 3], when: scheduler == "cosine_with_restarts"}
    linked:                    # these move together
      - {batch_size: 1, gradient_acc_steps: 4}
      - {batch_size: 4, gradient_acc_steps: 1}
    seeds: [1, 2]              # every point once with each test_seed
    exclude:
      - {net_dim: 16, unet_lr: 1e-3}
      - net_dim > 8 and unet_lr > 5e-4
    include:
      - {net_dim: 64, unet_lr: 1e-5}
    max_runs: 50
    max_hours: 8
    early_terminate: {type: hyperband, min_iter: 2, eta: 3}    # or median

Method bayes proposes `max_runs` runs (see search.py), over the same words; `probabilities` say nothing to it.
`early_terminate` cuts runs short by what others had reached after as many validations (see referee.py); its numbers
count validations. W&B's other form, `{type: hyperband, max_iter: 27, s: 2}`, has its first rung at max_iter / eta^s.

The words are those that W&B sweeps made familiar, and such files load as they are. Reading is pure: problems are
collected with their line and column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_lab.config import PARAMETERS
from lora_lab.document import ParseProblem
from lora_lab.document.yaml_text import Place, YamlDocument
from lora_lab.sweep.expression import same
from lora_lab.sweep.grid import METHODS, SEED, Axis, EarlyTerminate, Grid, Method, Metric, Pattern, can_name_a_folder
from lora_lab.sweep.notes import Notes, meant
from lora_lab.sweep.read_axes import PRESET, AxesReader

KEYS = (
    "name", "base", "description", "method", "metric", "parameters", "presets", "linked", "seeds", "exclude", "include",
    "early_terminate", "max_runs", "max_hours", "seed",
)  # fmt: skip
FOREIGN = frozenset({"program", "command", "project", "entity", "controller", "job", "image_uri"})
"""Keys of W&B sweep files that say which program runs where: here it is this one, here."""

MOST_SEEDS = 1_000


@dataclass(frozen=True)
class ReadGrid:
    """What reading a grid file gave: the grid, or None and the problems that stand in its way."""

    grid: Grid | None
    problems: tuple[ParseProblem, ...]


def read_grid(document: YamlDocument, base: str | None = None) -> ReadGrid:
    """Understand a grid file; every problem at once, in the order of the file.

    `base` is the path of a base config that goes before the file's own.
    """
    reader = _Reader(document, base)
    grid = reader.grid() if not document.problems else None
    problems = sorted([*document.problems, *reader.notes.problems], key=lambda problem: problem.span.start)
    return ReadGrid(None if problems else grid, tuple(problems))


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, document: YamlDocument, base: str | None) -> None:
        self.notes = Notes(document)
        self._document = document
        self._values: Any = document.values
        self._other_base = base

    def grid(self) -> Grid | None:
        if not isinstance(self._values, dict) or not self._values:
            self.notes.at((), "a grid file has the keys " + ", ".join(KEYS))
            return None
        if "run_cap" in self._values and "max_runs" not in self._values:
            self._values = {**self._values, "max_runs": self._values["run_cap"]}
        for key in self._values:
            if key not in KEYS and key not in FOREIGN and key != "run_cap":
                self.notes.at_key((key,), _unknown_key(key))
        axes = AxesReader(self.notes, self._values)
        axes.read()
        method = self._method(axes.axes)
        return Grid(
            name=self._name(),
            base=self._base(),
            folder=self._document.folder,
            method=method,
            metric=self._metric(),
            axes=tuple(axes.axes),
            derived=tuple(axes.derived),
            exclude=self._exclude(axes),
            include=self._include(),
            seeds=self._seeds(axes),
            early_terminate=self._early_terminate(),
            max_runs=self._count("max_runs", needed_by=method),
            max_hours=self._hours(),
            seed=self._count("seed", lowest=0) or 0,
        )

    def _method(self, axes: Sequence[Axis]) -> Method:
        given = self._values.get("method", "grid")
        for method in METHODS:
            if given == method:
                if method == "grid":
                    self._all_listed(axes)
                return method
        self.notes.at(("method",), f"method must be {', '.join(METHODS[:-1])} or {METHODS[-1]}, but this is {given!r}")
        return "grid"

    def _all_listed(self, axes: Sequence[Axis]) -> None:
        """Say where a grid, which takes every value, has a distribution, which has no end of them."""
        for one in axes:
            if one.distribution is not None:
                remedy = "list values, give a count, or write method: random"
                self.notes.at(("parameters", one.names[0]), f"method grid needs values of {one.names[0]}: {remedy}")

    def _name(self) -> str:
        path = self._document.path
        name = self._values.get("name", path.stem if path is not None else "sweep")
        if isinstance(name, str) and can_name_a_folder(name):
            return name.strip()
        self.notes.at(("name",), f"name must be a text that can name a folder, but this is {name!r}")
        return ""

    def _base(self) -> str | Mapping[str, object]:
        if self._other_base is not None:
            return self._other_base
        base = self._values.get("base")
        if isinstance(base, str) and base:
            return base
        if isinstance(base, dict):
            return base
        if "base" not in self._values:
            self.notes.at((), "base is missing: name the config that the runs start from, here or with --base")
        else:
            self.notes.at(("base",), f"base must be the path of a config or the config itself, but this is {base!r}")
        return {}

    def _metric(self) -> Metric:
        given = self._values.get("metric", {})
        given = {"name": given} if isinstance(given, str) else given
        if not isinstance(given, dict):
            self.notes.at(("metric",), "metric must look like {name: val_loss, goal: minimize}")
            return Metric()
        for key in given:
            if key not in ("name", "goal", "target"):
                message = f"metric has a name and a goal, no {key}{meant(key, ('name', 'goal'))}"
                self.notes.at_key(("metric", key), message)
        name, goal = given.get("name", "val_loss"), given.get("goal", "minimize")
        if not isinstance(name, str) or not name:
            self.notes.at(("metric", "name"), f"the name of the metric must be a text, but this is {name!r}")
            name = "val_loss"
        if goal not in ("minimize", "maximize"):
            self.notes.at(("metric", "goal"), f"goal must be minimize or maximize, but this is {goal!r}")
            goal = "minimize"
        return Metric(name, goal)

    def _seeds(self, axes: AxesReader) -> tuple[int, ...]:
        """Read `seeds`: a list, or how many (1, 2, 3, …)."""
        given = self._values.get("seeds", [])
        if any(SEED in one.names for one in axes.axes) and "seeds" in self._values:
            self.notes.at_key(("seeds",), f"seeds and parameters.{SEED} say the same thing; keep one")
        if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MOST_SEEDS:
            return tuple(range(1, given + 1))
        if not isinstance(given, list) or ("seeds" in self._values and not given):
            self.notes.at(("seeds",), "seeds is a list such as [1, 2, 3], or their number")
            return ()
        for index, seed in enumerate(given):
            self.notes.fits(SEED, seed, ("seeds", index))
            if any(same(seed, other) for other in given[:index]):
                self.notes.at(("seeds", index), f"{seed} stands twice in seeds")
        return tuple(seed for seed in given if isinstance(seed, int))

    def _exclude(self, axes: AxesReader) -> tuple[Pattern, ...]:
        given = self._values.get("exclude", [])
        if not isinstance(given, list):
            self.notes.at(("exclude",), "exclude must be a list of mappings like {net_dim: 16}, or of expressions")
            return ()
        patterns: list[Pattern] = []
        for index, pattern in enumerate(given):
            place: Place = ("exclude", index)
            if isinstance(pattern, str):
                expression = self.notes.expression(pattern, place)
                if expression is not None:
                    patterns.append(expression)
            elif isinstance(pattern, dict) and pattern:
                patterns.append(self._pattern(pattern, place, axes))
            else:
                self.notes.at(place, "an exclusion names one or more parameters and their values")
        return tuple(patterns)

    def _pattern(self, given: Mapping[str, object], place: Place, axes: AxesReader) -> Pattern:
        """Read one exclusion; what no point can meet is a slip, and is said."""
        listed, open_ended = self._possible(axes)
        pattern = {}
        for name, value in given.items():
            wanted = value if isinstance(value, list) and not _takes_lists(name) else [value]
            pattern[name] = tuple(wanted)
            if not wanted:
                self.notes.at((*place, name), f"{name} names no value, so this excludes nothing")
            elif name in open_ended:
                for one in wanted:
                    self.notes.fits(name, one, (*place, name))
            elif name not in listed:
                self.notes.at_key((*place, name), f"{name} is not varied here{meant(name, listed)}")
            else:
                never = [one for one in wanted if not any(same(one, other) for other in listed[name])]
                for one in never:
                    self.notes.at((*place, name), f"{name} is never {one} here, so this excludes nothing")
        return pattern

    def _possible(self, axes: AxesReader) -> tuple[Mapping[str, list[object]], set[str]]:
        """Return the values that parameters can have in this sweep, and the parameters of which not all are known."""
        listed: dict[str, list[object]] = {}
        open_ended = {one.name for one in axes.derived} | {SEED}
        for axis in axes.axes:
            if axis.distribution is not None or axis.when is not None:
                open_ended.update(axis.names)
            for choice in axis.choices:
                for name, value in choice.values.items():
                    listed.setdefault(name, []).append(value)
        included = self._values.get("include")
        for row in included if isinstance(included, list) else []:
            open_ended.update(row if isinstance(row, dict) else ())
        return listed, open_ended

    def _include(self) -> tuple[Mapping[str, object], ...]:
        given = self._values.get("include", [])
        if not isinstance(given, list):
            self.notes.at(("include",), "include must be a list of mappings like {net_dim: 64}")
            return ()
        for index, point in enumerate(given):
            place: Place = ("include", index)
            if not isinstance(point, dict) or not point:
                self.notes.at(place, "an included point names one or more parameters and their values")
                continue
            for name, value in point.items():
                if self.notes.known(name, (*place, name)):
                    self.notes.fits(name, value, (*place, name))
        return tuple(point for point in given if isinstance(point, dict))

    def _early_terminate(self) -> EarlyTerminate | None:
        if "early_terminate" not in self._values:
            return None
        given = self._values["early_terminate"]
        place: Place = ("early_terminate",)
        if not isinstance(given, dict) or given.get("type") not in ("hyperband", "median"):
            here = (*place, "type") if isinstance(given, dict) and "type" in given else place
            self.notes.at(
                here, "early_terminate looks like {type: hyperband, min_iter: 2}; type is hyperband or median"
            )
            return None
        words = ("type", "min_iter", "max_iter", "eta", "s", "strict")
        numbers: dict[str, int] = {}
        for key, value in given.items():
            if key not in words:
                self.notes.at_key((*place, key), f"early_terminate has no {key}{meant(key, words)}")
            elif key in ("min_iter", "max_iter", "eta"):
                lowest = 2 if key == "eta" else 1
                if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                    self.notes.at((*place, key), f"{key} must be a whole number of at least {lowest}, not {value!r}")
                else:
                    numbers[key] = value
        if given["type"] == "hyperband" and "max_iter" in numbers and "min_iter" not in numbers:
            rungs = given.get("s", 1)  # W&B's other way to say where the first rung is
            if isinstance(rungs, int) and 0 <= rungs < 64:
                numbers["min_iter"] = max(numbers["max_iter"] // numbers.get("eta", 3) ** rungs, 1)
        return EarlyTerminate(given["type"], **numbers)

    def _count(self, key: str, lowest: int = 1, needed_by: Method = "grid") -> int | None:
        """Read a whole number; methods that draw points need `max_runs`."""
        if key not in self._values:
            if needed_by != "grid":
                self.notes.at(("method",), f"method {needed_by} has no end of its own: write {key}: 20, or so")
            return None
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= 10_000_000:
            self.notes.at((key,), f"{key} must be a whole number of at least {lowest}, but this is {value!r}")
            return None
        return value

    def _hours(self) -> float | None:
        value = self._values.get("max_hours")
        if "max_hours" not in self._values:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
            self.notes.at(("max_hours",), f"max_hours must be a number above 0, but this is {value!r}")
            return None
        return float(value)


def _takes_lists(name: str) -> bool:
    """Return whether a list can be one value of a parameter: a list of prompts, a width and a height."""
    parameter = PARAMETERS.get(name)
    return parameter is not None and ("list" in parameter.type_text or name == "train_resolution")


def _unknown_key(key: str) -> str:
    if key == PRESET:
        return "preset chooses among presets: move it into parameters"
    if key in PARAMETERS:
        return f"{key} is a parameter: move it into parameters or the base config"
    return f"unknown key {key!r}{meant(key, KEYS)}"
