"""What the page's script draws, as plain values for JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lora_lab.compare.comparison import Comparison, as_key, is_measured, value_of
from lora_lab.compare.report_pictures import Shown
from lora_lab.compare.run import NOT_COMPARED, Run
from lora_lab.compare.thin import Thin
from lora_lab.config import PARAMETERS
from lora_lab.printable import printable
from lora_lab.sweep.grid import SEED, label, labels

LOG_FROM = 20
"""Greatest value over smallest from which an axis is logarithmic."""


@dataclass(frozen=True)
class Ordered:
    """The runs in the order of the report, the best first, with each one's letter."""

    runs: tuple[Run, ...]
    letters: tuple[str, ...]


def ordered(found: Comparison) -> Ordered:
    """Return the runs group by group, within each by their own value."""
    runs = []
    for letter in dict.fromkeys(row.letter for row in found.rows):
        members = [run for row in found.rows if row.letter == letter for run in row.runs]
        if letter:
            members.sort(key=lambda run: found.sign * run.metrics[found.metric])
        runs += [(run, letter) for run in members]
    return Ordered(tuple(run for run, _ in runs), tuple(letter for _, letter in runs))


def differing(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return the parameters, the seed among them, that are not the same in all runs."""
    return tuple(
        name
        for name in PARAMETERS
        if name not in NOT_COMPARED and len({as_key(value_of(run, name)) for run in runs}) > 1
    )


def script_data(found: Comparison, order: Ordered, pictures: Shown) -> str:
    """Return the data as JSON that can't end the element it stands in."""
    keys = differing(order.runs)
    axes = [*found.columns, *([SEED] if len({as_key(run.seed) for run in order.runs}) > 1 else [])]
    told = [axis_of(name, order.runs) for name in dict.fromkeys(axes)]
    metrics = [name for name in curve_names(found) if any(run.curves.get(name) for run in order.runs)]
    best = found.best_run
    body = {
        "metric": printable(found.metric),
        "goal": found.goal,
        "best": order.runs.index(best) if best is not None else None,
        "axes": [axis for axis, _ in told],
        "keys": keys,
        "metrics": [printable(name) for name in metrics],
        "prompts": prompts(order.runs),
        "images": pictures.urls,
        "runs": [
            {
                "number": number,
                "order": number if letter == "A" else len(order.runs),
                "name": printable(f"{run.folder.name}: {run.name}"[:200]),
                "folder": printable(str(run.folder)),
                "group": letter,
                "status": printable(run.status),
                "value": run.metrics[found.metric] if is_measured(run, found.metric) else None,
                "steps": run.steps,
                "axes": [values[number] for _, values in told],
                "settings": [printable(label(value_of(run, key))) for key in keys],
                "curves": {printable(name): _points(run.curves[name]) for name in metrics if run.curves.get(name)},
                "pictures": {printable(key): steps for key, steps in pictures.places.get(number, {}).items()},
            }
            for number, (run, letter) in enumerate(zip(order.runs, order.letters, strict=True))
        ],
    }
    text = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def curve_names(found: Comparison) -> tuple[str, ...]:
    """Return the metrics that are drawn over the steps, the one compared by first."""
    return tuple(dict.fromkeys((found.metric, *CURVES)))


CURVES = ("val_loss", "loss", "lr/unet")


def axis_of(name: str, runs: Sequence[Run]) -> tuple[dict[str, object], list[float | None]]:
    """Return an axis for the script, and each run's place on it: a number, or the place of its text."""
    values = [value_of(run, name) for run in runs]
    shown = printable(name)
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if known and len(known) == sum(value is not None for value in values):
        low, high = min(known), max(known)
        log = low > 0 and high / low >= LOG_FROM
        axis: dict[str, object] = {"name": shown, "kind": "number", "log": log}
        return axis, numbers
    kinds = list({as_key(value): value for value in values}.values())
    texts = [printable(text) for text in labels(name, kinds)]
    places = {as_key(value): place for place, value in enumerate(kinds)}
    return {"name": shown, "kind": "text", "log": False, "labels": texts}, [places[as_key(value)] for value in values]


def _number(value: object) -> float | None:
    """Return a value as a number that can be drawn; None for what is none."""
    drawable = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e100
    return value if drawable and isinstance(value, (int, float)) else None


def prompts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return the prompts' keys, each with its text where the runs' settings have it."""
    keys = sorted({picture.key for run in runs for picture in run.pictures})
    written = next((run.values.get("sample_prompts") for run in runs if run.pictures), None)
    texts = written if isinstance(written, list) else []
    return [(printable(key), printable(_prompt(key, texts))) for key in keys]


def _prompt(key: str, texts: Sequence[object]) -> str:
    number = key.rpartition("_")[2]
    place = int(number) if number.isascii() and number.isdigit() else len(texts)
    return f"{key}: {str(texts[place])[:100]}" if place < len(texts) else key


def _points(curve: Sequence[Thin]) -> list[list[float]]:
    """Return the points as [step, mean, low, high], or [step, value] where a stretch is one point."""
    return [
        [one.step, _short(one.mean)] if one.low == one.high else [one.step, *map(_short, (one.mean, one.low, one.high))]
        for one in curve
    ]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
