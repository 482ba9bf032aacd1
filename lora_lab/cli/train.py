"""`lora-lab train`: one config becomes one LoRA."""

import contextlib
import importlib.util
import io
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.register import check_register, registered
from lora_lab.cli.say import say
from lora_lab.failure import Failure, interrupted_code
from lora_lab.memory import no_collection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lora_lab.cli.live import Lines
    from lora_lab.config import TrainConfig
    from lora_lab.lint import Finding, LintResult
    from lora_lab.sweep.footprint import Probe
    from lora_lab.sweep.roles import Job, Progress, RunToTrain, Train, TrainResult
    from lora_lab.tracking.recorder import Tracker

TRAINER = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "PIL", "numpy")
"""The libraries that the trainer is made of."""


@click.command(short_help="Train one LoRA.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output-folder", type=click.Path(path_type=Path), help="Write the LoRA to DIR, not to the config's.")
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
@click.option("--no-tracking", is_flag=True, help="Do not log to MLflow.")
@click.option("--register", metavar="MODEL", help="Register the LoRA in MLflow as MODEL, with the alias best.")
@click.option("--dialect", metavar="NAME", help="Whose keys CONFIG has, where the keys themselves do not tell.")
def command(config: Path, output_folder: Path | None, no_tracking: bool, dialect: str | None, **options: Any) -> int:
    """Train the LoRA of the config file CONFIG.

    CONFIG is JSON, TOML or YAML in lora_lab's keys, or a config of kohya's GUI, sd-scripts (TOML or a command line) or
    LoRA Easy Training Scripts; relative paths start from its folder.

    The config is linted first; errors end it before anything is loaded. A run that was interrupted goes on where it
    stopped when the same command is given again. Exit codes: 0 trained, 1 lint errors, 2 cannot run or failed, 130
    interrupted (143 by SIGTERM, 129 by a terminal that was closed).
    """
    rank = process_rank()
    if rank:
        return _follow(config, output_folder, dialect)
    where = Where(tracking=not no_tracking, **options)
    check_register(where.register, tracking=where.tracking)
    with no_collection():
        linted = _linted(config, output_folder, dialect)
    if linted is None:
        return 1
    ready, findings = linted
    if ready.save_json_folder:
        _save_json(ready)
    if ready.save_json_only:
        if not ready.save_json_folder:
            raise Failure("save_json_only is true but save_json_folder names no folder", "name one, or set it to false")
        return 0
    return _train(ready, findings, where)


def process_rank() -> int:
    """Return which of the processes that `accelerate launch` has started this one is; 0 where it is the only one."""
    from lora_lab.config import processes

    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def _follow(path: Path, output_folder: Path | None, dialect: str | None) -> int:
    """Train beside the first process, which alone writes and tells."""
    with contextlib.redirect_stderr(io.StringIO()):
        linted = _linted(path, output_folder, dialect)
    if linted is None:
        return 1
    config, _ = linted
    if config.save_json_only:
        return 0
    from lora_lab.sweep.roles import RunToTrain

    run = RunToTrain(config=config, folder=Path(), record=lambda event: None, name="", ended=lambda result: None)
    try:
        (result,) = built_in_trainer()([run], lambda step: None)
    except KeyboardInterrupt as stopped:
        return interrupted_code(stopped)
    return 2 if isinstance(result, Failure) else 0


def _linted(
    path: Path, output_folder: Path | None, dialect: str | None
) -> "tuple[TrainConfig, tuple[Finding, ...]] | None":
    """Return the config with absolute paths, and what lint says; None, after saying why, where it finds errors."""
    from lora_lab.config import with_absolute_paths
    from lora_lab.document.trainable import read_trainable, reading
    from lora_lab.lint import Disk, lint_document
    from lora_lab.lint.machine import Machine

    document = read_trainable(path, dialect)
    for line in reading(path, document):
        say(line, err=True)
    result = lint_document(document, Disk(document.folder), machine=Machine())
    _show(path, result)
    if not result.usable:
        return None
    config = with_absolute_paths(result.config, document.folder)
    if output_folder is not None:
        config = config.model_copy(update={"output_folder": str(output_folder.absolute()), "multi_run_folder": None})
    return config, tuple(result.findings)


def _show(path: Path, result: "LintResult") -> None:
    from lora_lab.lint.report import Judged, text_report

    worth_saying = tuple(finding for finding in result.findings if finding.severity != "info")
    for line in text_report(Judged(str(path), result.document.text, worth_saying)):
        say(line, err=True)
    if not result.usable:
        say("nothing was trained", err=True)


def _save_json(config: "TrainConfig") -> None:
    """Write the effective config to `save_json_folder`, as the older tools do."""
    from lora_lab.whole_files import write_whole

    folder = Path(str(config.save_json_folder))
    path = folder / f"config-{time.strftime('%Y%m%d-%H%M%S')}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}", "choose another save_json_folder") from error
    say(f"config written to {path}")


@dataclass(frozen=True)
class Where:
    """What MLflow is told: which one, whether at all, and as what the LoRA is registered there."""

    tracking_uri: str | None
    tracking: bool
    register: str | None


