"""The grid language: which values of which parameters are tried.

    base: config.json          # or the config itself; relative to this file
    name: rank_and_rate        # the file's name where it is left out
    method: grid
    metric: {name: val_loss, goal: minimize}
    parameters:
      net_dim: [8, 16]
      unet_lr: {values: [1e-3, 1e-4]}
      scheduler: {value: constant}
    seeds: [1, 2]              # every point once with each test_seed
    exclude:
      - {net_dim: 16, unet_lr: 1e-3}

The words are those that W&B sweeps made familiar. Reading is pure: problems are collected with their line and column.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lora_lab.config import PARAMETERS, check
from lora_lab.document import ParseProblem
from lora_lab.document.yaml_text import Place, YamlDocument

Goal = Literal["minimize", "maximize"]
SEED = "test_seed"
KEYS = ("name", "base", "method", "metric", "parameters", "seeds", "exclude")
LATER = {
    "early_terminate": "runs are never cut short yet",
    "include": "list the points in parameters",
    "when": "use exclude",
    "linked": "use exclude",
    "max_runs": "leave it out",
    "max_hours": "leave it out",
}
FOREIGN = {"program", "command", "project", "entity", "description", "run_cap"}
LATER_METHODS = ("random", "sobol", "bayes")
LATER_PARAMETER_KEYS = ("min", "max", "distribution", "mu", "sigma", "q", "probabilities", "when", "expression")


@dataclass(frozen=True)
class Metric:
    """What runs are compared by."""

    name: str = "val_loss"
    goal: Goal = "minimize"


@dataclass(frozen=True)
class Axis:
    """A parameter that is varied (or, with one value, set) and its values in the order given."""

    name: str
    values: tuple[object, ...]


@dataclass(frozen=True)
class Grid:
    """A grid file as it was understood. `base` is a path as written, or the config's values; `folder` is the file's."""

    name: str
    base: str | Mapping[str, object]
    folder: Path
    metric: Metric
    axes: tuple[Axis, ...]
    exclude: tuple[Mapping[str, object], ...]


@dataclass(frozen=True)
class ReadGrid:
    """What reading a grid file gave: the grid, or None and the problems that stand in its way."""

    grid: Grid | None
    problems: tuple[ParseProblem, ...]


def read_grid(document: YamlDocument) -> ReadGrid:
    """Understand a grid file; every problem at once, in the order of the file."""
    reader = _Reader(document)
    grid = reader.grid() if not document.problems else None
    problems = sorted([*document.problems, *reader.problems], key=lambda problem: problem.span.start)
    return ReadGrid(None if problems else grid, tuple(problems))


def same(left: object, right: object) -> bool:
    """Return whether two values of a parameter are the same; true is not 1, but 1.0 is."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def can_name_a_folder(name: str) -> bool:
    """Return whether a sweep can be called so: its runs go to a folder of that name, on any system."""
    return bool(name.strip(" .")) and name.isprintable() and not set(name) & set('/\\:*?"<>|')


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, document: YamlDocument) -> None:
        self.problems: list[ParseProblem] = []
        self._document = document
        self._values: Any = document.values

    def grid(self) -> Grid | None:
        if not isinstance(self._values, dict) or not self._values:
            self._at((), "a grid file has the keys " + ", ".join(KEYS))
            return None
        for key in self._values:
            if key not in KEYS:
                self._at_key((key,), _unknown_key(key))
        self._method()
        axes = self._axes()
        return Grid(
            name=self._name(),
            base=self._base(),
            folder=self._document.folder,
            metric=self._metric(),
            axes=axes,
            exclude=self._exclude(axes),
        )

    def _at(self, place: Place, message: str) -> None:
        self.problems.append(ParseProblem(message, self._document.span_of(place)))

    def _at_key(self, place: Place, message: str) -> None:
        self.problems.append(ParseProblem(message, self._document.key_span_of(place)))

    def _method(self) -> None:
        method = self._values.get("method", "grid")
        if method in LATER_METHODS:
            self._at(("method",), f"method {method} is not built yet: random, sobol and bayes come later; write grid")
        elif method != "grid":
            self._at(("method",), f"method must be grid, but this is {method!r}")

    def _name(self) -> str:
        path = self._document.path
        name = self._values.get("name", path.stem if path is not None else "sweep")
        if isinstance(name, str) and can_name_a_folder(name):
            return name.strip()
        self._at(("name",), f"name must be a text that can name a folder, but this is {name!r}")
        return ""

    def _base(self) -> str | Mapping[str, object]:
        base = self._values.get("base")
        if isinstance(base, str) and base:
            return base
        if isinstance(base, dict):
            return base
        if "base" not in self._values:
            self._at((), "base is missing: name the config that the runs start from")
        else:
            self._at(("base",), f"base must be the path of a config or the config itself, but this is {base!r}")
        return {}

    def _metric(self) -> Metric:
        given = self._values.get("metric", {})
        given = {"name": given} if isinstance(given, str) else given
        if not isinstance(given, dict):
            self._at(("metric",), "metric must look like {name: val_loss, goal: minimize}")
            return Metric()
        for key in given:
            if key not in ("name", "goal"):
                self._at_key(("metric", key), f"metric has a name and a goal, no {key}{_meant(key, ('name', 'goal'))}")
        name, goal = given.get("name", "val_loss"), given.get("goal", "minimize")
        if not isinstance(name, str) or not name:
            self._at(("metric", "name"), f"the name of the metric must be a text, but this is {name!r}")
            name = "val_loss"
        if goal not in ("minimize", "maximize"):
            self._at(("metric", "goal"), f"goal must be minimize or maximize, but this is {goal!r}")
            goal = "minimize"
        return Metric(name, goal)

    def _axes(self) -> tuple[Axis, ...]:
        parameters = self._values.get("parameters", {})
        if not isinstance(parameters, dict):
            self._at(("parameters",), "parameters must be a mapping of parameter names to lists of values")
            parameters = {}
        axes = [Axis(name, self._axis_values(name, given)) for name, given in parameters.items()]
        if "seeds" in self._values:
            if SEED in parameters:
                self._at_key(("seeds",), f"seeds and parameters.{SEED} say the same thing; keep one")
            axes.append(Axis(SEED, self._listed(SEED, self._values["seeds"], ("seeds",))))
        return tuple(axis for axis in axes if axis.values)

    def _axis_values(self, name: str, given: object) -> tuple[object, ...]:
        place: Place = ("parameters", name)
        unknown = [problem for problem in check({name: None}).problems if problem.kind == "unknown"]
        if unknown:
            self._at_key(place, unknown[0].message)
            return ()
        if isinstance(given, dict):
            return self._described(name, given, place)
        if not isinstance(given, list):
            self._at(place, f"write {name}: [{given}] for one value, or list several")
            return ()
        return self._listed(name, given, place)

    def _described(self, name: str, given: Mapping[str, object], place: Place) -> tuple[object, ...]:
        """Read `{values: [...]}` or `{value: x}`."""
        for key in given:
            if key in LATER_PARAMETER_KEYS:
                self._at_key((*place, key), f"{key} is not built yet; list the values of {name}")
                return ()
            if key not in ("values", "value"):
                message = f"{name} takes values or value, no {key}{_meant(key, ('values', 'value'))}"
                self._at_key((*place, key), message)
                return ()
        if len(given) != 1:
            self._at(place, f"{name} needs one of values and value")
            return ()
        if "value" in given:
            return self._listed(name, [given["value"]], place, lambda index: (*place, "value"))
        return self._listed(name, given["values"], (*place, "values"))

    def _listed(
        self, name: str, given: object, place: Place, place_of: Callable[[int], Place] | None = None
    ) -> tuple[object, ...]:
        if not isinstance(given, list) or not given:
            self._at(place, f"{name} needs a list of one or more values")
            return ()
        kept: list[object] = []
        for index, value in enumerate(given):
            here = place_of(index) if place_of else (*place, index)
            for problem in check({name: value}).problems:
                if problem.key == name:
                    hint = "" if problem.suggestion is None else f"; did you mean {problem.suggestion}?"
                    self._at(here, problem.message + hint)
            if any(same(value, other) for other in kept):
                self._at(here, f"{value} stands twice in {name}")
            kept.append(value)
        return tuple(kept)

    def _exclude(self, axes: Sequence[Axis]) -> tuple[Mapping[str, object], ...]:
        given = self._values.get("exclude", [])
        if not isinstance(given, list):
            self._at(("exclude",), "exclude must be a list of mappings like {net_dim: 16}")
            return ()
        known = {axis.name: axis.values for axis in axes}
        for index, pattern in enumerate(given):
            if not isinstance(pattern, dict) or not pattern:
                self._at(("exclude", index), "an exclusion names one or more parameters and their values")
                continue
            for name, value in pattern.items():
                if name not in known:
                    self._at_key(("exclude", index, name), f"{name} is not varied here{_meant(name, known)}")
                elif not any(same(value, other) for other in known[name]):
                    self._at(("exclude", index, name), f"{name} is never {value} here, so this excludes nothing")
        return tuple(pattern for pattern in given if isinstance(pattern, dict))


def _unknown_key(key: str) -> str:
    if key in LATER:
        return f"{key} is not built yet; {LATER[key]}"
    if key in FOREIGN:
        return f"{key} means nothing here; leave it out"
    if key in PARAMETERS:
        return f"{key} is a parameter: move it into parameters or the base config"
    return f"unknown key {key!r}{_meant(key, KEYS)}"


def _meant(word: object, words: Sequence[str] | Mapping[str, object]) -> str:
    """Return ", did you mean …?" where one of `words` is close."""
    close = difflib.get_close_matches(str(word)[:60], list(words), n=1)
    return f", did you mean {close[0]}?" if close else ""
