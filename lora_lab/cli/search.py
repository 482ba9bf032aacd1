"""`lora-lab sweep` where the grid says method bayes: the points are proposed one after another, each linted first."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.cli.say import say
from lora_lab.sweep.comparable import mixed
from lora_lab.sweep.grid import label
from lora_lab.sweep.roles import Rule

if TYPE_CHECKING:
    from lora_lab.cli.sweep import SweepOptions
    from lora_lab.lint import Disk
    from lora_lab.lint.machine import Machine
    from lora_lab.sweep.grid import Axis, Grid
    from lora_lab.sweep.identity import Digests
    from lora_lab.sweep.plan import PlannedRun, Space
    from lora_lab.sweep.roles import Job

MOST_SHOWN = 8


def run_search(space: "Space", grid_path: Path, options: "SweepOptions") -> int:
    """Lint points from all over the space, search it, and compare the runs; return the exit code. Raises `Failure`."""
    from lora_lab.cli.sweep import show_findings
    from lora_lab.cli.sweep_run import sweep_folder, train_all
    from lora_lab.lint import Disk
    from lora_lab.lint.machine import Machine
    from lora_lab.sweep.identity import Digests
    from lora_lab.sweep.judge import judge
    from lora_lab.sweep.sample import sample_plan

    grid = space.grid
    show_space(space)
    linter = _Linter(grid, Disk(grid.folder), Machine(), Digests(grid.folder))
    sample = sample_plan(space)
    judged = judge(sample, grid.folder, linter.disk, linter.machine)
    count = len(sample.runs)
    show_findings(judged.groups, count, ("point of the sample", "points of the sample"))
    if len(judged.bad) == count:
        say(f"none of {count} points from all over the space can be trained; nothing was started", err=True)
        return 1
    said = f"{len(judged.bad)} of them cannot be trained and will be left out" if judged.bad else "all can be trained"
    say(f"  linted {count} points from all over the space: {said}")
    if options.dry_run:
        return 0
    from lora_lab.sweep.search import Search

    first = next(at for at in range(count) if at not in judged.bad)
    alike = linter.jobs([sample.runs[first]])[0].identity
    search = Search(space, sweep_folder(judged, grid), alike, linter.jobs, _say)
    return train_all(judged, search, grid, grid_path, options)


def _say(line: str) -> None:
    say(line, err=True)


class _Linter:
    """Lints proposals as a plan's runs are linted; what the disk holds is looked at once."""

    def __init__(self, grid: "Grid", disk: "Disk", machine: "Machine", digests: "Digests") -> None:
        self.disk = disk
        self.machine = machine
        self._grid = grid
        self._digests = digests

    def jobs(self, runs: "Sequence[PlannedRun]") -> "Sequence[Job]":
        """Return the jobs of a proposal; raises `Refused` with lint's first error."""
        from lora_lab.cli.sweep_run import jobs_of
        from lora_lab.sweep.judge import judge
        from lora_lab.sweep.plan import Plan
        from lora_lab.sweep.search import Refused

        grid = self._grid
        judged = judge(Plan(grid.name, grid.metric, (), tuple(runs)), grid.folder, self.disk, self.machine)
        if judged.bad:
            raise Refused(judged.groups[0].finding.message)
        return jobs_of(judged, grid, self._digests)


def show_space(space: "Space") -> None:
    """Print what is searched."""
    grid = space.grid
    seeds = f", each point with {len(grid.seeds)} seeds" if len(grid.seeds) > 1 else ""
    say(f"{grid.name}: a search of {grid.max_runs:,} runs for the {_best(grid)} {grid.metric.name}{seeds}")
    for axis in space.varied:
        say(f"  {', '.join(axis.names)}: {_range(axis)}")
    for one in grid.derived:
        say(f"  {one.name}: {one.expression.text}")
    if grid.early_terminate is not None:
        say(f"  cut short by {Rule(grid.early_terminate, grid.metric).text}")
    if line := mixed(grid.metric.name, space.names):
        say(f"warning: {line}, but the search takes all of them for comparable", err=True)


def _best(grid: "Grid") -> str:
    return "smallest" if grid.metric.goal == "minimize" else "greatest"


def _range(axis: "Axis") -> str:
    """Return what an axis can be, in a line."""
    given = axis.distribution
    when = f", where {axis.when.text}" if axis.when is not None else ""
    if given is None:
        shown = [" ".join(label(value) for value in one.values.values()) for one in axis.choices[:MOST_SHOWN]]
        more = f" and {len(axis.choices) - MOST_SHOWN} more" if len(axis.choices) > MOST_SHOWN else ""
        return ", ".join(shown) + more + when
    if given.bell:
        return f"{given.kind} around {given.mu:g}, sigma {given.sigma:g}{when}"
    return f"{given.low:g} to {given.high:g}, {given.kind}{when}"