def _train(config: "TrainConfig", findings: "tuple[Finding, ...]", where: Where) -> int:
    from lora_lab.cli.live import make_watch
    from lora_lab.sweep.plan import PlannedRun
    from lora_lab.sweep.roles import Job
    from lora_lab.tracking.recorder import Tracker
    from lora_lab.tracking.target import choose_target

    say("starting the trainer ...")
    train = built_in_trainer()
    run = PlannedRun(0, config.change_output_name or "last", {}, {})
    watch = make_watch(1)
    tracker = Tracker(choose_target(where.tracking_uri) if where.tracking else None, "train", watch.warn)
    try:
        if config.multi_run_folder:
            job = Job(run, config, _identity(config), findings)
            return _train_numbered(job, train, tracker, watch, where.register)
        return _train_here(Job(run, config, "", findings), train, tracker, watch, where.register)
    finally:
        watch.close()
        tracker.close()


def _train_here(job: "Job", train: "Train", tracker: "Tracker", watch: "Lines", register: str | None) -> int:
    """Train into the output folder, with what the run tells in a log below it."""
    from lora_lab.cli.train_log import TrainLog
    from lora_lab.sweep.roles import RunProgress, RunToTrain

    folder = Path(job.config.output_folder)
    log = TrainLog(job, folder, tracker)
    run = RunToTrain(config=job.config, folder=folder, record=log, name="", ended=lambda result: None)

    def progress(step: "Progress") -> None:
        known = RunProgress(step.step, step.total_steps, step.loss, None, step.message, step.notice)
        watch.progressed(job, known)

    with _alone(folder, job.run.name):
        watch.started(job, folder)
        try:
            (result,) = train([run], progress)
            if isinstance(result, Failure):
                raise result
            outcome = log.finished(result)
            if register:
                log(registered(register, outcome, {}))
        finally:
            watch.close()
            log.close()
    _show_result(result.lora, result.metrics, result.steps, result.seconds)
    return 0


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> "Iterator[None]":
    """Hold the right to train that name into a folder; raises `Failure` where another process has it, or none can."""
    from lora_lab.cli.train_log import LOGS
    from lora_lab.locks import held_if_free

    lock = folder / LOGS / f".{name}.lock"
    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            free = stack.enter_context(held_if_free(lock))
        except OSError as error:
            remedy = "free the disk, or give another folder with --output-folder"
            raise Failure(f"cannot write to {folder}: {error.strerror or error}", remedy) from error
        if not free:
            remedy = "wait for it, or give this one another change_output_name or --output-folder"
            raise Failure(f"another process is training {name} into {folder}", remedy)
        yield


def _train_numbered(job: "Job", train: "Train", tracker: "Tracker", watch: "Lines", register: str | None) -> int:
    """Train into the next free `run1`, `run2`, ... of `multi_run_folder`, or where an attempt at this run stopped."""
    from lora_lab.sweep.attempt import train_together
    from lora_lab.sweep.roles import Surroundings
    from lora_lab.sweep.run_folder import place_of

    folder = place_of(job.identity, Path(str(job.config.multi_run_folder)))
    (outcome,) = train_together([job], [folder], "train", Surroundings(train, tracker.recorder, watch))
    watch.close()
    if outcome.status == "KILLED":
        return 128 + (outcome.signal or signal.SIGINT)
    if outcome.lora is None:
        raise Failure(outcome.reason)
    if register:
        tracker.append(folder, registered(register, outcome, {}))
    _show_result(outcome.lora, outcome.metrics, outcome.steps, outcome.seconds)
    return 0


def _identity(config: "TrainConfig") -> str:
    from lora_lab.sweep.identity import Digests, identity

    try:
        return identity(config, Digests(Path()).of(config))
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}", "mend its rights, or name another") from error


def _show_result(lora: Path, metrics: "Mapping[str, float]", steps: int, seconds: float) -> None:
    from lora_lab.cli.table import duration

    figures = ", ".join(f"{key} {metrics[key]:.5g}" for key in ("val_loss", "loss") if key in metrics)
    say(f"trained {steps} steps in {duration(seconds)}: {figures}\n{lora}")


def built_in_trainer() -> "Train":
    """Import the trainer: seconds, so only when something is trained. Raises `Failure` where it is not installed."""
    try:
        with no_collection():
            from lora_lab.train.run import Run, train_runs
    except ImportError as error:
        raise _not_installed(str(error)) from error

    def train(
        runs: "Sequence[RunToTrain]", progress: "Callable[[Progress], None]"
    ) -> "Sequence[TrainResult | Failure]":
        return train_runs([Run(**vars(run)) for run in runs], progress)

    return train


def built_in_probe() -> "Probe":
    """Return what measures a run's memory and pace; to be called after `built_in_trainer`."""
    from lora_lab.train.probe import Probe

    return Probe()


def demand_trainer() -> None:
    """Raise `Failure` where the trainer is not installed, without the seconds that loading it takes."""
    missing = [name for name in TRAINER if importlib.util.find_spec(name) is None]
    if missing:
        raise _not_installed(f"No module named {missing[0]!r}")


def _not_installed(error: str) -> Failure:
    return Failure(f"training needs more than the linter: {error}", "pip install 'lora-lab[train]'")
