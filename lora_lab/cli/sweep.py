"""`lora-lab sweep`: a grid becomes runs, all of them linted, trained and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.say import say
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.document import ParseProblem
    from lora_lab.document.yaml_text import YamlDocument
    from lora_lab.sweep.grid import Grid
    from lora_lab.sweep.judge import FindingGroup
    from lora_lab.sweep.plan import Plan, Space
    from lora_lab.sweep.roles import Train

EXECUTORS = ("local", "ray", "slurm")

MOST_SHOWN = 12
WIDEST = 100
"""Signs of a grid file's line that are shown."""

MOST_FORESEEN = 20_000
"""Runs of which a dry run says what they take; to know which are done, each one's identity is calculated."""


@dataclass(frozen=True)
class SweepOptions:
    """What the command line says beside the grid.

    The built-in trainer works in processes of its own; another `train` is called in this one.
    """

    output_folder: Path | None = None
    tracking_uri: str | None = None
    tracking: bool = True
    name: str | None = None
    dry_run: bool = False
    base: Path | None = None
    jobs: int | None = None
    pack: int | None = None
    settings: tuple[str, ...] = ()
    executor: str = "local"
    address: str | None = None
    slurm: tuple[str, ...] = ()
    register: str | None = None
    train: "Train | None" = None


