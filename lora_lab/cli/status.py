"""`lora-lab status`: how the runs of a sweep stand, from another terminal, while it goes on or after it."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lora_lab.cli.say import say, say_exactly
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.sweep.comparable import Comparable
    from lora_lab.sweep.sweep_record import RunState, SweepRecord

DEEPEST = 3
"""How far below the folder sweeps are looked for."""


@click.command(short_help="Show how the runs of a sweep stand.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def command(folder: Path, form: str) -> int:
    """Show how the runs of the sweep in FOLDER stand: which train, how far they are, which wait or have failed.

    FOLDER is where the sweep writes its runs; for one that holds several sweeps, each is shown. Nothing is changed, so
    it can be asked at any time and from any machine that sees the folder. Exit codes: 0 all runs finished, 1 not all,
    2 no sweep found.
    """
    found = [(path, record) for path in _sweeps(folder) if (record := _record(path)) is not None]
    if not found:
        raise Failure(f"no sweep in {folder}", "name the folder that `lora-lab sweep` named under `runs:`")
    complete = True
    pages = []
    for path, sweep in found:
        runs = _states(path, sweep)
        all_over = all(run.state in ("finished", "cut short") for run in runs)
        complete = complete and all_over and len(runs) >= sweep.planned
        if form == "json":
            pages.append({"folder": str(path), "name": sweep.name, "runs": [asdict(run) for run in runs]})
        else:
            _show(path, sweep, runs)
    if form == "json":
        say_exactly(json.dumps(pages, indent=1, default=str, ensure_ascii=False))
    return 0 if complete else 1


def _sweeps(folder: Path) -> list[Path]:
    """Return the folders of sweeps: this one, or those below it."""
    from lora_lab.sweep.sweep_record import SWEEP

    if (folder / SWEEP).is_file():
        return [folder]
    patterns = ["/".join(["*"] * depth) for depth in range(1, DEEPEST + 1)]
    return sorted(path.parent for pattern in patterns for path in folder.glob(f"{pattern}/{SWEEP}"))


def _record(path: Path) -> "SweepRecord | None":
    from lora_lab.sweep.sweep_record import read_sweep

    return read_sweep(path)


def _states(path: Path, sweep: "SweepRecord") -> "list[RunState]":
    from lora_lab.sweep.sweep_record import states

    return list(states(path, sweep))


def _show(path: Path, sweep: "SweepRecord", runs: "Sequence[RunState]") -> None:
    """Print one sweep: how many runs stand how, and a line for each."""
    from lora_lab.cli.table import duration, not_comparable, text_table
    from lora_lab.sweep.grid import label

    counts = Counter(run.state for run in runs)
    said = [f"{count} {state}" for state, count in counts.most_common()]
    if sweep.planned > len(runs):
        said.append(f"{sweep.planned - len(runs)} to be proposed")
    say(f"{sweep.name} ({path}): " + ", ".join(said))
    known = _comparable(sweep, runs)
    marks = [] if known.all_alike else ["judged"]
    rows = []
    for run, letter in zip(runs, known.letters, strict=True):
        metric = run.metrics.get(sweep.metric)
        rows.append(
            [
                run.folder.name if run.folder else "-",
                *(label(run.axes.get(axis)) for axis in sweep.axes),
                f"{run.step}/{run.total_steps}" if run.total_steps else "-",
                f"{metric:.5g}" if metric is not None else "-",
                *(letter or "-" for _ in marks),
                duration(run.seconds) if run.seconds else "-",
                run.state + (f": {run.reason}" if run.reason and run.state == "failed" else ""),
            ]
        )
    say(text_table(["run", *sweep.axes, "step", sweep.metric, *marks, "time", "state"], rows))
    for line in not_comparable(known, sweep.metric):
        say(line)
    say()


def _comparable(sweep: "SweepRecord", runs: "Sequence[RunState]") -> "Comparable":
    """Return which runs compare by the sweep's metric."""
    from lora_lab.sweep.comparable import Judging, comparable, judging_of

    judgings = [judging_of(run.validation, run.folder) if run.folder else Judging() for run in runs]
    measured = [run.metrics.get(sweep.metric, math.nan) for run in runs]
    found = zip(judgings, measured, strict=True)
    return comparable(sweep.metric, [(judging, value == value) for judging, value in found])
