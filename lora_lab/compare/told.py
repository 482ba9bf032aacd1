"""What a run has told, read from its `events.jsonl` in one pass: quick, since a sweep's files have a million lines."""

import json
import re
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lora_lab.tracking.events import LoraModel, Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.tracking.spool import EVENTS, decode

Points = list[tuple[int, float]]

_METRICS: Final = b'{"kind": "Metrics"'
_SYSTEM: Final = b'{"kind": "SystemMetrics"'
_STEP: Final = re.compile(rb'"step": (\d+)')
_VALUE: Final = re.compile(rb"[^,}]+")
_VALUES: Final = b'"values": {'
_LONGEST_MS: Final = 10**12
_MOST_DIGITS: Final = 12
_LAST: Final = 50
"""Lines with numbers that are read whole at a run's end: by then every number that is told regularly is among them."""


@dataclass
class Told:
    """What a run said: its parameters and tags, its newest numbers, the curves that were asked for, its pictures.

    `ended` is the status of its last end, "" where it has none; `steps` the last step; times are milliseconds since
    1970.
    """

    name: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    pictures: list[SamplePicture] = field(default_factory=list)
    lora: Path | None = None
    ended: str = ""
    message: str = ""
    steps: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def seconds(self) -> float:
        """The time between its first and last event."""
        return min(max(self.last_ms - self.first_ms, 0), _LONGEST_MS) / 1000

    def points(self, metric: str) -> Points:
        """Return a curve, in the order of its steps."""
        return sorted(self.curves.get(metric, {}).items())


def read_told(folder: Path, curves: Collection[str]) -> Told | None:
    """Return what the run in a folder has told, with these curves; None where it has told nothing.

    A line that is torn, or no event, is passed over.
    """
    try:
        data = (folder / EVENTS).read_bytes()
    except OSError:
        return None
    told = Told(curves={name: {} for name in curves})
    wanted = [(json.dumps(name, ensure_ascii=False).encode() + b": ", told.curves[name]) for name in curves]
    last: deque[bytes] = deque(maxlen=_LAST)
    for line in data.split(b"\n"):
        if line.startswith(_SYSTEM):
            continue
        if not line.startswith(_METRICS):
            _hear(told, line, folder)
            continue
        last.append(line)
        asked = [(key, curve) for key, curve in wanted if key in line]
        if asked:
            _add_points(line, asked)
    for name, curve in told.curves.items():
        if curve:
            told.metrics[name] = curve[max(curve)]
    for line in last:
        _hear(told, line, folder)
    return told if told.last_ms else None


def _add_points(line: bytes, asked: Sequence[tuple[bytes, dict[int, float]]]) -> None:
    """Take numbers out of a line as the spool writes it, without reading all of the line's JSON."""
    values = line.find(_VALUES)
    found = _STEP.search(line, 0, values) if values > 0 else None
    if found is None or len(found[1]) > _MOST_DIGITS:
        return
    step = int(found[1])
    for key, curve in asked:
        start = line.find(key, values)
        value = _VALUE.match(line, start + len(key)) if start > 0 else None
        try:
            if value is not None:
                curve[step] = float(value[0])
        except ValueError:
            continue


def _hear(told: Told, line: bytes, folder: Path) -> None:
    """Take down an event of any kind."""
    spooled = decode(line.decode("utf-8", errors="replace"), folder, 0) if line else None
    if spooled is None:
        return
    event = spooled.event
    told.first_ms = told.first_ms or spooled.time_ms
    told.last_ms = max(told.last_ms, spooled.time_ms)
    match event:
        case RunStarted():
            told.name = event.name or told.name
            told.params = {**event.params, **told.params}
            told.tags = {**told.tags, **event.tags}
            told.ended = ""
        case Metrics() if 0 <= event.step < 10**_MOST_DIGITS:
            told.steps = max(told.steps, event.step)
            told.metrics.update(event.values)
            for name in told.curves.keys() & event.values.keys():
                told.curves[name][event.step] = event.values[name]
        case SamplePicture():
            told.pictures.append(event)
        case LoraModel():
            told.lora = event.path
        case RunEnded():
            told.ended, told.message = event.status, event.message
        case _:
            pass
