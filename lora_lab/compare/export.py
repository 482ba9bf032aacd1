"""A comparison for other programs: JSON, and CSV that a spreadsheet does not take for formulas."""

import csv
import io
import json
import math
from collections.abc import Mapping

from lora_lab.compare.comparison import Comparison, Row, value_of
from lora_lab.compare.run import Run
from lora_lab.sweep.grid import SEED

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_json(found: Comparison) -> str:
    """Return everything that is known as one JSON object; what is no finite number is null."""
    body = {
        "metric": found.metric,
        "goal": found.goal,
        "columns": list(found.columns),
        "averaged": list(found.averaged),
        "noise": None if found.noise is None else {"sd": found.noise.sd, "freedom": found.noise.freedom},
        "what_mattered": dict(found.shares),
        "not_comparable": dict(found.comparable.reasons),
        "not_begun": found.planned,
        "settings": [_setting(row) for row in found.rows],
    }
    return _whole(json.dumps(_finite(body), indent=1, ensure_ascii=False, default=str))


def _setting(row: Row) -> dict[str, object]:
    spread = row.spread
    return {
        "values": dict(row.values),
        "group": row.letter or None,
        "mean": None if spread is None else spread.mean,
        "sd": None if spread is None else spread.sd,
        "n": 0 if spread is None else spread.n,
        "behind": row.behind,
        "within_noise": row.within,
        "runs": [_run(run) for run in row.runs],
    }


def _run(run: Run) -> dict[str, object]:
    return {
        "name": run.name,
        "folder": str(run.folder),
        "sweep": run.sweep or None,
        "status": run.status,
        "reason": run.reason or None,
        "seed": run.seed,
        "axes": dict(run.axes),
        "metrics": dict(run.metrics),
        "best": None if run.best is None else {"step": run.best[0], "value": run.best[1]},
        "steps": run.steps,
        "total_steps": run.total_steps or None,
        "seconds": run.seconds,
        "lora": None if run.lora is None else str(run.lora),
        "validation_set": run.judging.told or None,
    }


def _finite(value: object) -> object:
    """Return the value without NaN and infinities, which JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value


def as_csv(found: Comparison) -> str:
    """Return a line for each run, in the order of the comparison.

    A text that a spreadsheet would take for a formula gets a ' in front, which spreadsheets do not show (OWASP, CSV
    injection).
    """
    columns = (*found.columns, *([] if SEED in found.columns else [SEED]))
    metrics = tuple(dict.fromkeys((found.metric, "val_loss", "loss")))
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    head = ["run", "sweep", *columns, *metrics, "best", "best_step", "group", "steps", "seconds", "status"]
    writer.writerow([_harmless(name) for name in (*head, "folder", "lora")])
    for row in found.rows:
        for run in row.runs:
            values = [value_of(run, name) for name in columns]
            numbers = [run.metrics.get(name) for name in metrics]
            step, best = run.best if run.best is not None else (None, None)
            known = [run.folder.name, run.sweep, *values, *numbers, best, step, row.letter]
            known += [run.steps, run.seconds, run.status, run.folder, run.lora]
            writer.writerow([_harmless(value) for value in known])
    return _whole(content.getvalue())


def _whole(text: str) -> str:
    """Return the text with ? for halves of letters, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _harmless(value: object) -> object:
    """Return a cell: numbers as they are, texts so that no spreadsheet calculates them."""
    if value is None or isinstance(value, (int, float)):
        return "" if value is None else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"'{text}" if text.startswith(_BEGINS_A_FORMULA) else text
