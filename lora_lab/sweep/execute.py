"""Trains the runs of a plan one after another; none of them can end the others."""

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.lint import Finding
from lora_lab.sweep.plan import PlannedRun
from lora_lab.sweep.run_folder import (
    CONFIG,
    ERROR,
    LINT,
    RunRecord,
    claim,
    finished_runs,
    lora_of,
    read_record,
    write_record,
)
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import Artifact, Event, Record, RunEnded, Status
from lora_lab.tracking.whole_file import write_whole


class Progress(Protocol):
    """How far a training is."""

    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def total_steps(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float | None: ...  # noqa: D102
    @property
    def message(self) -> str: ...  # noqa: D102


class TrainResult(Protocol):
    """What a training gives back: the LoRA file, the final metrics, steps and seconds."""

    @property
    def lora(self) -> Path: ...  # noqa: D102
    @property
    def metrics(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102


class Train(Protocol):
    """Trains one config into `folder`. Raises `Failure` for what the user can mend."""

    def __call__(  # noqa: D102
        self, config: TrainConfig, *, folder: Path, record: Record, progress: Callable[[Progress], None]
    ) -> TrainResult: ...


class Recording(Protocol):
    """Where a run's events go; closed when the run is over."""

    def __call__(self, event: Event) -> None: ...  # noqa: D102
    def close(self) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class Job:
    """A planned run with its config, its identity and what lint said."""

    run: PlannedRun
    config: TrainConfig
    identity: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `reused` runs were trained by an earlier sweep; `reason` is a line where it did not finish."""

    run: PlannedRun
    status: Status
    folder: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    lora: Path | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""
    reused: bool = False


class Watch(Protocol):
    """Who is shown what happens."""

    def started(self, job: Job, folder: Path) -> None: ...  # noqa: D102
    def progressed(self, job: Job, progress: Progress) -> None: ...  # noqa: D102
    def ended(self, outcome: Outcome) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Surroundings:
    """What the execution is given from outside: who trains, who records (by run folder), who watches."""

    train: Train
    open_recorder: Callable[[Path], Recording]
    watch: Watch


@dataclass(frozen=True)
class Executed:
    """The outcomes in the order of the jobs; after an interruption the runs to come are missing."""

    outcomes: tuple[Outcome, ...]
    interrupted: bool


def execute(jobs: Sequence[Job], sweep_name: str, sweep_folder: Path, around: Surroundings) -> Executed:
    """Train every job into a folder of its own below `sweep_folder`; equal runs are trained once.

    Raises `Failure` only where `sweep_folder` cannot be written.
    """
    done = finished_runs(sweep_folder)
    outcomes: list[Outcome] = []
    for job in jobs:
        if job.identity in done:
            outcome = _reused(job, *done[job.identity])
            around.watch.ended(outcome)
        else:
            outcome = _Attempt(job, sweep_name, claim(sweep_folder), around).run()
        outcomes.append(outcome)
        if outcome.status == "KILLED":
            return Executed(tuple(outcomes), interrupted=True)
        record = read_record(outcome.folder)
        if outcome.status == "FINISHED" and record is not None:
            done.setdefault(job.identity, (outcome.folder, record))
    return Executed(tuple(outcomes), interrupted=False)


def _reused(job: Job, folder: Path, record: RunRecord) -> Outcome:
    """Return the outcome of a run that was trained before."""
    return Outcome(
        run=job.run,
        status="FINISHED",
        folder=folder,
        metrics=record.metrics,
        lora=lora_of(folder, record),
        steps=record.steps,
        seconds=record.seconds,
        reused=True,
    )


@dataclass
class _Attempt:
    """One run being trained into `folder`."""

    job: Job
    sweep_name: str
    folder: Path
    around: Surroundings

    def run(self) -> Outcome:
        """Train; whatever happens becomes an outcome, written to `run.json` and told to the tracker."""
        started, clock = _now(), time.monotonic()
        config = self.job.config.model_copy(
            update={"output_folder": str(self.folder), "multi_run_folder": None, "load_json_path": None}
        )
        note = RunRecord(
            identity=self.job.identity,
            name=self.job.run.name,
            status="RUNNING",
            axes=self.job.run.axes,
            started=started,
        )
        self._prepare(config, note)
        record = self.around.open_recorder(self.folder)
        try:
            record(run_started(config, name=self.job.run.name, tags=self._tags()))
            record(Artifact(path=self.folder / CONFIG))
            record(Artifact(path=self.folder / LINT))
            self.around.watch.started(self.job, self.folder)
            outcome = self._train(config, record)
            if outcome.status != "FINISHED":
                outcome = replace(outcome, seconds=time.monotonic() - clock)
            self._finish(outcome, note, record)
        finally:
            record.close()
        self.around.watch.ended(outcome)
        return outcome

    def _prepare(self, config: TrainConfig, note: RunRecord) -> None:
        """Write what is known before the first step; raises `Failure` where the disk takes nothing."""
        findings = [{**asdict(finding), "span": None, "fix": None} for finding in self.job.findings]
        try:
            write_whole(self.folder / CONFIG, _json(config.model_dump(mode="json")))
            write_whole(self.folder / LINT, _json(findings))
            write_record(self.folder, note)
        except OSError as error:
            what = f"cannot write to {self.folder}: {error.strerror}"
            raise Failure(what, "free the disk, or give another folder with --output-folder") from error

    def _train(self, config: TrainConfig, record: Record) -> Outcome:
        def progress(step: Progress) -> None:
            self.around.watch.progressed(self.job, step)

        try:
            result = self.around.train(config, folder=self.folder, record=record, progress=progress)
        except KeyboardInterrupt:
            return self._unfinished("KILLED", "interrupted")
        except Failure as failure:
            return self._unfinished("FAILED", str(failure))
        except Exception as error:  # a run that breaks must not take the others with it
            with contextlib.suppress(OSError):
                write_whole(self.folder / ERROR, traceback.format_exc())
            lines = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"
            return self._unfinished("FAILED", f"{reason} (all of it in {self.folder / ERROR})")
        return Outcome(
            run=self.job.run,
            status="FINISHED",
            folder=self.folder,
            metrics=result.metrics,
            lora=result.lora,
            steps=result.steps,
            seconds=result.seconds,
        )

    def _unfinished(self, status: Status, reason: str) -> Outcome:
        return Outcome(run=self.job.run, status=status, folder=self.folder, reason=reason)

    def _finish(self, outcome: Outcome, note: RunRecord, record: Record) -> None:
        """Keep the outcome on the disk and tell the tracker."""
        lora = outcome.lora
        if lora is not None:
            record(Artifact(path=lora))
        if (self.folder / ERROR).is_file():
            record(Artifact(path=self.folder / ERROR))
        record(RunEnded(status=outcome.status, message=outcome.reason))
        inside = lora is not None and lora.absolute().is_relative_to(self.folder.absolute())
        shown = lora.absolute().relative_to(self.folder.absolute()).as_posix() if lora and inside else lora
        final = replace(
            note,
            status=outcome.status,
            metrics=dict(outcome.metrics),
            lora=None if shown is None else str(shown),
            steps=outcome.steps,
            seconds=round(outcome.seconds, 3),
            finished=_now(),
            reason=outcome.reason,
        )
        with contextlib.suppress(OSError):  # a full disk costs the note, not the runs to come
            write_record(self.folder, final)

    def _tags(self) -> dict[str, str]:
        severities = [finding.severity for finding in self.job.findings]
        return {
            "lora_lab.run": "train",
            "lora_lab.sweep": self.sweep_name,
            "lora_lab.run_folder": str(self.folder),
            "lora_lab.identity": self.job.identity,
            "lora_lab.lint.warnings": str(severities.count("warning")),
            "lora_lab.lint.infos": str(severities.count("info")),
        }


def _now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _json(body: object) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False, default=str) + "\n"
