"""Runs that are trained as one pack, from their empty folders to their outcomes."""

import contextlib
import json
import platform
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from lora_lab import memory
from lora_lab.failure import CutShort, Failure, Stopped
from lora_lab.locks import held
from lora_lab.printable import printable_lines
from lora_lab.sweep.referee import Referee
from lora_lab.sweep.roles import (
    EndStatus,
    Job,
    Outcome,
    Progress,
    Recording,
    Rule,
    RunProgress,
    RunToTrain,
    Surroundings,
    TrainResult,
)
from lora_lab.sweep.run_folder import CONFIG, ERROR, LINT, LOCK, RunRecord, read_record, write_record
from lora_lab.sweep.summary import finding_tags, findings_text, run_note
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import (
    VALIDATION_SET,
    Artifact,
    Event,
    Metrics,
    Noted,
    Record,
    RunEnded,
    RunStarted,
    Status,
)
from lora_lab.whole_files import write_whole

TOTAL_STEPS = "derived.total_steps"
"""The parameter in which a training says how long it is going to be."""


CUT_SHORT = "lora_lab.cut_short"
"""The tag that says where a run was cut short; empty where it went on after all."""


class OutOfMemory(Exception):
    """The machine has not enough memory for a pack: fewer runs at a time may fit."""


def train_together(
    jobs: Sequence[Job], folders: Sequence[Path], sweep_name: str, around: Surroundings
) -> list[Outcome]:
    """Train runs as one pack, each into its folder; what becomes of each is written to its `run.json` at once.

    Raises `Failure` where a folder cannot be written, OutOfMemory where fewer runs could fit.
    """
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(held(folder / LOCK))
        attempts = []
        for job, folder in zip(jobs, folders, strict=True):
            attempts.append(attempt := _Attempt(job, sweep_name, folder, around, len(jobs)))
            attempt.prepare()
        for attempt in attempts:
            stack.callback(attempt.begin().close)
        _train(attempts, around)
        return [attempt.outcome for attempt in attempts if attempt.outcome is not None]


def _train(attempts: Sequence["_Attempt"], around: Surroundings) -> None:
    """Call the trainer; whatever happens becomes the outcome of those runs that have none yet."""

    def progress(step: Progress) -> None:
        for attempt in _heard_by(attempts, step):
            attempt.stepped(step)

    try:
        results = around.train([attempt.to_train for attempt in attempts], progress)
        for attempt, result in zip(attempts, results, strict=True):
            attempt.end(result)
    except KeyboardInterrupt as error:
        for attempt in attempts:
            attempt.break_off("KILLED", str(error) or "interrupted", error.number if isinstance(error, Stopped) else 0)
    except Failure as failure:
        _fail_all(attempts, str(failure))
    except Exception as error:  # a run that breaks must not take the others with it
        if memory.ran_out(error) and len(attempts) > 1:
            raise OutOfMemory(f"not enough memory for {len(attempts)} runs at a time") from error
        for attempt in attempts:
            attempt.keep_traceback()
        _fail_all(attempts, _in_a_line(error))


def _heard_by(attempts: Sequence["_Attempt"], step: Progress) -> Sequence["_Attempt"]:
    """Return the runs that a message goes to: a notice must be seen, but once, and not by as many as there are."""
    if not step.notice:
        return attempts
    if step.about is not None:
        return [attempts[step.about]]
    return [attempt for attempt in attempts if attempt.outcome is None][:1]


def _fail_all(attempts: Sequence["_Attempt"], reason: str) -> None:
    for attempt in attempts:
        attempt.break_off("FAILED", reason)


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if memory.ran_out(error):
        return "not enough memory; lower batch_size or train_resolution, or set gradient_checkpointing to true"
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


