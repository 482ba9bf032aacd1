"""Training the runs of a plan: who trains them, who watches, what is shown at the end."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.cli.say import say
from lora_lab.failure import Failure, Stopped

if TYPE_CHECKING:
    from lora_lab.cli.live import Lines
    from lora_lab.cli.sweep import SweepOptions
    from lora_lab.cli.sweep_summary import SweepSummary
    from lora_lab.sweep.execute import Executed
    from lora_lab.sweep.grid import Grid
    from lora_lab.sweep.identity import Digests
    from lora_lab.sweep.judge import JudgedPlan
    from lora_lab.sweep.plan import Plan
    from lora_lab.sweep.roles import Executor, Job, Outcome, Recording, Watch
    from lora_lab.sweep.search import Search
    from lora_lab.tracking.recorder import Tracker
    from lora_lab.tracking.target import Target

    MakeExecutor = Callable[[Callable[[Path], Recording], Watch], Executor]

BEST = "best.json"

SEARCH_PARTS = 10
"""A search is told of what it has proposed at least so many times."""

COMPLETE = ("FINISHED", "PRUNED")
"""Ends of runs that nobody trains again."""


def train_all(
    judged: "JudgedPlan", jobs: "Sequence[Job] | Search", grid: "Grid", grid_path: Path, options: "SweepOptions"
) -> int:
    """Train the runs of a plan that may be trained, or those that a search proposes; return the exit code."""
    from lora_lab.cli.live import make_watch
    from lora_lab.tracking.recorder import Tracker
    from lora_lab.tracking.target import choose_target

    target = choose_target(options.tracking_uri) if options.tracking else None
    folder = sweep_folder(judged, grid)
    executor = _executor(judged.plan.name, folder, options)
    count = len(jobs) if isinstance(jobs, Sequence) else jobs.runs
    watch = make_watch(count)
    watch.metric = judged.plan.metric.name
    tracker = Tracker(target, judged.plan.name, watch.warn)
    try:
        done = _recorded(jobs, _Sweep(judged.plan, grid, grid_path, folder, executor, options), tracker, watch)
    finally:
        watch.close()
        tracker.close()
    show_outcomes(done.outcomes, judged.plan, folder)
    if target is not None:
        _show_target(judged.plan.name, target, options.tracking_uri)
    if done.interrupted or done.out_of_time:
        count = len(jobs) if isinstance(jobs, Sequence) else jobs.runs
        left = count - sum(outcome.status in COMPLETE for outcome in done.outcomes)
        why = f"max_hours {grid.max_hours:g} is over" if done.out_of_time else "interrupted"
        say(f"{why}: {left} runs are not finished; the same command goes on with them", err=True)
        return 128 + (done.signal or signal.SIGINT)
    return 0 if all(outcome.status in COMPLETE for outcome in done.outcomes) else 1


def _executor(name: str, folder: Path, options: "SweepOptions") -> "MakeExecutor":
    """Return what makes the executor, given who watches and records. Raises `Failure` without a trainer."""
    from lora_lab.cli import places, work
    from lora_lab.cli.train import demand_trainer
    from lora_lab.sweep.in_process import InProcess
    from lora_lab.sweep.processes import Processes
    from lora_lab.sweep.roles import Surroundings

    train = options.train
    if train is not None:
        return lambda record, watch: InProcess(name, folder, Surroundings(train, record, watch))
    demand_trainer()
    command = work.order(name, folder)
    if options.executor == "ray":
        on_ray = places.ray_cluster(command, folder, options)
        return lambda record, watch: on_ray
    if options.executor == "slurm":
        on_slurm = places.slurm_jobs(work.order(name, folder, job=True), folder, name, options)
        return lambda record, watch: on_slurm
    slots = places.gpu_slots(options.jobs)
    say(f"starting the trainer{f' {len(slots)} times' if len(slots) > 1 else ''} ...")
    return lambda record, watch: Processes(command, folder, slots)


def most_together(jobs: "Sequence[Job] | Search") -> int:
    """Return how many runs may share a pack: a search must see how some of its runs end to choose others."""
    from lora_lab.sweep.packing import MOST

    return MOST if isinstance(jobs, Sequence) else max(min(jobs.runs // SEARCH_PARTS, MOST), 1)


def _pack_size(options: "SweepOptions") -> int | None:
    """Return how many runs make a pack; None where a probe decides, which a job of a cluster has no time for."""
    unmeasured = options.executor == "slurm" or options.train is not None
    return 1 if options.pack is None and unmeasured else options.pack


@dataclass(frozen=True)
class _Sweep:
    """A sweep on its way."""

    plan: "Plan"
    grid: "Grid"
    grid_path: Path
    folder: Path
    executor: "MakeExecutor"
    options: "SweepOptions"


def _recorded(jobs: "Sequence[Job] | Search", sweep: _Sweep, tracker: "Tracker", watch: "Lines") -> "Executed":
    """Train the jobs, with the sweep itself as the parent run of all of them."""
    from lora_lab.cli.sweep_summary import SweepSummary
    from lora_lab.sweep.execute import Limits, execute
    from lora_lab.sweep.sweep_record import write_sweep
    from lora_lab.tracking.events import Artifact, RunEnded

    plan = sweep.plan
    parent = tracker.recorder(sweep.folder)
    if isinstance(jobs, Sequence):
        count = len(jobs)
        write_sweep(sweep.folder, plan, jobs)
    else:
        count = jobs.runs
        jobs.proposed = lambda known: write_sweep(sweep.folder, plan, known, jobs.runs)
    summary = SweepSummary(plan, count, sweep.folder, parent, tracker.warn)
    try:
        summary.begin()
        if sweep.grid_path.is_file():
            parent(Artifact(path=sweep.grid_path.absolute()))
        hours = sweep.grid.max_hours
        limits = Limits(_pack_size(sweep.options), hours * 3600 if hours else None, most_together(jobs))
        seen = _CatchingUp(watch, tracker, summary)
        with _terminated_is_interrupted():
            executor = sweep.executor(lambda folder: tracker.recorder(folder, sweep.folder), seen)
            done = execute(jobs, plan.name, sweep.folder, executor, seen, limits)
        summary.finish(done.outcomes)
        failed = any(outcome.status == "FAILED" for outcome in done.outcomes)
        ended = done.interrupted or done.out_of_time
        parent(RunEnded(status="KILLED" if ended else "FAILED" if failed else "FINISHED"))
        if sweep.options.register:
            _register(sweep.options.register, done.outcomes, plan, tracker)
    finally:
        parent.close()
    return done


def _register(model: str, outcomes: Sequence["Outcome"], plan: "Plan", tracker: "Tracker") -> None:
    """Make the best run's LoRA a version of the registered model."""
    from lora_lab.cli.register import registered
    from lora_lab.cli.table import best_of

    best = best_of(outcomes, plan.metric)
    if best is None:
        tracker.warn(f"no run has finished with a {plan.metric.name}: nothing is registered as {model}")
        return
    metric = plan.metric.name
    about = {"lora_lab.sweep": plan.name, metric: f"{best.metrics[metric]:.6g}"}
    tracker.append(best.folder, registered(model, best, about))


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """Within, SIGTERM (a cluster's, a shutdown's) and SIGHUP (a closed terminal's) are heard like Ctrl-C, as Stopped.

    What comes more than once, from a cluster or a shell, is one wish.
    """
    from lora_lab.train.stop import is_the_same

    heard, when = 0, 0.0

    def interrupt(number: int, frame: object) -> None:
        nonlocal heard, when
        if is_the_same(number, heard, time.monotonic() - when):
            return
        heard, when = number, time.monotonic()
        raise Stopped("interrupted", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in wanted}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup's
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _CatchingUp:
    """A `Watch` that also lets the tracker read what the runs tell: workers only write it down."""

    def __init__(self, watch: "Lines", tracker: "Tracker", summary: "SweepSummary") -> None:
        self.progressed = watch.progressed
        self.say = watch.say
        self.warn = watch.warn
        self._watch = watch
        self._tracker = tracker
        self._summary = summary

    def started(self, job: "Job", folder: Path) -> None:
        self._tracker.catch_up(folder)
        self._watch.started(job, folder)

    def ended(self, outcome: "Outcome") -> None:
        if outcome.reused:
            self._tracker.catch_up(outcome.folder)
        self._watch.ended(outcome)
        self._summary.ended(outcome)


