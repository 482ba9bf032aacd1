"""`lora-lab compare`: which run is best, by how much, and why, from the files that runs leave."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.say import say, say_exactly
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.compare.comparison import Comparison

BUDGET = "Megabytes of small sample pictures in that page, the best runs' first."


@click.command(short_help="Show which runs are best, by how much, and why.")
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...", type=click.Path(path_type=Path))
@click.option(
    "--by", metavar="KEYS", help="Average all runs with the same KEYS (net_dim,alpha), whatever else differs."
)
@click.option("--metric", metavar="NAME", help="Compare by NAME; without, by the sweep's own metric, or val_loss.")
@click.option("--goal", type=click.Choice(["minimize", "maximize"]), help="What is best; without, as the sweep says.")
@click.option("--json", "form", flag_value="json", help="Print JSON for tools.")
@click.option("--csv", "form", flag_value="csv", help="Print a line for each run, for spreadsheets.")
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Also write a page with it all.")
@click.option("--pictures", default=6.0, show_default=True, metavar="MB", type=click.FloatRange(0, 500), help=BUDGET)
def command(sweeps: tuple[Path, ...], by: str | None, page: Path | None, pictures: float, **asked: Any) -> int:
    """Compare runs, the best first, from their folders alone: no server is asked.

    SWEEP is the folder of a sweep or its name, a run's folder, or the output folder of `lora-lab train`; several are
    compared together. Runs that differ by their seed alone are one line with mean and standard deviation, and it is
    said whether a difference is more than the seeds make. Runs whose validation loss is measured on different things
    are not ranked together. Exit codes: 0 compared, 2 no runs found.
    """
    from lora_lab.compare.comparison import Question, compare
    from lora_lab.compare.report_data import CURVES

    keys = tuple(key.strip() for key in (by or "").split(",") if key.strip())
    question = Question(asked["metric"], asked["goal"], keys, CURVES if page is not None else ())
    found = compare(sweeps, question)
    show(found, asked["form"])
    if page is not None:
        _write(found, page, round(pictures * 1_000_000))
    return 0


def _write(found: "Comparison", page: Path, budget: int) -> None:
    """Write the page. Raises `Failure` where it can't be."""
    from lora_lab.compare.report import make_report
    from lora_lab.whole_files import write_whole

    report = make_report(found, time.strftime("%Y-%m-%d %H:%M"), budget)
    content = report.html.encode("utf-8")
    try:
        write_whole(page, content)
    except OSError as error:
        raise Failure(f"{page} cannot be written: {error.strerror}", "name another file") from error
    seen = f", {report.pictures} of {report.known_pictures} pictures" if report.known_pictures else ""
    say(f"{page}: {len(content) / 1_000_000:.1f} MB{seen}", err=True)


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
