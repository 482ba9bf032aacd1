"""Many configs that differ in a few keys, judged together: a rule runs once for all that it can't tell apart.

A rule is a pure function, so what it said of one config it says of every other that agrees in the keys that it looked
at. Which these are is noted while it runs, not taken from what it declares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from lora_lab.config import Checked, check
from lora_lab.document import Document, Entry
from lora_lab.lint import suppression
from lora_lab.lint.disk import Disk
from lora_lab.lint.engine import FIRST, NOWHERE, can_run, findings_of, lint_values, place_of, settled, unusable_keys
from lora_lab.lint.finding import Finding
from lora_lab.lint.machine import Machine
from lora_lab.lint.recorded import Recorder
from lora_lab.lint.rule import Rule, View

Findings = tuple[Finding, ...]
_LOADS: Final = "load_json_path"
_NAMES: Final = "dataset_config"
_ALONE: Final = frozenset([_LOADS, _NAMES, suppression.KEY])
"""Keys that change what is judged, or what is said: where they vary, each config is judged by itself."""

_FEW: Final = 3
"""So many configs are judged sooner one by one."""

_MOST_VIEWS: Final = 20_000


def lint_points(
    shared: Mapping[str, object],
    points: Sequence[Mapping[str, object]],
    folder: Path,
    disk: Disk | None,
    machine: Machine | None = None,
) -> list[Findings]:
    """Return for each point what `lint_values({**shared, **point}, folder, disk, machine)` finds.

    Points with the same keys are judged together; equal answers are one object.
    """
    if disk is not None and disk.folder != folder:
        disk = disk.moved_to(folder)
    found: list[Findings] = [()] * len(points)
    for keys, indexes in _by_keys(points).items():
        if len(indexes) <= _FEW or not _ALONE.isdisjoint(keys) or shared.get(_LOADS) or shared.get(_NAMES):
            for at in indexes:
                found[at] = lint_values({**shared, **points[at]}, folder, disk, machine).findings
        else:
            varied = _Varied(shared, keys, [points[at] for at in indexes], (disk, machine))
            for at, findings in zip(indexes, _judged(varied), strict=True):
                found[at] = findings
    return found


def _by_keys(points: Sequence[Mapping[str, object]]) -> dict[tuple[str, ...], list[int]]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, point in enumerate(points):
        groups.setdefault(tuple(point), []).append(index)
    return groups


class _Varied:
    """The points of one set of keys, each as a tuple of numbers: which of its values a key has."""

    def __init__(
        self,
        shared: Mapping[str, object],
        keys: tuple[str, ...],
        points: Sequence[Mapping[str, object]],
        looks: tuple[Disk | None, Machine | None],
    ) -> None:
        self.shared = shared
        self.keys = keys
        self.disk, self.machine = looks
        self.values: list[list[object]] = [[] for _ in keys]
        columns = [self._numbers(axis, [point[key] for point in points]) for axis, key in enumerate(keys)]
        self.points: list[tuple[int, ...]] = list(zip(*columns, strict=True)) if keys else [()] * len(points)
        self.base = check(shared)
        self.checks = [[check({key: value}) for value in self.values[axis]] for axis, key in enumerate(keys)]
        self.faulty = frozenset(
            key for axis, key in enumerate(keys) if any(_faults(one, key) for one in self.checks[axis])
        )
        self._partitions: dict[tuple[int, ...], list[list[int]]] = {}

    def _numbers(self, axis: int, column: Sequence[object]) -> list[int]:
        """Return each value's number; 1, 1.0 and true are three values."""
        known: dict[object, int] = {}
        numbers = []
        for value in column:
            name = (value.__class__, value if isinstance(value, str | int) else repr(value))
            number = known.get(name)
            if number is None:
                number = known[name] = len(known)
                self.values[axis].append(value)
            numbers.append(number)
        return numbers

    def at(self, point: tuple[int, ...]) -> dict[str, object]:
        """Return the values of a point."""
        changed = {key: self.values[axis][point[axis]] for axis, key in enumerate(self.keys)}
        return {**self.shared, **changed}

    def checked(self, point: tuple[int, ...], values: Mapping[str, object]) -> Checked:
        """Return what `check(values)` returns. A setting's value is right or wrong whatever the others are."""
        parts = [self.checks[axis][number] for axis, number in enumerate(point)]
        if any(p.kind == "missing" for part in parts for p in part.problems if p.key in self.keys):
            return check(values)
        changes = {
            key: getattr(part.config, key)
            for key, part in zip(self.keys, parts, strict=True)
            if key in part.given and key not in part.invalid
        }
        problems = [p for p in self.base.problems if p.key not in self.keys]
        own = [p for key, part in zip(self.keys, parts, strict=True) for p in part.problems if p.key == key]
        if own:
            order = {key: at for at, key in enumerate(values)}
            problems = sorted([*problems, *own], key=lambda p: (p.kind == "missing", order.get(p.key, 0)))
        return Checked(
            config=self._default.model_copy(update=changes),
            problems=tuple(problems),
            invalid=self.base.invalid.difference(self.keys).union(
                key for key, part in zip(self.keys, parts, strict=True) if key in part.invalid
            ),
            given=self.base.given.union(*(part.given for part in parts)),
        )

    @cached_property
    def _default(self) -> Any:
        """The config of what all points share, with the defaults of what varies."""
        return check({key: value for key, value in self.shared.items() if key not in self.keys}).config

    def parted(self, axes: tuple[int, ...]) -> list[list[int]]:
        """Return all points in groups that agree on some axes; they are kept, for many rules ask for the same."""
        if axes not in self._partitions:
            self._partitions[axes] = self.parts_of(range(len(self.points)), axes)
        return self._partitions[axes]

    def parts_of(self, indexes: Sequence[int], axes: tuple[int, ...]) -> list[list[int]]:
        """Return some points in groups that agree on some axes."""
        groups: dict[object, list[int]] = {}
        pick = itemgetter(*axes)
        for index in indexes:
            groups.setdefault(pick(self.points[index]), []).append(index)
        return list(groups.values())