def sweep_folder(judged: "JudgedPlan", grid: "Grid") -> Path:
    """Return where the runs go: `multi_run_folder`, else the output folder and the sweep's name."""
    from lora_lab.config import resolve_path

    config = judged.configs[0]
    if config.multi_run_folder:
        return resolve_path(config.multi_run_folder, grid.folder)
    return resolve_path(config.output_folder, grid.folder) / judged.plan.name


def jobs_of(judged: "JudgedPlan", grid: "Grid", digests: "Digests | None" = None) -> list["Job"]:
    """Return the runs with their identities; raises `Failure` where what they are trained on cannot be read.

    `digests` has what was hashed before.
    """
    from lora_lab.config import with_absolute_paths
    from lora_lab.sweep.identity import Digests, identity
    from lora_lab.sweep.roles import Job, Rule
    from lora_lab.sweep.shared_caches import with_shared_caches

    digests = digests or Digests(grid.folder)
    rule = Rule(grid.early_terminate, grid.metric) if grid.early_terminate else None
    try:
        return [
            Job(run, config, identity(config, digests.of(config)), findings, rule)
            for run, findings, config in zip(
                judged.plan.runs,
                judged.findings,
                (with_absolute_paths(with_shared_caches(config), grid.folder) for config in judged.configs),
                strict=True,
            )
        ]
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}", "mend its rights, or name another") from error


