"""`lora-lab train`: one config becomes one LoRA."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.config import TrainConfig
    from lora_lab.lint import LintResult
    from lora_lab.sweep.execute import Train

LOGS = "lora-lab-logs"
"""Below the output folder: what each run told while it trained."""


@click.command(short_help="Train one LoRA.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output-folder", type=click.Path(path_type=Path), help="Write the LoRA to DIR, not to the config's.")
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
@click.option("--no-tracking", is_flag=True, help="Do not log to MLflow.")
@click.option("--dialect", metavar="NAME", help="Whose keys CONFIG has, where the keys themselves do not tell.")
def command(
    config: Path, output_folder: Path | None, tracking_uri: str | None, no_tracking: bool, dialect: str | None
) -> int:
    """Train the LoRA of the config file CONFIG.

    CONFIG is JSON, TOML or YAML in lora_lab's keys, or a config of kohya's GUI, sd-scripts (TOML or a command line) or
    LoRA Easy Training Scripts; relative paths start from its folder.

    The config is linted first; errors end it before anything is loaded. Exit codes: 0 trained, 1 lint errors, 2 cannot
    run or failed.
    """
    ready = _linted(config, output_folder, dialect)
    if ready is None:
        return 1
    if ready.save_json_folder:
        _save_json(ready)
    if ready.save_json_only:
        if not ready.save_json_folder:
            raise Failure("save_json_only is true but save_json_folder names no folder", "name one, or set it to false")
        return 0
    return _train(ready, tracking_uri, tracking=not no_tracking)


def _linted(path: Path, output_folder: Path | None, dialect: str | None) -> "TrainConfig | None":
    """Return the config with absolute paths; None, after saying why, where lint finds errors."""
    from lora_lab.config import with_absolute_paths
    from lora_lab.document.trainable import read_trainable, reading
    from lora_lab.lint import Disk, lint_document

    document = read_trainable(path, dialect)
    for line in reading(path, document):
        click.echo(line, err=True)
    result = lint_document(document, Disk(document.folder))
    _show(path, result)
    if not result.usable:
        return None
    config = with_absolute_paths(result.config, document.folder)
    if output_folder is not None:
        config = config.model_copy(update={"output_folder": str(output_folder.absolute())})
    return config


def _show(path: Path, result: "LintResult") -> None:
    from lora_lab.lint.report import Judged, text_report

    worth_saying = tuple(finding for finding in result.findings if finding.severity != "info")
    for line in text_report(Judged(str(path), result.document.text, worth_saying)):
        click.echo(line, err=True)
    if not result.usable:
        click.echo("nothing was trained", err=True)


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
    click.echo(f"config written to {path}")


def _train(config: "TrainConfig", tracking_uri: str | None, *, tracking: bool) -> int:
    from lora_lab.cli.live import make_watch
    from lora_lab.cli.table import duration
    from lora_lab.sweep.execute import Job
    from lora_lab.sweep.plan import PlannedRun
    from lora_lab.tracking.recorder import open_recorder
    from lora_lab.tracking.target import choose_target

    click.echo("starting the trainer ...")
    train = built_in_trainer()
    name = config.change_output_name or "last"
    folder = Path(config.output_folder)
    target = choose_target(tracking_uri) if tracking else None
    watch = make_watch(1)
    job = Job(PlannedRun(0, name, {}, {}), config, "", ())
    logs = folder / LOGS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    recorder = open_recorder(target, "train", None, logs, watch.warn)
    try:
        watch.started(job, folder)
        result = train(config, folder=folder, record=recorder, progress=lambda step: watch.progressed(job, step))
    finally:
        watch.close()
        recorder.close()
    figures = ", ".join(f"{key} {result.metrics[key]:.5g}" for key in ("val_loss", "loss") if key in result.metrics)
    click.echo(f"trained {result.steps} steps in {duration(result.seconds)}: {figures}\n{result.lora}")
    return 0


def built_in_trainer() -> "Train":
    """Import the trainer: seconds, so only when something is trained. Raises `Failure` where it is not installed."""
    try:
        from lora_lab.train.run import train_run
    except ImportError as error:
        what = f"training needs more than the linter: {error}"
        raise Failure(what, "pip install 'lora-lab[train]'") from error
    return train_run
