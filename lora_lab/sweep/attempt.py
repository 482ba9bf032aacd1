"""One run, from its empty folder to its outcome."""

import contextlib
import json
import time
import traceback
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.locks import held
from lora_lab.sweep.roles import Job, Outcome, Progress, Surroundings
from lora_lab.sweep.run_folder import CONFIG, ERROR, LINT, LOCK, RunRecord, write_record
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import Artifact, Event, Record, RunEnded, RunStarted, Status
from lora_lab.whole_files import write_whole


@dataclass
class _OfTheSweep:
    """Passes a training's events on, as those of a run of the sweep.

    The sweep has said already how the run is called and what its parameters are, and it says how the run ended: the
    training's start only adds what is new, and its end is left out.
    """

    record: Record
    start: RunStarted
    files: set[Path] = field(default_factory=set)

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunEnded):
            return
        if isinstance(event, RunStarted):
            new = {key: value for key, value in event.params.items() if key not in self.start.params}
            event = replace(self.start, params=new, tags={**event.tags, **self.start.tags})
        if isinstance(event, Artifact):
            self.files.add(event.path)
        self.record(event)


@dataclass
class Attempt:
    """One run being trained into `folder`."""

    job: Job
    sweep_name: str
    folder: Path
    around: Surroundings

    def run(self) -> Outcome:
        """Train; whatever happens becomes an outcome, written to `run.json` and told to the tracker."""
        with held(self.folder / LOCK):
            return self._run()

    def _run(self) -> Outcome:
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
            start = run_started(config, name=self.job.run.name, tags=self._tags())
            record(start)
            record(Artifact(path=self.folder / CONFIG))
            record(Artifact(path=self.folder / LINT))
            self.around.watch.started(self.job, self.folder)
            ours = _OfTheSweep(record, start)
            outcome = self._train(config, ours)
            if outcome.status != "FINISHED":
                outcome = replace(outcome, seconds=time.monotonic() - clock)
            self._finish(outcome, note, ours)
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
            (self.folder / ERROR).unlink(missing_ok=True)
        except OSError as error:
            what = f"cannot write to {self.folder}: {error.strerror}"
            raise Failure(what, "free the disk, or give another folder with --output-folder") from error

    def _train(self, config: TrainConfig, record: Record) -> Outcome:
        def progress(step: Progress) -> None:
            self.around.watch.progressed(self.job, step)

        try:
            result = self.around.train(config, folder=self.folder, record=record, progress=progress)
        except KeyboardInterrupt as error:
            return self._unfinished("KILLED", str(error) or "interrupted")
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

    def _finish(self, outcome: Outcome, note: RunRecord, ours: _OfTheSweep) -> None:
        """Keep the outcome on the disk and tell the tracker."""
        lora = outcome.lora
        if lora is not None and lora not in ours.files:
            ours(Artifact(path=lora))
        if (self.folder / ERROR).is_file():
            ours(Artifact(path=self.folder / ERROR))
        ours.record(RunEnded(status=outcome.status, message=outcome.reason))
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
