"""`lora-lab sweep`: a grid becomes runs, all of them linted, trained and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.cli.live import Lines
    from lora_lab.document import ParseProblem
    from lora_lab.document.yaml_text import YamlDocument
    from lora_lab.sweep.execute import Executed, Job, Outcome, Train
    from lora_lab.sweep.grid import Grid
    from lora_lab.sweep.judge import FindingGroup, JudgedPlan
    from lora_lab.sweep.plan import Plan
    from lora_lab.tracking.recorder import Tracker
    from lora_lab.tracking.target import Target

MOST_SHOWN = 12
TABLE = "table.txt"


@dataclass(frozen=True)
class SweepOptions:
    """What the command line says beside the grid. `train` is the built-in trainer where it is None."""

    output_folder: Path | None = None
    tracking_uri: str | None = None
    tracking: bool = True
    name: str | None = None
    dry_run: bool = False
    base: Path | None = None
    train: "Train | None" = None


@click.command(short_help="Train every run of a grid and compare them.")
@click.argument("grid", type=click.Path(path_type=Path))
@click.option("--base", type=click.Path(path_type=Path), help="The base config, in place of the grid file's own.")
@click.option("--dry-run", is_flag=True, help="Print the plan and what lint says of it; train nothing.")
@click.option("--output-folder", type=click.Path(path_type=Path), help="Write the runs to DIR/NAME/run1, run2, ...")
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
@click.option("--no-tracking", is_flag=True, help="Do not log to MLflow; the runs' folders hold everything.")
@click.option("--name", help="Call the sweep NAME, not what the grid file says.")
def command(grid: Path, no_tracking: bool, **options: Any) -> int:
    """Train every run of GRID one after another: a grid file, or a folder of configs, each of them a run.

    Every run is linted before the first one starts. A run that fails does not end the sweep; a run that is finished
    already is not trained again. Exit codes: 0 all runs finished, 1 lint errors or failed runs, 2 cannot run.
    """
    return run_sweep(grid, SweepOptions(tracking=not no_tracking, **options))


def run_sweep(grid_path: Path, options: SweepOptions | None = None) -> int:
    """Plan, lint, train and compare the runs of a grid file; return the exit code. Raises `Failure`."""
    from lora_lab.lint import Disk
    from lora_lab.lint.machine import Machine
    from lora_lab.sweep.grid import can_name_a_folder
    from lora_lab.sweep.judge import judge

    options = options or SweepOptions()
    if options.name is not None and not can_name_a_folder(options.name):
        raise Failure(f"{options.name!r} cannot name a sweep", "its runs go to a folder of that name")
    planned = _planned_folder(grid_path, options) if grid_path.is_dir() else _planned_grid(grid_path, options)
    if planned is None:
        return 2
    grid, plan = planned
    show_plan(plan)
    judged = judge(plan, grid.folder, Disk(grid.folder), Machine())
    show_findings(judged.groups, len(plan.runs))
    if judged.bad:
        click.echo(f"{len(judged.bad)} of {len(plan.runs)} runs cannot be trained; nothing was started", err=True)
        return 1
    if options.dry_run:
        return 0
    return _train_all(judged, grid, grid_path, options)


def _planned_grid(path: Path, options: SweepOptions) -> "tuple[Grid, Plan] | None":
    """Return the plan of a grid file; None where the file has problems, which are shown. Raises `Failure`."""
    from lora_lab.document.yaml_text import read_yaml
    from lora_lab.sweep.plan import make_plan, read_base
    from lora_lab.sweep.read_grid import read_grid

    document = read_yaml(path)
    read = read_grid(document, str(options.base.absolute()) if options.base else None)
    if read.grid is None:
        show_problems(document, read.problems)
        return None
    grid = replace(read.grid, name=options.name) if options.name else read.grid
    if grid.method == "bayes" or grid.early_terminate or grid.max_hours:
        raise Failure(
            "method bayes, early_terminate and max_hours are not built yet", "leave them out of the grid file"
        )
    base = read_base(grid, _say)
    return grid, make_plan(grid, {**base, **_elsewhere(options)})


def _planned_folder(path: Path, options: SweepOptions) -> "tuple[Grid, Plan]":
    """Return the plan of a folder of configs. Raises `Failure`."""
    from lora_lab.cli.sources import may_be_config, sources
    from lora_lab.sweep.config_folder import plan_of_configs
    from lora_lab.sweep.grid import Grid

    if options.base is not None:
        raise Failure("--base goes with a grid file", f"{path} is a folder of configs, each complete in itself")
    failures: list[str] = []
    paths = [one.path for one in sources([str(path)], failures) if one.path is not None and may_be_config(one)]
    if not paths:
        raise Failure(f"no configs in {path}", "name a grid file, or a folder of configs")
    name = options.name or path.resolve().name
    plan = plan_of_configs(name, paths, _say)
    elsewhere = _elsewhere(options)
    plan = replace(plan, runs=tuple(replace(run, shared={**run.shared, **elsewhere}) for run in plan.runs))
    return Grid(name=name, base={}, folder=path), plan


def _say(line: str) -> None:
    click.echo(line, err=True)


def _elsewhere(options: SweepOptions) -> dict[str, object]:
    """Return what --output-folder sets in every run."""
    if options.output_folder is None:
        return {}
    return {"output_folder": str(options.output_folder.absolute()), "multi_run_folder": None}


def _train_all(judged: "JudgedPlan", grid: "Grid", grid_path: Path, options: SweepOptions) -> int:
    """Train the runs of a plan that may be trained; return the exit code."""
    from lora_lab.cli.live import make_watch
    from lora_lab.cli.train import built_in_trainer
    from lora_lab.tracking.recorder import Tracker
    from lora_lab.tracking.target import choose_target

    click.echo("starting the trainer ...")
    train = options.train or built_in_trainer()
    target = choose_target(options.tracking_uri) if options.tracking else None
    folder = sweep_folder(judged, grid)
    jobs = _jobs(judged, grid)
    watch = make_watch(len(jobs))
    watch.metric = judged.plan.metric.name
    tracker = Tracker(target, judged.plan.name, watch.warn)
    try:
        done = _recorded(jobs, _Sweep(judged.plan, grid_path, folder, train), tracker, watch)
    finally:
        watch.close()
        tracker.close()
    show_outcomes(done.outcomes, judged.plan, folder)
    if target is not None:
        _show_target(judged.plan.name, target, options.tracking_uri)
    if done.interrupted:
        return 130
    return 0 if all(outcome.status == "FINISHED" for outcome in done.outcomes) else 1


@dataclass(frozen=True)
class _Sweep:
    """A sweep on its way."""

    plan: "Plan"
    grid_path: Path
    folder: Path
    train: "Train"


def _recorded(jobs: Sequence["Job"], sweep: _Sweep, tracker: "Tracker", watch: "Lines") -> "Executed":
    """Train the jobs, with the sweep itself as the parent run of all of them."""
    from lora_lab.cli.table import outcome_table
    from lora_lab.sweep.execute import Surroundings, execute
    from lora_lab.tracking.events import Artifact, RunEnded, RunStarted
    from lora_lab.tracking.view import join_axes
    from lora_lab.whole_files import write_whole

    plan = sweep.plan
    parent = tracker.recorder(sweep.folder)
    tags = {
        "lora_lab.run": "sweep",
        "lora_lab.sweep": plan.name,
        "lora_lab.axes": join_axes(plan.axes),
        "lora_lab.metric": plan.metric.name,
        "lora_lab.goal": plan.metric.goal,
        "lora_lab.run_folder": str(sweep.folder),
    }
    try:
        parent(RunStarted(name=plan.name, params={}, tags=tags, note=f"{len(plan.runs)} runs, being trained"))
        if sweep.grid_path.is_file():
            parent(Artifact(path=sweep.grid_path.absolute()))
        around = Surroundings(
            sweep.train, lambda folder: tracker.recorder(folder, sweep.folder), _CatchingUp(watch, tracker)
        )
        done = execute(jobs, plan.name, sweep.folder, around)
        table = outcome_table(done.outcomes, plan.metric, plan.axes)
        write_whole(sweep.folder / TABLE, table + "\n")
        parent(Artifact(path=sweep.folder / TABLE))
        parent(RunStarted(name=plan.name, params={}, tags=tags, note=f"```\n{table}\n```"))
        failed = any(outcome.status == "FAILED" for outcome in done.outcomes)
        parent(RunEnded(status="KILLED" if done.interrupted else "FAILED" if failed else "FINISHED"))
    finally:
        parent.close()
    return done


class _CatchingUp:
    """A `Watch` that also gives the tracker what it has not got of runs that were trained before."""

    def __init__(self, watch: "Lines", tracker: "Tracker") -> None:
        self.started = watch.started
        self.progressed = watch.progressed
        self._watch = watch
        self._tracker = tracker

    def ended(self, outcome: "Outcome") -> None:
        if outcome.reused:
            self._tracker.catch_up(outcome.folder)
        self._watch.ended(outcome)


def sweep_folder(judged: "JudgedPlan", grid: "Grid") -> Path:
    """Return where the runs go: `multi_run_folder`, else the output folder and the sweep's name."""
    from lora_lab.config import resolve_path

    config = judged.configs[0]
    if config.multi_run_folder:
        return resolve_path(config.multi_run_folder, grid.folder)
    return resolve_path(config.output_folder, grid.folder) / judged.plan.name


