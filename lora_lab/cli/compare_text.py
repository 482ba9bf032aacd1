"""A comparison as a person reads it in a terminal: tables, and what they mean in a few sentences."""

from collections.abc import Iterator, Sequence

from lora_lab.cli.fitted import Column, fitted
from lora_lab.cli.table import STATUS_WORDS, duration
from lora_lab.cli.wrap import wrapped
from lora_lab.compare.comparison import Comparison, Row, is_measured
from lora_lab.compare.run import Run
from lora_lab.compare.words import rounded, sentences, with_spread
from lora_lab.sweep.grid import SEED, label, labels

MOST_NAMES = 3
"""Runs of a row that are named; of more it is said how many."""


def as_text(found: Comparison, width: int | None) -> Iterator[str]:
    """Yield the lines: a table for each group of runs that compare, what is not ranked, and what it all means."""
    counts = ", ".join(_counted(found))
    order = "smallest" if found.goal == "minimize" else "greatest"
    yield f"{counts}; by {found.metric}, the {order} first" + (
        f", for each {', '.join(found.columns)}" * bool(found.averaged)
    )
    letters = list(dict.fromkeys(row.letter for row in found.rows if row.letter))
    for letter in letters:
        rows = [row for row in found.rows if row.letter == letter]
        if len(letters) > 1:
            yield ""
            reason = found.comparable.reasons.get(letter)
            runs = sum(len(row.runs) for row in rows)
            yield f"{letter}: {runs} run{'s' * (runs > 1)}" + (f"; does not compare with A: {reason}" if reason else "")
        yield from fitted(_columns(found, rows), width)
    unranked = [row for row in found.rows if not row.letter]
    if unranked:
        yield ""
        yield "not ranked:"
        yield from fitted(_unranked(found, unranked), width)
    yield ""
    for line in sentences(found):
        lead = "  " if line.startswith("  ") else ""
        yield from [line] if width is None else wrapped(line.strip(), width, "    ", lead)


def _counted(found: Comparison) -> Iterator[str]:
    """Yield how many runs there are of each state."""
    yield f"{len(found.runs)} run{'s' * (len(found.runs) != 1)}"
    for status in ("FAILED", "PRUNED", "KILLED", "RUNNING"):
        count = sum(run.status == status for run in found.runs)
        if count:
            yield f"{count} {_status_word(status)}"
    if found.planned:
        yield f"{found.planned} not begun"


def _status_word(status: str) -> str:
    return STATUS_WORDS.get(status, "not over" if status == "RUNNING" else status.lower())


def _columns(found: Comparison, rows: Sequence[Row]) -> list[Column]:
    """Return the columns of one group's table."""
    several = any(row.spread is not None and row.spread.n > 1 for row in rows)
    columns = [Column("run", [_names(row.runs) for row in rows]), *_settings(found, rows)]
    spreads = [with_spread(row.spread) if row.spread is not None else "-" for row in rows]
    columns.append(Column(found.metric, spreads, right=True))
    if several:
        counted = "runs" if found.averaged else "seeds"
        columns.append(Column(counted, [str(row.spread.n) if row.spread else "-" for row in rows], 2, right=True))
    columns.append(Column("behind", [_behind(row) for row in rows], 1, right=True))
    best = [_best_point(found, row.runs) for row in rows]
    if any(best):
        word = "lowest" if found.goal == "minimize" else "highest"
        columns.append(Column(word, best, 5, right=True))
    columns.append(Column("steps", [_steps(row.runs) for row in rows], 4, right=True))
    columns.append(Column("time", [_time(row.runs) for row in rows], 3, right=True))
    return columns


def _settings(found: Comparison, rows: Sequence[Row]) -> Iterator[Column]:
    """Yield a column for the sweep, where there are several, and one for each parameter that differs."""
    sweeps = [", ".join(dict.fromkeys(run.sweep or "-" for run in row.runs)) for row in rows]
    if len({run.sweep for run in found.runs}) > 1:
        yield Column("sweep", sweeps, 6)
    for name in found.columns:
        values = [row.values[name] for row in rows if name in row.values]
        texts = iter(labels(name, values))
        cells = [next(texts) if name in row.values else "-" for row in rows]
        yield Column(name, cells, right=all(isinstance(value, (int, float)) for value in values))


def _unranked(found: Comparison, rows: Sequence[Row]) -> list[Column]:
    runs = [row.runs[0] for row in rows]
    columns = [Column("run", [_names(row.runs) for row in rows]), *_settings(found, rows)]
    if any(run.seed is not None for run in runs) and SEED not in found.columns:
        columns.append(Column("seed", [label(run.seed) for run in runs], 1, right=True))
    known = [rounded(run.metrics[found.metric]) if is_measured(run, found.metric) else "-" for run in runs]
    if any(text != "-" for text in known):
        columns.append(Column(found.metric, known, right=True))
    columns.append(Column("steps", [_steps(row.runs) for row in rows], 2, right=True))
    return [*columns, Column("why", [_why(found, run) for run in runs])]


def _why(found: Comparison, run: Run) -> str:
    """Return why a run is not ranked."""
    if run.finished:
        return f"no {found.metric}" + (": nothing is held out" if found.metric == "val_loss" else "")
    reason = f": {run.reason}" if run.reason and not run.reason.startswith(_status_word(run.status)) else ""
    return run.reason if run.status == "PRUNED" and run.reason else f"{_status_word(run.status)}{reason}"


def _names(runs: Sequence[Run]) -> str:
    names = [run.folder.name for run in runs]
    return " ".join(names) if len(names) <= MOST_NAMES else f"{names[0]} and {len(names) - 1} more"


def _behind(row: Row) -> str:
    if row.behind is None or row.behind == 0:
        return ""
    return ("~ " if row.within else "") + f"{row.behind:+.2g}"


def _best_point(found: Comparison, runs: Sequence[Run]) -> str:
    points = [run.best for run in runs if run.best is not None]
    if not points:
        return ""
    step, value = min(points, key=lambda point: found.sign * point[1])
    return f"{rounded(value)} @ {step}"


def _steps(runs: Sequence[Run]) -> str:
    steps = sorted({run.steps for run in runs})
    total = f"/{runs[0].total_steps}" if not runs[0].finished and runs[0].total_steps else ""
    return f"{steps[0]}{total}" if len(steps) == 1 else f"{steps[0]}-{steps[-1]}"


def _time(runs: Sequence[Run]) -> str:
    seconds = [run.seconds for run in runs if run.seconds]
    return duration(sum(seconds) / len(seconds)) if seconds else "-"
