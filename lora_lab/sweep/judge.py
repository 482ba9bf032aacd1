"""Every run of a plan is linted before the first one starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, overload

from lora_lab.config import TrainConfig, check
from lora_lab.lint import Disk, Finding
from lora_lab.lint.machine import Machine
from lora_lab.lint.points import lint_points
from lora_lab.sweep.plan import Plan, PlannedRun


@dataclass(frozen=True)
class FindingGroup:
    """What a rule says of the same keys in several runs: one of the findings, and the indexes of the runs.

    `wordings` counts the different messages: a rule that names the values says the same thing in other words.
    """

    finding: Finding
    runs: tuple[int, ...]
    wordings: int = 1


@dataclass(frozen=True)
class JudgedPlan:
    """A plan with the config and the findings of every run, in the plan's order."""

    plan: Plan
    configs: Sequence[TrainConfig]
    findings: tuple[tuple[Finding, ...], ...]
    groups: tuple[FindingGroup, ...]

    @property
    def bad(self) -> tuple[int, ...]:
        """Return the indexes of the runs that cannot be trained."""
        found = {run for group in self.groups if group.finding.severity == "error" for run in group.runs}
        return tuple(sorted(found))


class Configs(Sequence[TrainConfig]):
    """The config of every run, made when somebody asks for it: a hundred thousand of them would fill the memory."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self._runs = runs

    @overload
    def __getitem__(self, index: int) -> TrainConfig: ...
    @overload
    def __getitem__(self, index: slice) -> "Configs": ...
    def __getitem__(self, index: int | slice) -> "TrainConfig | Configs":
        if isinstance(index, slice):
            return Configs(self._runs[index])
        return check(self._runs[index].values).config

    def __len__(self) -> int:
        return len(self._runs)


def judge(plan: Plan, folder: Path, disk: Disk | None, machine: Machine | None = None) -> JudgedPlan:
    """Lint every run; what is on the disk is looked at once for all. The values' paths are absolute already."""
    points = [{**run.axes, **run.derived} for run in plan.runs]
    found = lint_points(plan.runs[0].shared, points, folder, disk, machine) if plan.runs else []
    return JudgedPlan(plan, Configs(plan.runs), tuple(found), _grouped(found))


def _grouped(found: Sequence[tuple[Finding, ...]]) -> tuple[FindingGroup, ...]:
    """Return findings of one kind together, the worst first, then as they came. Equal answers are one object."""
    alike: dict[int, list[int]] = {}
    for index, findings in enumerate(found):
        alike.setdefault(id(findings), []).append(index)
    kinds: dict[tuple[str, str, tuple[str, ...]], _Kind] = {}
    for indexes in alike.values():
        for finding in found[indexes[0]]:
            kind = kinds.setdefault((finding.severity, finding.code, finding.keys), _Kind([], {}))
            kind.wordings.setdefault(finding.message, finding)
            if not kind.runs or kind.runs[-1] is not indexes:
                kind.runs.append(indexes)
    groups = [
        FindingGroup(next(iter(kind.wordings.values())), tuple(sorted(chain(*kind.runs))), len(kind.wordings))
        for kind in kinds.values()
    ]
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(groups, key=lambda group: rank[group.finding.severity]))


class _Kind(NamedTuple):
    """Findings of one kind: the runs that have one, in parts, and the first finding of each wording."""

    runs: list[list[int]]
    wordings: dict[str, Finding]