def _jobs(judged: "JudgedPlan", grid: "Grid") -> list["Job"]:
    """Return the runs with their identities; raises `Failure` where what they are trained on cannot be read."""
    from lora_lab.config import with_absolute_paths
    from lora_lab.sweep.execute import Job
    from lora_lab.sweep.identity import Digests, identity

    digests = Digests(grid.folder)
    try:
        return [
            Job(run, config, identity(config, digests.of(config)), findings)
            for run, findings, config in zip(
                judged.plan.runs,
                judged.findings,
                (with_absolute_paths(config, grid.folder) for config in judged.configs),
                strict=True,
            )
        ]
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}", "mend its rights, or name another") from error


def show_problems(document: "YamlDocument", problems: Sequence["ParseProblem"]) -> None:
    """Print what is wrong with a grid file, each with its line and a caret."""
    lines = document.text.splitlines()
    for problem in problems:
        line, column = problem.span.line, problem.span.column
        click.echo(f"{document.path}:{line}:{column}: error: {problem.message}", err=True)
        if line <= len(lines):
            click.echo(f"    {lines[line - 1]}\n    {' ' * (column - 1)}^", err=True)


def show_plan(plan: "Plan") -> None:
    """Print the runs that are planned."""
    axes = f" over {', '.join(plan.axes)}" if plan.axes else ""
    cut = f"; max_runs leaves {plan.left_out:,} more points out" if plan.left_out else ""
    click.echo(f"{plan.name}: {len(plan.runs):,} run{'s' if len(plan.runs) != 1 else ''}{axes}{cut}")
    for run in plan.runs[:MOST_SHOWN]:
        click.echo(f"  {run.index + 1:>3}  {run.name}")
    if len(plan.runs) > MOST_SHOWN:
        click.echo(f"       and {len(plan.runs) - MOST_SHOWN:,} more")