def show_outcomes(outcomes: Sequence["Outcome"], plan: "Plan", folder: Path) -> None:
    """Print the table of the runs and the best of them."""
    from lora_lab.cli.sweep_summary import shares_of
    from lora_lab.cli.table import best_of, judged, outcome_table
    from lora_lab.config import quoted

    if not outcomes:
        return
    say(f"\n{outcome_table(outcomes, plan.metric, plan.axes)}\n")
    for outcome in outcomes:
        if outcome.status == "FAILED":
            say(f"{outcome.folder.name} failed: {outcome.reason}", err=True)
    best = best_of(outcomes, plan.metric)
    if best is not None:
        value = best.metrics[plan.metric.name]
        alike = judged(outcomes, plan.metric)
        among = "" if alike.all_alike else f", of the {alike.letters.count('A')} runs marked A"
        say(f"best: {best.run.name} ({plan.metric.name} {value:.5g}{among})\n      {best.lora}")
        say(f"      lora-lab train {quoted(_best_config(best, folder))} trains it again")
    shares = ", ".join(f"{axis} {share:.0%}" for axis, share in shares_of(outcomes, plan).items())
    if shares:
        say(f"what mattered for {plan.metric.name}: {shares}")
    say(f"runs: {folder}")
    say(f"compare: lora-lab compare {quoted(folder)} --html report.html")


def _show_target(name: str, target: "Target", tracking_uri: str | None) -> None:
    """Print how to look at the runs in MLflow."""
    option = f" --tracking-uri {target.shown}" if tracking_uri else ""
    quoted = f'"{name}"' if " " in name else name
    say(f"look: lora-lab ui {quoted}{option}")


def _best_config(best: "Outcome", folder: Path) -> Path:
    """Write the config of the best run, as a file that `lora-lab train` takes."""
    from lora_lab.whole_files import write_whole

    path = folder / BEST
    values = {key: value for key, value in best.run.values.items() if key not in ("multi_run_folder", "load_json_path")}
    values["output_folder"] = str(folder / "best")
    write_whole(path, json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n")
    return path