@dataclass
class _OfTheSweep:
    """Passes a training's events on, as those of a run of the sweep.

    The sweep has said already how the run is called and what its parameters are, and it says how the run ended: the
    training's start only adds what is new, and its end is left out.
    """

    record: Record
    start: RunStarted
    files: set[Path] = field(default_factory=set)
    heard: dict[str, float] = field(default_factory=dict)
    total_steps: int = 0
    validation: str = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunEnded):
            return
        if isinstance(event, RunStarted):
            with contextlib.suppress(KeyError, ValueError):
                self.total_steps = int(event.params[TOTAL_STEPS])
            self.validation = event.tags.get(VALIDATION_SET, "")
            new = {key: value for key, value in event.params.items() if key not in self.start.params}
            event = replace(self.start, params=new, tags={**event.tags, **self.start.tags})
        if isinstance(event, Artifact):
            self.files.add(event.path)
        if isinstance(event, Metrics):
            self.heard.update(event.values)
        self.record(event)

    def tag(self, name: str, text: str) -> None:
        """Say something more of the run."""
        self.record(replace(self.start, params={}, tags={**self.start.tags, name: text}))


class _Attempt:
    """One run being trained into `folder`."""

    def __init__(self, job: Job, sweep_name: str, folder: Path, around: Surroundings, together: int) -> None:
        self.outcome: Outcome | None = None
        self._referee: Referee | None = None
        self._job = job
        self._sweep_name = sweep_name
        self._folder = folder
        self._around = around
        self._clock = time.monotonic()
        before = read_record(folder)
        self._was_cut_short = before is not None and before.status == "PRUNED"
        self._config = job.config.model_copy(
            update={"output_folder": str(folder), "multi_run_folder": None, "load_json_path": None}
        )
        self._note = RunRecord(
            identity=job.identity,
            name=job.run.name,
            status="RUNNING",
            axes=job.run.axes,
            started=_now(),
            machine=platform.node(),
            together=together,
        )

    def prepare(self) -> None:
        """Write what is known before the first step; raises `Failure` where the disk takes nothing."""
        try:
            write_whole(self._folder / CONFIG, _json(self._config.model_dump(mode="json")))
            write_whole(self._folder / LINT, findings_text(self._job))
            write_record(self._folder, self._note)
            (self._folder / ERROR).unlink(missing_ok=True)
        except OSError as error:
            what = f"cannot write to {self._folder}: {error.strerror}"
            raise Failure(what, "free the disk, or give another folder with --output-folder") from error

    def begin(self) -> Recording:
        """Open the run's record and say what it is going to be."""
        recording = self._around.open_recorder(self._folder)
        tags = {**self._tags(), CUT_SHORT: ""} if self._was_cut_short else self._tags()
        # the config as it was given: a folder of its own would look like something that the sweep has varied
        start = run_started(self._job.config, name=self._job.run.name, tags=tags)
        recording(start)
        recording(Artifact(path=self._folder / CONFIG))
        recording(Artifact(path=self._folder / LINT))
        self._around.watch.started(self._job, self._folder)
        self._ours = _OfTheSweep(recording, start)
        rule = self._job.rule
        if rule is not None:
            self._referee = Referee(rule, self._job.identity, self._folder.parent)
        self.to_train = RunToTrain(
            config=self._config,
            folder=self._folder,
            record=self._ours,
            name=self._job.run.name,
            ended=self.end,
            judge=self._referee,
        )
        return recording

    def stepped(self, progress: Progress) -> None:
        """Tell how far the run is: the pack's step, the run's own length and losses."""
        if self.outcome is not None:
            return
        heard, total = self._ours.heard, self._ours.total_steps or progress.total_steps
        known = RunProgress(
            step=min(progress.step, total),
            total_steps=total if progress.total_steps else 0,
            loss=heard.get("loss", progress.loss),
            val_loss=heard.get("val_loss"),
            message=progress.message,
            notice=progress.notice,
        )
        self._around.watch.progressed(self._job, known)

    def end(self, result: TrainResult | Failure) -> None:
        """Take down how the run ended; only the first end counts."""
        if isinstance(result, CutShort):
            self._cut_short(result)
        elif isinstance(result, Failure):
            self.break_off("FAILED", str(result))
        elif self.outcome is None:
            self._finish(
                Outcome(
                    run=self._job.run,
                    status="FINISHED",
                    folder=self._folder,
                    metrics=dict(result.metrics),
                    lora=result.lora,
                    steps=result.steps,
                    seconds=result.seconds,
                )
            )

    def _cut_short(self, result: CutShort) -> None:
        """Take down that the run was ended because others did better: what it reached counts as far as it goes."""
        if self.outcome is None:
            self._ours.tag(CUT_SHORT, str(result))
            self._finish(
                Outcome(
                    run=self._job.run,
                    status="PRUNED",
                    folder=self._folder,
                    metrics=dict(self._ours.heard),
                    steps=result.step,
                    seconds=time.monotonic() - self._clock,
                    reason=str(result),
                )
            )

    def break_off(self, status: EndStatus, reason: str, signal: int = 0) -> None:
        """Take down that the run did not finish."""
        if self.outcome is None:
            if (self._folder / ERROR).is_file():
                reason = f"{reason} (all of it in {self._folder / ERROR})"
            self._finish(
                Outcome(
                    run=self._job.run,
                    status=status,
                    folder=self._folder,
                    reason=reason,
                    seconds=time.monotonic() - self._clock,
                    signal=signal,
                )
            )

    def keep_traceback(self) -> None:
        """Write the exception that is being handled into the run's folder."""
        if self.outcome is None:
            with contextlib.suppress(OSError):
                write_whole(self._folder / ERROR, printable_lines(traceback.format_exc()))

    def _finish(self, outcome: Outcome) -> None:
        """Keep the outcome on the disk and tell the tracker."""
        outcome = self.outcome = replace(outcome, validation=self._ours.validation)
        lora = outcome.lora
        if lora is not None and lora not in self._ours.files:
            self._ours(Artifact(path=lora))
        if (self._folder / ERROR).is_file():
            self._ours(Artifact(path=self._folder / ERROR))
        self._ours.record(Noted(note=run_note(self._job, outcome)))
        # To MLflow a run that was cut short is KILLED: whoever asks it for finished runs wants whole ones.
        status: Status = "KILLED" if outcome.status == "PRUNED" else outcome.status
        self._ours.record(RunEnded(status=status, message=outcome.reason))
        if self._referee is not None:
            self._referee.over(outcome.status, outcome.metrics)
        with contextlib.suppress(OSError):  # a full disk costs the note, not the runs to come
            write_record(self._folder, ended_note(self._note, outcome, self._job.rule))
        self._around.watch.ended(outcome)

    def _tags(self) -> dict[str, str]:
        return {
            "lora_lab.run": "train",
            "lora_lab.sweep": self._sweep_name,
            "lora_lab.run_folder": str(self._folder),
            "lora_lab.identity": self._job.identity,
            **finding_tags(self._job),
        }


def ended_note(note: RunRecord, outcome: Outcome, rule: Rule | None = None) -> RunRecord:
    """Return what `run.json` says of a run that is over; its LoRA relative to the folder where it lies in it."""
    lora, folder = outcome.lora, outcome.folder
    inside = lora is not None and lora.absolute().is_relative_to(folder.absolute())
    shown = lora.absolute().relative_to(folder.absolute()).as_posix() if lora and inside else lora
    return replace(
        note,
        status=outcome.status,
        metrics=dict(outcome.metrics),
        lora=None if shown is None else str(shown),
        steps=outcome.steps,
        seconds=round(outcome.seconds, 3),
        finished=_now(),
        reason=outcome.reason,
        validation=outcome.validation,
        rule=rule.text if rule is not None and outcome.status == "PRUNED" else "",
    )


def _now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _json(body: object) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False, default=str) + "\n"
