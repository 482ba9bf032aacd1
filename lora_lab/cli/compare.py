"""`lora-lab compare`: which run is best, by how much, and why, from the files that runs leave."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lora_lab.cli.say import say, say_exactly

if TYPE_CHECKING:
    from lora_lab.compare.comparison import Comparison


@click.command(short_help="Show which runs are best, by how much, and why.")
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...", type=click.Path(path_type=Path))
@click.option(
    "--by", metavar="KEYS", help="Average all runs with the same KEYS (net_dim,alpha), whatever else differs."
)
@click.option("--metric", metavar="NAME", help="Compare by NAME; without, by the sweep's own metric, or val_loss.")
@click.option("--goal", type=click.Choice(["minimize", "maximize"]), help="What is best; without, as the sweep says.")
@click.option("--json", "form", flag_value="json", help="Print JSON for tools.")
@click.option("--csv", "form", flag_value="csv", help="Print a line for each run, for spreadsheets.")
def command(
    sweeps: tuple[Path, ...],
    by: str | None,
    metric: str | None,
    goal: Literal["minimize", "maximize"] | None,
    form: str | None,
) -> int:
    """Compare runs, the best first, from their folders alone: no server is asked.

    SWEEP is the folder of a sweep or its name, a run's folder, or the output folder of `lora-lab train`; several are
    compared together. Runs that differ by their seed alone are one line with mean and standard deviation, and it is
    said whether a difference is more than the seeds make. Runs whose validation loss is measured on different things
    are not ranked together. Exit codes: 0 compared, 2 no runs found.
    """
    from lora_lab.compare.comparison import Question, compare

    keys = tuple(key.strip() for key in (by or "").split(",") if key.strip())
    show(compare(sweeps, Question(metric, goal, keys)), form)
    return 0


def show(found: "Comparison", form: str | None) -> None:
    """Print a comparison."""
    from lora_lab.cli.compare_text import as_text
    from lora_lab.cli.fitted import width_of_terminal
    from lora_lab.compare.export import as_csv, as_json

    if form == "json":
        say_exactly(as_json(found))
    elif form == "csv":
        say_exactly(as_csv(found), newline=False)
    else:
        for line in as_text(found, width_of_terminal()):
            say(line)
