"""Plain text tables and durations: aligned, readable without colours and in a log."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_lab.sweep.execute import Outcome
from lora_lab.sweep.grid import Metric, label

STATUS_WORDS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted", "PRUNED": "cut short"}


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows under their header, columns aligned: numbers to the right, the rest to the left."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    lines = [_line(header, widths, right), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_line(row, widths, right) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text in ("", "-") or (text[:1] == "-" and text[1:2].isdigit())


def duration(seconds: float) -> str:
    """Return a duration as people say it: "7.3 s", "4 min 05 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def ranked(outcomes: Sequence[Outcome], metric: Metric) -> list[Outcome]:
    """Return the outcomes, the best first; those without the metric last, in their order. NaN is no metric."""

    def rank(outcome: Outcome) -> tuple[bool, float]:
        value = outcome.metrics.get(metric.name)
        if value is None or value != value:
            return (True, 0.0)
        return (False, value if metric.goal == "minimize" else -value)

    return sorted(outcomes, key=rank)


def best_of(outcomes: Sequence[Outcome], metric: Metric) -> Outcome | None:
    """Return the best finished run, or None where none has the metric."""
    finished = [outcome for outcome in outcomes if outcome.status == "FINISHED"]
    first = ranked(finished, metric)[:1]
    value = first[0].metrics.get(metric.name) if first else None
    return first[0] if value is not None and value == value else None


def outcome_table(outcomes: Sequence[Outcome], metric: Metric, axes: Sequence[str]) -> str:
    """Return the runs, the best first: folder, varied values, metrics, steps, time, status."""
    names = list(dict.fromkeys((metric.name, "val_loss", "loss")))
    header = ["run", *axes, *names, "steps", "time", "status"]
    rows = [
        [
            outcome.folder.name,
            *(_short(outcome.run.axes.get(axis)) for axis in axes),
            *(_number(outcome.metrics, name) for name in names),
            str(outcome.steps) if outcome.steps else "-",
            duration(outcome.seconds),
            _status(outcome),
        ]
        for outcome in ranked(outcomes, metric)
    ]
    return text_table(header, rows)


def _status(outcome: Outcome) -> str:
    """Return how a run ended, in words."""
    if outcome.status == "PRUNED":
        return outcome.reason or STATUS_WORDS["PRUNED"]
    return "done before" if outcome.reused else STATUS_WORDS[outcome.status]


def _short(value: object) -> str:
    text = label(value)
    return Path(text).name if "/" in text and len(text) > 30 else text


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.5g}" if name in metrics else "-"