def _faults(checked: Checked, key: str) -> bool:
    return any(problem.key == key for problem in checked.problems)


def _judged(varied: _Varied) -> Iterator[Findings]:
    """Yield the findings of every point."""
    views = _Views(varied)
    columns = [column for rule in FIRST if (column := _Column(rule, varied, views)).answers]
    memo: dict[tuple[tuple[int, ...], tuple[int, ...]], Findings] = {}
    combinations = zip(*(column.numbers for column in columns), strict=True) if columns else ((),) * len(varied.points)
    faulty = [axis for axis, key in enumerate(varied.keys) if key in varied.faulty]
    for index, combination in enumerate(combinations):
        faults = tuple(varied.points[index][axis] for axis in faulty)  # they decide which rules ran
        if (combination, faults) not in memo:
            found = [one for column, at in zip(columns, combination, strict=True) for one in column.answer(at)]
            memo[combination, faults] = _settled(found, views, index)
        yield memo[combination, faults]


def _settled(found: list[Finding], views: "_Views", index: int) -> Findings:
    """Return what is said of a point, as `lint_values` says it."""
    view = views.view(index)
    entries = {key: Entry(key, value, NOWHERE, NOWHERE) for key, value in view.values.items()}
    own = Document(None, "", entries)
    ran = [rule for rule in FIRST if can_run(rule, views.unusable(index), view)]
    kept = settled(found, view._replace(document=own), own, ran)
    return tuple(sorted((replace(finding, span=None) for finding in kept), key=place_of))


class _Views:
    """What rules see of single points; each is built when a rule first asks for its point."""

    def __init__(self, varied: _Varied) -> None:
        self._varied = varied
        self._known: dict[int, tuple[View, frozenset[str]]] = {}

    def view(self, index: int) -> View:
        """Return the view of a point. Its document has values where entries belong, as `Recorder` wants it."""
        return self._of(index)[0]

    def unusable(self, index: int) -> frozenset[str]:
        """Return the point's keys without a usable value."""
        return self._of(index)[1]

    def _of(self, index: int) -> tuple[View, frozenset[str]]:
        if index not in self._known:
            if len(self._known) >= _MOST_VIEWS:
                self._known.clear()
            varied = self._varied
            point = varied.points[index]
            values = varied.at(point)
            checked = varied.checked(point, values)
            given = frozenset(key for key, value in values.items() if value is not None)
            document = Document(None, "", values)  # type: ignore[arg-type]
            view = View(checked.config, values, given, checked.problems, document, varied.disk, None)
            view = view._replace(machine_view=varied.machine)
            self._known[index] = view, unusable_keys(checked)
        return self._known[index]


class _Column:
    """What one rule says of every point: a number for each, of `answers`; 0 is silence."""

    def __init__(self, rule: Rule, varied: _Varied, views: _Views) -> None:
        self.answers: dict[int, Findings] = {}
        self._numbers: list[int] = []
        self._of_all = 0
        self._rule, self._varied, self._views = rule, varied, views
        self._known: dict[str, int] = {}
        start = tuple(axis for axis, key in enumerate(varied.keys) if key in rule.reads and key in varied.faulty)
        if not start:
            number, seen = self._run(0)
            if not seen:
                self._of_all = number
                return
            start = seen
        self._numbers = [0] * len(varied.points)
        for part in varied.parted(start):
            self._solve(part, frozenset(start))

    @property
    def numbers(self) -> Iterator[int]:
        """Yield each point's number."""
        return iter(self._numbers) if self._numbers else repeat(self._of_all, len(self._varied.points))

    def answer(self, number: int) -> Findings:
        """Return the findings that a number stands for."""
        return self.answers.get(number, ())

    def _solve(self, indexes: list[int], fixed: frozenset[int]) -> None:
        """Number some points that agree on the axes `fixed`."""
        number, seen = self._run(indexes[0])
        more = tuple(axis for axis in seen if axis not in fixed)
        if more:
            for part in self._varied.parts_of(indexes, more):
                self._solve(part, fixed.union(more))
        elif number:
            for index in indexes:
                self._numbers[index] = number

    def _run(self, index: int) -> tuple[int, tuple[int, ...]]:
        """Return the rule's answer for a point, and the axes that it depends on."""
        view = self._views.view(index)
        if not can_run(self._rule, self._views.unusable(index), view):
            return 0, ()
        recorder = Recorder(view, self._varied.keys, self._varied.faulty)
        found = tuple(findings_of(self._rule, recorder.view))
        return self._number(found), tuple(at for at, key in enumerate(self._varied.keys) if key in recorder.seen)

    def _number(self, found: Findings) -> int:
        """Return the number of an answer; equal ones have the same."""
        if not found:
            return 0
        number = self._known.setdefault(repr(found), len(self._known) + 1)
        self.answers.setdefault(number, found)
        return number
