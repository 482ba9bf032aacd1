"""Reading the `parameters` of a grid: lists, single values, distributions, expressions; presets and linked values."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lora_lab.config import PARAMETERS
from lora_lab.document.yaml_text import Place
from lora_lab.sweep.distribution import BELL, DISTRIBUTIONS, Distribution, bounds_in_values
from lora_lab.sweep.expression import Expression, is_calculated, same
from lora_lab.sweep.grid import Axis, Choice, Derived, axis, choice
from lora_lab.sweep.notes import Notes, meant

PRESET = "preset"
"""The key in `parameters` that chooses among `presets`."""

WORDS = (
    "values", "value", "min", "max", "distribution", "count", "q", "mu", "sigma", "probabilities", "expression", "when",
)  # fmt: skip
_DRAWN = frozenset({"min", "max", "mu", "sigma", "q", "count"})


class AxesReader:
    """Reads the axes of one grid file and the values that follow from them."""

    def __init__(self, notes: Notes, values: Mapping[str, Any]) -> None:
        """`values` is the whole file's content."""
        self.axes: list[Axis] = []
        self.derived: list[Derived] = []
        self._notes = notes
        self._values = values

    def read(self) -> None:
        """Read `presets`, `parameters` and `linked`, in the order in which their axes turn."""
        parameters = self._values.get("parameters", {})
        if not isinstance(parameters, dict):
            self._notes.at(("parameters",), "parameters must be a mapping of parameter names to lists of values")
            parameters = {}
        presets = self._presets()
        if presets and PRESET not in parameters:
            self.axes.append(_preset_axis(presets, list(presets)))
        for name, given in parameters.items():
            if name == PRESET:
                self._chosen_presets(given, presets)
            elif self._notes.known(name, ("parameters", name)):
                self._parameter(name, given)
        self._linked()
        self._said_twice()

    def _parameter(self, name: str, given: object) -> None:
        place: Place = ("parameters", name)
        if isinstance(given, dict):
            self._described(name, given, place)
        elif isinstance(given, list):
            self._append(name, self._listed(name, given, place))
        elif isinstance(given, str) and PARAMETERS[name].kind in (int, float) and is_calculated(given):
            self._expression(name, given, place, None)
        else:
            self._notes.at(place, f"write {name}: [{given}] for one value, or list several")

    def _described(self, name: str, given: Mapping[str, object], place: Place) -> None:
        """Read `{values: […]}`, `{min, max, distribution}`, `{expression: …}`, each with or without `when`."""
        for key in given:
            if key not in WORDS:
                hint = "; a parameter has no parameters of its own" if key == "parameters" else meant(key, WORDS)
                self._notes.at_key((*place, key), f"{name} takes values or min and max, no {key}{hint}")
                return
        when = self._notes.expression(given["when"], (*place, "when")) if "when" in given else None
        if "when" in given and when is None:
            return
        rest = {key: value for key, value in given.items() if key != "when"}
        if rest.get("distribution") in ("constant", "categorical"):
            del rest["distribution"]
        kinds: list[str] = [key for key in ("values", "value", "expression") if key in rest]
        if "distribution" in rest or _DRAWN & set(rest):
            kinds.append("distribution")
        if len(kinds) != 1:
            self._notes.at(place, f"{name} needs one of values and value, or min and max, or expression")
        elif kinds[0] == "distribution":
            self._drawn(name, rest, place, when)
        elif kinds[0] == "expression":
            self._expression(name, rest["expression"], place, when)
        elif kinds[0] == "value":
            self._append(name, self._listed(name, [rest["value"]], place, lambda index: (*place, "value")), when)
        else:
            values = self._listed(name, rest["values"], (*place, "values"))
            self._append(name, values, when, self._weights(name, rest, place, len(values)))

    def _append(
        self, name: str, values: tuple[object, ...], when: Expression | None = None, weights: tuple[float, ...] = ()
    ) -> None:
        if values:
            self.axes.append(replace(axis(name, values, when), weights=weights))

    def _expression(self, name: str, text: object, place: Place, when: Expression | None) -> None:
        if when is not None:
            self._notes.at_key((*place, "when"), "an expression says itself when: a if b else c")
            return
        inside: Place = place if isinstance(self._values["parameters"][name], str) else (*place, "expression")
        expression = self._notes.expression(text, inside)
        if expression is not None:
            self.derived.append(Derived(name, expression))

    def _listed(
        self, name: str, given: object, place: Place, place_of: Callable[[int], Place] | None = None
    ) -> tuple[object, ...]:
        if not isinstance(given, list) or not given:
            self._notes.at(place, f"{name} needs a list of one or more values")
            return ()
        kept: list[object] = []
        for index, value in enumerate(given):
            here = place_of(index) if place_of else (*place, index)
            self._notes.fits(name, value, here)
            if any(same(value, other) for other in kept):
                self._notes.at(here, f"{value} stands twice in {name}")
            kept.append(value)
        return tuple(kept)

    def _weights(self, name: str, given: Mapping[str, Any], place: Place, count: int) -> tuple[float, ...]:
        if "probabilities" not in given:
            return ()
        weights = given["probabilities"]
        good = isinstance(weights, list) and all(_is_number(weight) and weight >= 0 for weight in weights)
        if not good or len(weights) != count or not sum(weights):
            self._notes.at((*place, "probabilities"), f"{name} needs a probability of at least 0 for each value")
            return ()
        return tuple(float(weight) for weight in weights)

    def _drawn(self, name: str, given: Mapping[str, Any], place: Place, when: Expression | None) -> None:
        """Read `{min, max, distribution, q, count}` or `{mu, sigma, distribution}`."""
        whole = PARAMETERS[name].kind is int
        kind = given.get("distribution", _usual(given, whole))
        if kind not in DISTRIBUTIONS:
            words = ", ".join(DISTRIBUTIONS)
            message = f"there is no distribution {kind!r}{meant(kind, DISTRIBUTIONS) or f'; there are {words}'}"
            self._notes.at((*place, "distribution"), message)
            return
        wanted = ("mu", "sigma") if kind.removeprefix("q_") in BELL else ("min", "max")
        allowed = {*wanted, "distribution", "count", *(("q",) if kind.startswith("q_") else ())}
        for key in given:
            if key not in allowed:
                self._notes.at_key((*place, key), f"{kind} takes {' and '.join(wanted)}, no {key}")
                return
        numbers = [given.get(word) for word in wanted]
        if not all(_is_number(number) for number in numbers):
            self._notes.at(place, f"{kind} needs {' and '.join(wanted)}, both numbers")
            return
        step = given.get("q", 1 if kind.startswith("q_") else 0)
        if not _is_number(step) or step < 0:
            self._notes.at((*place, "q"), f"q is the step that values are rounded to, not {step!r}")
            return
        low, high = (float(number) for number in numbers if number is not None)
        distribution = self._distribution(name, kind, (low, high), place)
        if distribution is not None:
            distribution = replace(distribution, q=float(step), whole=whole)
            self._append_drawn(name, distribution, given.get("count"), place, when)

    def _distribution(self, name: str, kind: str, numbers: tuple[float, float], place: Place) -> Distribution | None:
        if kind.removeprefix("q_") in BELL:
            mu, sigma = numbers
            if sigma > 0:
                return Distribution(kind, mu=mu, sigma=sigma)
            self._notes.at((*place, "sigma"), f"sigma is a width above 0, not {sigma:g}")
            return None
        try:
            low, high = bounds_in_values(kind, *numbers)
        except OverflowError:
            low, high = numbers[0], math.inf
        if low >= high:
            self._notes.at((*place, "max"), f"max must be above min, {numbers[0]:g}")
        elif "log_" in kind and low <= 0:
            self._notes.at((*place, "min"), f"{kind} needs a min above 0")
        elif self._bounds_fit(name, low, high, place):
            return Distribution(kind, low, high)
        return None

    def _bounds_fit(self, name: str, low: float, high: float, place: Place) -> bool:
        """Return whether the parameter can have the bounds and so what lies between them."""
        whole = PARAMETERS[name].kind is int
        if PARAMETERS[name].kind not in (int, float):
            self._notes.at(place, f"{name} is no number; list its values")
            return False
        ends = [(low, "min"), (high, "max")]
        return all(self._notes.fits(name, int(end) if whole else end, (*place, key)) for end, key in ends)

    def _append_drawn(
        self, name: str, distribution: Distribution, count: object, place: Place, when: Expression | None
    ) -> None:
        if count is None:
            self.axes.append(Axis((name,), (), distribution=distribution, when=when))
        elif isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= 10_000:
            self._notes.at((*place, "count"), f"count is the number of values, 2 or more, not {count!r}")
        elif distribution.bell:
            self._notes.at_key((*place, "count"), f"{distribution.kind} has no ends to space values between")
        else:
            self._append(name, distribution.spaced(count), when)

    def _presets(self) -> dict[str, Mapping[str, object]]:
        """Read `presets`: names for groups of values."""
        given = self._values.get("presets", {})
        if not isinstance(given, dict):
            self._notes.at(("presets",), "presets look like {small: {net_dim: 8, alpha: 4}}")
            return {}
        for name, values in given.items():
            self._group(values, ("presets", name))
        return {name: values for name, values in given.items() if isinstance(values, dict)}

    def _chosen_presets(self, given: object, presets: Mapping[str, Mapping[str, object]]) -> None:
        names = given if isinstance(given, list) else [given]
        for index, name in enumerate(names):
            place: Place = ("parameters", PRESET, index) if isinstance(given, list) else ("parameters", PRESET)
            if isinstance(name, (dict, list)):
                self._notes.at(place, f"{PRESET} is a list of names of presets, like [small, large]")
            elif name not in presets:
                self._notes.at(place, f"there is no preset {name!r}{meant(name, presets)}")
        chosen = [name for name in names if isinstance(name, str) and name in presets]
        if chosen:
            self.axes.append(_preset_axis(presets, chosen))

    def _linked(self) -> None:
        """Read `linked`: lists of mappings whose values move together; one such list may stand alone."""
        given = self._values.get("linked", [])
        if not isinstance(given, list):
            self._notes.at(("linked",), "linked is a list of mappings like {net_dim: 8, alpha: 4}")
            return
        alone = bool(given) and isinstance(given[0], dict)
        for index, group in enumerate([given] if alone else given):
            place: Place = ("linked",) if alone else ("linked", index)
            if not isinstance(group, list) or not group:
                self._notes.at(place, "linked is a list of mappings like {net_dim: 8, alpha: 4}, or several such lists")
                continue
            good = [self._group(row, (*place, at)) for at, row in enumerate(group)]
            if all(good) and self._alike(group, place):
                self.axes.append(Axis(tuple(group[0]), tuple(choice(row) for row in group)))

    def _alike(self, group: list[dict[str, object]], place: Place) -> bool:
        """Return whether the rows name the same parameters; a row that does not is pointed at."""
        for at, row in enumerate(group):
            if set(row) != set(group[0]):
                names = ", ".join(group[0])
                self._notes.at((*place, at), f"every line of a linked group names the same parameters: {names}")
                return False
            if any(_same_rows(row, other) for other in group[:at]):
                self._notes.at((*place, at), "this line stands twice")
                return False
        return True

    def _group(self, values: object, place: Place) -> bool:
        """Return whether `values` is a mapping of parameters to values that they can have; say what is not."""
        if not isinstance(values, dict) or not values:
            self._notes.at(place, "this names one or more parameters and their values")
            return False
        results = [
            self._notes.known(name, (*place, name)) and self._notes.fits(name, value, (*place, name))
            for name, value in values.items()
        ]
        return all(results)

    def _said_twice(self) -> None:
        """Say where two things set the same parameter."""
        seen: set[str] = set()
        for name in self._names():
            if name in seen:
                place: Place = ("parameters", name) if name in self._values.get("parameters", {}) else ("linked",)
                self._notes.at_key(place, f"{name} is varied twice: by parameters, presets or linked")
            seen.add(name)

    def _names(self) -> Iterator[str]:
        for one in self.axes:
            yield from one.names
        for derived in self.derived:
            yield derived.name


def _preset_axis(presets: Mapping[str, Mapping[str, object]], chosen: list[str]) -> Axis:
    names = dict.fromkeys(name for preset in chosen for name in presets[preset])
    return Axis(tuple(names), tuple(Choice(f"{PRESET}={name}", presets[name]) for name in chosen))


def _same_rows(left: Mapping[str, object], right: Mapping[str, object]) -> bool:
    return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _usual(given: Mapping[str, object], whole: bool) -> str:
    """Return the distribution where none is named, as W&B chooses it."""
    if "mu" in given or "sigma" in given:
        return "normal"
    if "q" in given:
        return "q_uniform"
    return "int_uniform" if whole else "uniform"
