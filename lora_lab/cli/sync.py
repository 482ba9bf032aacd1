"""`lora-lab sync`: what the tracker has not got yet of runs that were trained before."""

import importlib.util
from pathlib import Path

import click

from lora_lab.cli.say import say
from lora_lab.failure import Failure


@click.command(short_help="Send MLflow what it has not got yet.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
def command(folder: Path, tracking_uri: str | None) -> int:
    """Send MLflow every run below FOLDER, as far as it has not got it.

    For runs that were trained while the server was away, without MLflow, or on another machine. What is there already
    is not sent again, so it can be called at any time. Exit codes: 0 MLflow has everything, 1 something is missing, 2
    nothing to send.
    """
    from lora_lab.tracking.ship import Shipper
    from lora_lab.tracking.spool import unsent
    from lora_lab.tracking.target import choose_target

    if importlib.util.find_spec("mlflow") is None:
        raise Failure("mlflow is not installed", "pip install 'lora-lab[mlflow]'")
    target = choose_target(tracking_uri)
    folders = spools(folder)
    if not folders:
        raise Failure(f"no runs below {folder}", "name the folder that the runs were trained into")
    waiting = sum(unsent(path, target.key) > 0 for path in folders)
    say(f"{len(folders)} runs below {folder}, {waiting} with something that {target.shown} is not known to have")
    told: list[str] = []

    def warn(line: str) -> None:
        told.append(line)
        say(f"warning: {line}", err=True)

    shipper = Shipper(target, warn, waits=True)
    for path in folders:
        shipper.add(path)
    complete = shipper.close(None)
    left = sum(unsent(path, target.key) > 0 for path in folders)
    say("MLflow has everything" if complete and not left else f"{left} runs are not there completely")
    return 0 if complete and not left else 1


def spools(folder: Path) -> list[Path]:
    """Return the folders of all runs below `folder`, those of sweeps before those of the runs in them."""
    from lora_lab.tracking.spool import EVENTS

    found = {path.parent for path in folder.rglob(EVENTS)}
    return sorted(found, key=lambda path: (len(path.parts), str(path)))
