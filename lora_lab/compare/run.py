"""One run as it is compared: what it was, how it ended, what it reached. Read from its folder alone."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_lab.compare.find import Place
from lora_lab.compare.thin import Thin, thinned
from lora_lab.compare.told import Told, read_told
from lora_lab.config import PARAMETERS, UNDECIDING
from lora_lab.sweep.attempt import TOTAL_STEPS
from lora_lab.sweep.comparable import Judging, settings_of
from lora_lab.sweep.grid import SEED
from lora_lab.sweep.run_folder import CONFIG, LINT, RunRecord, is_there, lora_of, read_record
from lora_lab.tracking.events import DECIDES, VALIDATION_SET, SamplePicture

_DRAWING = frozenset({"sample_prompts", "sample_every_n_epochs", "sample_every_n_steps", "sample_sampler"})
MOST_STEPS = 10**12
NOT_COMPARED = UNDECIDING | _DRAWING
"""Parameters that do not decide what a run learns."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run. `values` are its effective parameters, `axes` those that its sweep varies.

    `best` is the step at which the metric was best, and its value there; `curves` are thinned. `status` is FINISHED,
    FAILED, KILLED, PRUNED, or RUNNING for one that has not ended.
    """

    name: str
    folder: Path
    sweep: str
    status: str
    identity: str
    values: Mapping[str, object]
    axes: Mapping[str, object]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    judging: Judging
    best: tuple[int, float] | None = None
    curves: Mapping[str, Sequence[Thin]] = field(default_factory=dict)
    pictures: Sequence[SamplePicture] = ()
    findings: Sequence[Mapping[str, object]] = ()
    lora: Path | None = None
    steps: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    reason: str = ""

    @property
    def seed(self) -> object:
        """The seed of the training."""
        return self.values.get(SEED, self.axes.get(SEED))

    @property
    def finished(self) -> bool:
        """Whether it has come to its planned end."""
        return self.status == "FINISHED"


@dataclass(frozen=True)
class Wanted:
    """What is read of each run: curves of so many points at most, and what the curve's best is, by `metric`'s goal."""

    metric: str
    smallest: bool = True
    curves: Collection[str] = ()
    points: int = 120


def read_run(place: Place, wanted: Wanted) -> Run | None:
    """Return the run of a folder; None where nothing there can be read."""
    record = read_record(place.folder)
    told = read_told(place.folder, {wanted.metric, "val_loss", *wanted.curves})
    if record is None and told is None:
        return None
    told = told or Told()
    values = _values(place.folder, told)
    points = [(step, value) for step, value in told.points(wanted.metric) if step and math.isfinite(value)]
    choose = min if wanted.smallest else max
    facts = _facts(place, record, told)
    return Run(
        **facts,
        sweep=_sweep_of(place),
        values=values,
        tags=told.tags,
        judging=Judging(_validation(record, told), settings_of(values)),
        best=choose(points, key=lambda point: point[1]) if points else None,
        curves={name: thinned(told.points(name), wanted.points) for name in wanted.curves},
        pictures=tuple(told.pictures),
        findings=_findings(place.folder),
        total_steps=_whole(told.params.get(TOTAL_STEPS, "")),
    )


def _facts(place: Place, record: RunRecord | None, told: Told) -> dict[str, Any]:
    """Return what a sweep's note of the run says, or for a single run what it has told itself."""
    if record is None:
        return {
            "name": place.folder.name,
            "folder": place.folder,
            "status": told.ended or "RUNNING",
            "identity": told.tags.get(DECIDES, ""),
            "axes": {},
            "metrics": told.metrics,
            "lora": told.lora if told.lora is not None and is_there(told.lora) else None,
            "steps": told.steps,
            "seconds": told.seconds,
            "reason": told.message,
        }
    over = record.status in ("FINISHED", "PRUNED")
    return {
        "name": record.name,
        "folder": place.folder,
        "status": record.status,
        "identity": record.identity,
        "axes": record.axes,
        "metrics": {**told.metrics, **record.metrics},
        "lora": lora_of(place.folder, record),
        "steps": min(max(record.steps, 0), MOST_STEPS) if over else told.steps,
        "seconds": record.seconds if math.isfinite(record.seconds) else 0.0,
        "reason": record.reason,
    }


def _sweep_of(place: Place) -> str:
    if place.sweep is not None:
        return place.sweep.name
    return place.sweep_folder.name if place.sweep_folder is not None else ""


def _validation(record: RunRecord | None, told: Told) -> str:
    known = record.validation if record is not None else ""
    return known or told.tags.get(VALIDATION_SET, "")


def _values(folder: Path, told: Told) -> dict[str, object]:
    """Return the effective parameters: of the config in the folder, else of what the run told."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if isinstance(values, dict) and values:
            return {key: values[key] for key in PARAMETERS if key in values}
    except (OSError, ValueError):
        pass
    return {key: _value(key, told.params[key]) for key in PARAMETERS if key in told.params}


def _value(key: str, text: str) -> object:
    """Return the value that a parameter's text stands for: a text is written bare, everything else as JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if PARAMETERS[key].kind is str and isinstance(value, (bool, int, float)) else value


def _findings(folder: Path) -> tuple[Mapping[str, object], ...]:
    try:
        found = json.loads((folder / LINT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0
