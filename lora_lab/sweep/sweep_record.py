"""What a sweep leaves in its folder about itself, and how its runs stand as anybody can see from there."""

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from lora_lab.locks import held_if_free
from lora_lab.sweep.attempt import TOTAL_STEPS
from lora_lab.sweep.plan import Plan
from lora_lab.sweep.roles import Job
from lora_lab.sweep.run_folder import LOCK, RunRecord, read_record, run_folders
from lora_lab.tracking.events import VALIDATION_SET, Metrics, RunStarted
from lora_lab.tracking.spool import read_events
from lora_lab.whole_files import write_whole

SWEEP = "sweep.json"

State = Literal["finished", "training", "interrupted", "failed", "cut short", "waiting"]


_UNFINISHED: Mapping[str, State] = {"FAILED": "failed", "PRUNED": "cut short"}


@dataclass(frozen=True)
class SweepRecord:
    """What `sweep.json` says: the sweep's name, what it is judged by, what is varied, and its runs in their order."""

    name: str
    metric: str
    goal: str
    axes: tuple[str, ...]
    runs: tuple[Mapping[str, Any], ...]  # name, identity, axes
    planned: int = 0  # runs that there will be: a search knows the next ones only when it comes to them


@dataclass(frozen=True)
class RunState:
    """How one run stands. `folder` is None where nobody has begun it."""

    name: str
    state: State
    axes: Mapping[str, object]
    folder: Path | None = None
    step: int = 0
    total_steps: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""
    validation: str = ""  # what its validation loss is measured on, as the tag VALIDATION_SET


def write_sweep(folder: Path, plan: Plan, jobs: Sequence[Job], planned: int = 0) -> None:
    """Write `sweep.json`: the jobs that are known, of `planned` where there will be more. Raises `OSError`."""
    runs = tuple({"name": job.run.name, "identity": job.identity, "axes": dict(job.run.axes)} for job in jobs)
    metric = plan.metric
    record = SweepRecord(plan.name, metric.name, metric.goal, tuple(plan.axes), runs, max(planned, len(runs)))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / SWEEP, json.dumps(asdict(record), indent=1, ensure_ascii=False, default=str) + "\n")


@functools.cache
def _checked() -> TypeAdapter[SweepRecord]:
    """Return what makes records and refuses values of other types: a folder may come from anywhere."""
    return TypeAdapter(SweepRecord)


def read_sweep(folder: Path) -> SweepRecord | None:
    """Return what `sweep.json` says, or None where there is none that can be read."""
    try:
        body = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        return _checked().validate_python(body)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def states(folder: Path, sweep: SweepRecord) -> Iterator[RunState]:
    """Yield how each run of a sweep stands, from what lies in its folders; nothing is changed there."""
    begun: dict[str, tuple[Path, RunRecord]] = {}
    for run_folder in run_folders(folder):
        record = read_record(run_folder)
        if record is not None and (record.identity not in begun or record.status == "FINISHED"):
            begun[record.identity] = (run_folder, record)
    for run in sweep.runs:
        name, axes = str(run["name"]), run["axes"]
        found = begun.get(run["identity"])
        yield RunState(name, "waiting", axes) if found is None else _state(name, axes, *found)


def _state(name: str, axes: Mapping[str, object], folder: Path, record: RunRecord) -> RunState:
    if record.status == "FINISHED":
        return RunState(
            name,
            "finished",
            axes,
            folder,
            record.steps,
            record.steps,
            dict(record.metrics),
            record.seconds,
            validation=record.validation,
        )
    step, total, metrics, validation = _heard(folder)
    state = _UNFINISHED.get(record.status, "interrupted")
    with contextlib.suppress(OSError), held_if_free(folder / LOCK) as free:
        state = state if free else "training"
    return RunState(name, state, axes, folder, step, total, metrics, record.seconds, record.reason, validation)


def _heard(folder: Path) -> tuple[int, int, dict[str, float], str]:
    """Return how far a run says that it is: the step, all its steps, its newest metrics, what it is judged on."""
    step, total, validation = 0, 0, ""
    metrics: dict[str, float] = {}
    with contextlib.suppress(OSError):
        for spooled in read_events(folder, 0):
            event = spooled.event
            if isinstance(event, Metrics):
                step = max(step, event.step)
                metrics.update(event.values)
            elif isinstance(event, RunStarted):
                validation = event.tags.get(VALIDATION_SET, validation)
                if event.params.get(TOTAL_STEPS, "").isdigit():
                    total = int(event.params[TOTAL_STEPS])
    return step, total, metrics, validation