def show_findings(groups: Sequence["FindingGroup"], runs: int) -> None:
    """Print what lint says of the runs, equal findings once."""
    for group in groups:
        finding = group.finding
        message = finding.message if group.wordings == 1 else f"{finding.message} (and the like)"
        where = "every run" if len(group.runs) == runs else f"{len(group.runs)} of {runs} runs"
        numbers = ", ".join(str(run + 1) for run in group.runs[:MOST_SHOWN]) + (
            ", ..." if len(group.runs) > MOST_SHOWN else ""
        )
        which = "" if len(group.runs) == runs else f" ({numbers})"
        click.echo(f"{finding.severity}: {message} [{finding.code} {finding.name}] in {where}{which}", err=True)
        if finding.remedy:
            click.echo(f"    {finding.remedy}", err=True)


def show_outcomes(outcomes: Sequence["Outcome"], plan: "Plan", folder: Path) -> None:
    """Print the table of the runs and the best of them."""
    from lora_lab.cli.table import best_of, outcome_table

    if not outcomes:
        return
    click.echo(f"\n{outcome_table(outcomes, plan.metric, plan.axes)}\n")
    for outcome in outcomes:
        if outcome.status == "FAILED":
            click.echo(f"{outcome.folder.name} failed: {outcome.reason}", err=True)
    best = best_of(outcomes, plan.metric)
    if best is not None:
        value = best.metrics[plan.metric.name]
        click.echo(f"best: {best.run.name} ({plan.metric.name} {value:.5g})\n      {best.lora}")
    click.echo(f"runs: {folder}")


def _show_target(name: str, target: "Target", tracking_uri: str | None) -> None:
    """Print how to look at the runs in MLflow."""
    option = f" --tracking-uri {target.shown}" if tracking_uri else ""
    quoted = f'"{name}"' if " " in name else name
    click.echo(f"look: lora-lab ui {quoted}{option}")
