"""`lora-lab quickstart`: the whole idea in a few minutes, without network or GPU."""

from pathlib import Path

import click

from lora_lab.cli.say import say
from lora_lab.failure import Failure

COMPARED = "compare.png"


@click.command(short_help="See it all work in a few minutes, on any machine.")
@click.option(
    "--output-folder",
    type=click.Path(path_type=Path),
    default=Path("lora-lab-runs"),
    show_default=True,
    help="Write the runs to DIR/quickstart.",
)
@click.option("--tracking-uri", metavar="URI", help="An MLflow server or database; ./lora-lab-runs/mlflow.db without.")
@click.option("--no-tracking", is_flag=True, help="Do not log to MLflow.")
def command(output_folder: Path, tracking_uri: str | None, no_tracking: bool) -> int:
    """Sweep four LoRAs on a small base model that comes with the package.

    The base draws circles, squares and triangles; each LoRA teaches it a `lumi`, which it has never seen. This is
    `lora-lab sweep experiments/quickstart.yaml`, and a picture of what each run learned.
    """
    from lora_lab.cli.sweep import SweepOptions, run_sweep
    from lora_lab.config import resolve_path

    grid = resolve_path("lora_lab:quickstart/quickstart.yaml", Path())
    code = run_sweep(grid, SweepOptions(output_folder, tracking_uri, not no_tracking))
    picture = _compare(output_folder / "quickstart")
    if picture is not None:
        say(f"what the base and each run draw: {picture}")
    return code


def _compare(folder: Path) -> Path | None:
    """Write the runs' pictures side by side; None where no run has any."""
    from lora_lab.quickstart.compare import columns, sheet
    from lora_lab.sweep.run_folder import RECORD, read_record

    runs = []
    found = (path.parent for path in folder.glob(f"run*/{RECORD}"))
    for run in sorted(found, key=lambda path: int(path.name.removeprefix("run"))):
        record = read_record(run)
        if record is not None and record.status == "FINISHED":
            runs.append((record.name.replace("learning_rate", "lr").replace("net_dim", "dim"), run))
    table = columns(runs)
    if not table:
        return None
    path = folder / COMPARED
    try:
        sheet(table).save(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error}", "free some space or choose another folder") from error
    return path
