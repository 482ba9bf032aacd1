"""Every run of a plan is linted before the first one starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_lab.config import TrainConfig
from lora_lab.lint import Disk, Finding, LintResult, lint_values
from lora_lab.sweep.plan import Plan


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
    configs: tuple[TrainConfig, ...]
    findings: tuple[tuple[Finding, ...], ...]
    groups: tuple[FindingGroup, ...]

    @property
    def bad(self) -> tuple[int, ...]:
        """Return the indexes of the runs that cannot be trained."""
        found = {run for group in self.groups if group.finding.severity == "error" for run in group.runs}
        return tuple(sorted(found))


def judge(plan: Plan, folder: Path, disk: Disk | None) -> JudgedPlan:
    """Lint every run; what is on the disk is looked at once for all. The values' paths are absolute already."""
    results = [lint_values(run.values, folder, disk) for run in plan.runs]
    configs = tuple(result.config for result in results)
    return JudgedPlan(plan, configs, tuple(result.findings for result in results), _grouped(results))


def _grouped(results: Sequence[LintResult]) -> tuple[FindingGroup, ...]:
    """Return findings of one kind together, the worst first, then as they came."""
    runs: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    found: dict[tuple[str, str, tuple[str, ...]], dict[str, Finding]] = {}
    for index, result in enumerate(results):
        for finding in result.findings:
            key = (finding.severity, finding.code, finding.keys)
            found.setdefault(key, {}).setdefault(finding.message, finding)
            seen = runs.setdefault(key, [])
            if not seen or seen[-1] != index:
                seen.append(index)
    groups = [
        FindingGroup(next(iter(wordings.values())), tuple(runs[key]), len(wordings)) for key, wordings in found.items()
    ]
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(groups, key=lambda group: rank[group.finding.severity]))
