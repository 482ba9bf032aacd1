"""The folders that runs are written to: `run1`, `run2`, …, never over an older run."""

import contextlib
import functools
import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from lora_lab.failure import Failure
from lora_lab.locks import held_if_free
from lora_lab.sweep.roles import Job, Outcome
from lora_lab.whole_files import write_whole

RECORD = "run.json"
CONFIG = "config.json"
LINT = "lint.json"
ERROR = "error.txt"
LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What `run.json` says. Times are ISO 8601 in UTC; `lora` is relative to the run's folder where it lies in it.

    `seconds` were spent on `together` runs at a time, on the machine of that name.
    """

    identity: str
    name: str
    status: str
    axes: Mapping[str, object]
    metrics: Mapping[str, float] = field(default_factory=dict)
    lora: str | None = None
    steps: int = 0
    seconds: float = 0.0
    started: str = ""
    finished: str = ""
    reason: str = ""
    machine: str = ""
    together: int = 1
    rule: str = ""  # that has cut the run short
    validation: str = ""  # what its validation loss was measured on; "" in the records of earlier versions


def claim(sweep_folder: Path) -> Path:
    """Make and return the next free `runN`; two sweeps in one folder never get the same. Raises `Failure`."""
    try:
        sweep_folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number(path) for path in sweep_folder.iterdir()), default=0)
        while True:
            folder = sweep_folder / f"run{number}"
            if not folder.exists():
                try:
                    folder.mkdir()
                except FileExistsError:  # another sweep was quicker
                    continue
                return folder
            number += 1
    except OSError as error:
        what = f"cannot write to {sweep_folder}: {error.strerror}"
        raise Failure(what, "give another folder with --output-folder") from error


def place_of(identity: str, sweep_folder: Path, taken: Container[Path] = ()) -> Path:
    """Return the folder for a run: that of an attempt at it which did not finish, else the next free one.

    Folders in `taken` are somebody's already.

    Whoever trains there goes on from what that attempt left. Raises `Failure`.
    """
    for folder in run_folders(sweep_folder):
        record = read_record(folder)
        unfinished = record is not None and record.identity == identity and record.status != "FINISHED"
        if unfinished and folder not in taken:
            with contextlib.suppress(OSError), held_if_free(folder / LOCK) as free:
                if free:  # nobody else is at it
                    return folder
    return claim(sweep_folder)


def run_folders(sweep_folder: Path) -> list[Path]:
    """Return the folders of a sweep's runs, in the order of their numbers; none where there is no such folder."""
    if not sweep_folder.is_dir():
        return []
    return sorted((path for path in sweep_folder.iterdir() if _number(path)), key=_number)


def _number(path: Path) -> int:
    digits = path.name.removeprefix("run")
    return int(digits) if path.name.startswith("run") and digits.isascii() and digits.isdigit() else 0


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json` whole; raises `OSError`."""
    write_whole(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False, default=str) + "\n")


@functools.cache
def _checked() -> TypeAdapter[RunRecord]:
    """Return what makes records and refuses values of other types: a folder may come from anywhere."""
    return TypeAdapter(RunRecord)


def read_record(folder: Path) -> RunRecord | None:
    """Return what `run.json` says, or None where there is none that can be read."""
    try:
        body = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return _checked().validate_python(body)
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def lora_of(folder: Path, record: RunRecord) -> Path | None:
    """Return the LoRA file of a recorded run, or None where it has none (any more)."""
    path = None if record.lora is None else folder / record.lora
    return path if path is not None and is_there(path) else None


def is_there(path: Path) -> bool:
    """Return whether a file is there; not under a name that no file can have, whoever wrote it down."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def finished_runs(sweep_folder: Path) -> dict[str, tuple[Path, RunRecord]]:
    """Return every finished run below `sweep_folder` whose LoRA is there, by identity; of equal ones the first."""
    found: dict[str, tuple[Path, RunRecord]] = {}
    for folder in run_folders(sweep_folder):
        record = read_record(folder)
        if record is not None and record.status == "FINISHED" and lora_of(folder, record) is not None:
            found.setdefault(record.identity, (folder, record))
    return found


def cut_short(sweep_folder: Path, rule: str) -> dict[str, tuple[Path, RunRecord]]:
    """Return the runs below `sweep_folder` that this rule has cut short, by identity."""
    found: dict[str, tuple[Path, RunRecord]] = {}
    for folder in run_folders(sweep_folder):
        record = read_record(folder)
        if record is not None and record.status == "PRUNED" and record.rule == rule:
            found[record.identity] = (folder, record)
    return found


def done_before(job: Job, sweep_folder: Path) -> tuple[Path, RunRecord] | None:
    """Return the folder and record of a run that needs no training: it has finished, or its rule has cut it short."""
    known = finished_runs(sweep_folder).get(job.identity)
    if known is None and job.rule is not None:
        known = cut_short(sweep_folder, job.rule.text).get(job.identity)
    return known


def reused(job: Job, folder: Path, record: RunRecord) -> Outcome:
    """Return the outcome of a run that was trained before, or cut short."""
    return Outcome(
        run=job.run,
        status="PRUNED" if record.status == "PRUNED" else "FINISHED",
        folder=folder,
        metrics=record.metrics,
        lora=lora_of(folder, record),
        steps=record.steps,
        seconds=record.seconds,
        reason=record.reason if record.status == "PRUNED" else "",
        reused=True,
        validation=record.validation,
    )
