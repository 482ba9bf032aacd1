"""`lora-lab ui`: MLflow opened on the runs themselves."""

import contextlib
import importlib.util
import signal
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lora_lab.cli.say import say
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.tracking.server import Experiment
    from lora_lab.tracking.target import Target


@click.command(short_help="Open MLflow on the runs.")
@click.argument("sweep", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="The first port to try.")
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def command(sweep: str | None, port: int, tracking_uri: str | None, no_browser: bool) -> int:
    """Open MLflow on the runs of SWEEP, or of the newest sweep.

    The table shows the runs with the parameters that were varied and the metric, the best first. Ctrl-C ends the
    server; it listens on this machine only.
    """
    from lora_lab.tracking.target import choose_target

    target = choose_target(tracking_uri)
    if target.is_server:
        show(target.uri, sweep, browser=not no_browser)
        return 0
    _check(target)
    return _serve(target, sweep, port, browser=not no_browser)


def _check(target: "Target") -> None:
    """Raise `Failure` where there is nothing to look at, or nothing to look with."""
    from lora_lab.tracking.target import database_of

    database = database_of(target)
    if database is not None and not database.is_file():
        remedy = "train something with `lora-lab sweep` first, or say where with --tracking-uri"
        raise Failure(f"nothing has been logged to {_shown(database)}", remedy)
    if importlib.util.find_spec("mlflow") is None:
        raise Failure("mlflow is not installed", "pip install 'lora-lab[mlflow]'")


def _serve(target: "Target", sweep: str | None, port: int, *, browser: bool) -> int:
    """Run the server until it is interrupted."""
    from lora_lab.tracking.server import free_port, start_server

    chosen = free_port(port)
    say(f"starting MLflow on port {chosen} ..." + (f" ({port} is taken)" if chosen != port else ""))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server's processes end with this one
    server = start_server(target, chosen)
    try:
        show(server.address, sweep, browser=browser)
        say("Ctrl-C ends the server")
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()
            raise Failure("MLflow's server has ended", "look into mlflow-server.log beside the database")
    finally:
        server.stop()
    return 0


def show(address: str, sweep: str | None, *, browser: bool) -> None:
    """Print the addresses of a sweep's runs and open the first; raises `Failure` for a sweep that is not there."""
    from lora_lab.tracking.server import experiments
    from lora_lab.tracking.target import without_secrets
    from lora_lab.tracking.view import runs_address

    found = choose(experiments(address), sweep)
    shown = without_secrets(address)
    table = runs_address(shown, found.id, shared_view=found.has_view)
    say(f"{found.name}\n  runs:   {table}")
    say(f"  curves: {runs_address(shown, found.id, shared_view=found.has_view, chart=True)}")
    if browser:
        webbrowser.open(table)


def choose(experiments: list["Experiment"], sweep: str | None) -> "Experiment":
    """Return the experiment of that name, or the newest; raises `Failure` with the names that there are."""
    ours = [experiment for experiment in experiments if experiment.last_ms] or experiments
    if sweep is None and ours:
        return ours[0]
    for experiment in experiments:
        if experiment.name == sweep:
            return experiment
    if not ours:
        raise Failure("MLflow holds no experiment yet", "train something with `lora-lab sweep` first")
    names = ", ".join(experiment.name for experiment in ours[:20])
    raise Failure(f"there is no sweep {sweep!r}", f"there are: {names}")


def _shown(path: Path) -> str:
    """Return a path relative to here where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