class _PackSize(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """How many runs train as one pack; off is 1, auto is None."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "auto":
            return None
        size = 1 if value == "off" else value
        if not str(size).isdigit() or not 1 <= int(size) <= 1000:
            self.fail(f"{value!r} is neither a number of runs nor auto or off", param, ctx)
        return int(size)


@click.command(short_help="Train every run of a grid and compare them.")
@click.argument("grid", type=click.Path(path_type=Path))
@click.option("--base", type=click.Path(path_type=Path), help="The base config, in place of the grid file's own.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a parameter in every run, over the base config."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and what lint says of it; train nothing.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Train N packs at a time; without, one on each GPU.")
@click.option(
    "--pack", type=_PackSize(), default="auto", metavar="auto|N|off", help="Train N runs at a time on one base model."
)
@click.option("--executor", type=click.Choice(EXECUTORS), default="local", help="Where the runs are trained.")
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster; RAY_ADDRESS or one of this machine without.")
@click.option("--slurm", multiple=True, metavar="KEY=VALUE", help="An option of sbatch, as partition=gpu; repeatable.")
@click.option("--output-folder", type=click.Path(path_type=Path), help="Write the runs to DIR/NAME/run1, run2, ...")
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
@click.option("--no-tracking", is_flag=True, help="Do not log to MLflow; the runs' folders hold everything.")
@click.option("--register", metavar="MODEL", help="Register the best LoRA in MLflow as MODEL, with the alias best.")
@click.option("--name", help="Call the sweep NAME, not what the grid file says.")
def command(grid: Path, no_tracking: bool, **options: Any) -> int:
    """Train every run of GRID: a grid file, or a folder of configs, each of them a run.

    Every run is linted before the first one starts. A run that fails does not end the sweep; a run that is finished
    already is not trained again, and one that was interrupted goes on where it stopped. Exit codes: 0 all runs
    finished, 1 lint errors or failed runs, 2 cannot run, 130 interrupted (143 by SIGTERM, 129 by a terminal that was
    closed).
    """
    return run_sweep(grid, SweepOptions(tracking=not no_tracking, **options))


def run_sweep(grid_path: Path, options: SweepOptions | None = None) -> int:
    """Plan, lint, train and compare the runs of a grid file; return the exit code. Raises `Failure`."""
    from lora_lab.cli.places import check_places
    from lora_lab.cli.register import check_register
    from lora_lab.cli.search import run_search
    from lora_lab.cli.sweep_outlook import show_outlook
    from lora_lab.cli.sweep_run import jobs_of, sweep_folder, train_all
    from lora_lab.lint import Disk
    from lora_lab.lint.machine import Machine
    from lora_lab.sweep.grid import can_name_a_folder
    from lora_lab.sweep.judge import judge
    from lora_lab.sweep.plan import Space

    options = options or SweepOptions()
    check_places(options)
    check_register(options.register, tracking=options.tracking)
    if options.name is not None and not can_name_a_folder(options.name):
        raise Failure(f"{options.name!r} cannot name a sweep", "its runs go to a folder of that name")
    planned = _planned_folder(grid_path, options) if grid_path.is_dir() else _planned_grid(grid_path, options)
    if planned is None:
        return 2
    grid, plan = planned
    if isinstance(plan, Space):
        return run_search(plan, grid_path, options)
    show_plan(plan)
    judged = judge(plan, grid.folder, Disk(grid.folder), Machine())
    show_findings(judged.groups, len(plan.runs))
    if judged.bad:
        say(f"{len(judged.bad)} of {len(plan.runs)} runs cannot be trained; nothing was started", err=True)
        return 1
    if options.dry_run and len(plan.runs) > MOST_FORESEEN:
        return 0
    jobs = jobs_of(judged, grid)
    show_outlook(jobs, sweep_folder(judged, grid), options)
    if options.dry_run:
        return 0
    return train_all(judged, jobs, grid, grid_path, options)


def _planned_grid(path: Path, options: SweepOptions) -> "tuple[Grid, Plan | Space] | None":
    """Return the plan of a grid file, or the space that it has searched. Raises `Failure`.

    None where the file has problems, which are shown.
    """
    from lora_lab.document.yaml_text import read_yaml
    from lora_lab.sweep.plan import make_plan, read_base, space_of
    from lora_lab.sweep.read_grid import read_grid
    from lora_lab.sweep.study import demand_optuna

    document = read_yaml(path)
    read = read_grid(document, str(options.base.absolute()) if options.base else None)
    if read.grid is None:
        show_problems(document, read.problems)
        return None
    grid = replace(read.grid, name=options.name) if options.name else read.grid
    if (grid.method == "bayes" or grid.early_terminate) and not options.dry_run:
        demand_optuna()
    axes = [name for axis in grid.axes for name in axis.names]
    base = {**read_base(grid, _say), **_elsewhere(options, axes)}
    return grid, space_of(grid, base) if grid.method == "bayes" else make_plan(grid, base)


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
    elsewhere = _elsewhere(options, plan.axes)
    plan = replace(plan, runs=tuple(replace(run, shared={**run.shared, **elsewhere}) for run in plan.runs))
    return Grid(name=name, base={}, folder=path), plan


def _say(line: str) -> None:
    say(line, err=True)


def _elsewhere(options: SweepOptions, axes: Sequence[str]) -> dict[str, object]:
    """Return what the command line sets in every run. Raises `Failure` for what no run could have."""
    said = dict(_setting(text, axes) for text in options.settings)
    if options.output_folder is not None:
        said |= {"output_folder": str(options.output_folder.absolute()), "multi_run_folder": None}
    return said


def _setting(text: str, axes: Sequence[str]) -> tuple[str, object]:
    """Return the key and value of KEY=VALUE; the value is read as in a grid file, paths start from here."""
    from lora_lab.config import check
    from lora_lab.document.yaml_text import parse_yaml
    from lora_lab.sweep.plan import absolute

    key, equals, written = text.partition("=")
    if not equals:
        raise Failure(f"--set {text} has no value", "write it as --set net_dim=16")
    if key in axes:
        raise Failure(f"--set {key}: the grid varies it", "change the grid, or set something else")
    read = parse_yaml(written)
    if read.problems:
        raise Failure(f"--set {text}: {read.problems[0].message}", "write the value as in a grid file")
    value = read.values
    problems = [problem.message for problem in check({key: value}).problems if problem.key == key]
    if problems:
        raise Failure(f"--set {text}: {problems[0]}", f"see lora-lab explain {key}")
    return key, absolute({key: value}, Path.cwd())[key]


def show_problems(document: "YamlDocument", problems: Sequence["ParseProblem"]) -> None:
    """Print what is wrong with a grid file, each with its line and a caret."""
    lines = document.text.splitlines()
    for problem in problems:
        line, column = problem.span.line, problem.span.column
        say(f"{document.path}:{line}:{column}: error: {problem.message}", err=True)
        if line <= len(lines):
            first = max(column - WIDEST // 2, 0)  # of a long line what is around the place
            say(f"    {lines[line - 1][first : first + WIDEST]}\n    {' ' * (column - 1 - first)}^", err=True)


def show_plan(plan: "Plan") -> None:
    """Print the runs that are planned."""
    from lora_lab.sweep.comparable import mixed

    axes = f" over {', '.join(plan.axes)}" if plan.axes else ""
    cut = f"; max_runs leaves {plan.left_out:,} more points out" if plan.left_out else ""
    say(f"{plan.name}: {len(plan.runs):,} run{'s' if len(plan.runs) != 1 else ''}{axes}{cut}")
    for run in plan.runs[:MOST_SHOWN]:
        say(f"  {run.index + 1:>3}  {run.name}")
    if len(plan.runs) > MOST_SHOWN:
        say(f"       and {len(plan.runs) - MOST_SHOWN:,} more")
    if line := mixed(plan.metric.name, plan.axes):
        say(f"warning: {line}", err=True)


def show_findings(groups: Sequence["FindingGroup"], runs: int, of: tuple[str, str] = ("run", "runs")) -> None:
    """Print what lint says of the runs (or whatever there is one `of`, or several), equal findings once."""
    for group in groups:
        finding = group.finding
        message = finding.message if group.wordings == 1 else f"{finding.message} (and the like)"
        where = f"every {of[0]}" if len(group.runs) == runs else f"{len(group.runs)} of {runs} {of[1]}"
        numbers = ", ".join(str(run + 1) for run in group.runs[:MOST_SHOWN]) + (
            ", ..." if len(group.runs) > MOST_SHOWN else ""
        )
        which = "" if len(group.runs) == runs else f" ({numbers})"
        say(f"{finding.severity}: {message} [{finding.code} {finding.name}] in {where}{which}", err=True)
        if finding.remedy:
            say(f"    {finding.remedy}", err=True)
