"""What MLflow is told of a training that belongs to no sweep: where it is kept, what lint said, how it ended."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.failure import Failure
from lora_lab.sweep.roles import Job, Outcome, TrainResult
from lora_lab.sweep.run_folder import CONFIG, LINT
from lora_lab.sweep.summary import finding_tags, findings_text, run_note
from lora_lab.tracking.events import DECIDES, Artifact, Event, Metrics, Noted, RunEnded, RunStarted
from lora_lab.whole_files import write_whole

if TYPE_CHECKING:
    from lora_lab.tracking.recorder import Recorder, Tracker

LOGS = "lora-lab-logs"
"""Below the output folder: what each run told while it trained."""


class TrainLog:
    """A `Record` that opens the run's log when the run says what it is: one that was interrupted goes on in its log."""

    def __init__(self, job: Job, folder: Path, tracker: "Tracker") -> None:
        """Keep what the training of `job` into `folder` tells."""
        self._job = job
        self._folder = folder
        self._tracker = tracker
        self._recorder: Recorder | None = None
        self._heard: dict[str, float] = {}
        self._clock = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Keep the event; what comes before a run's start (its failure) has no run to belong to."""
        if isinstance(event, RunStarted):
            event = replace(event, tags={**event.tags, **finding_tags(self._job)})
            if self._recorder is None:
                self._begin(event)
        if self._recorder is None:
            return
        if isinstance(event, Metrics):
            self._heard.update(event.values)
        if isinstance(event, RunEnded) and event.status != "FINISHED":
            self._note(self._broken_off(event))
        self._recorder(event)
        if isinstance(event, RunStarted):
            self._attach()

    def finished(self, result: TrainResult) -> Outcome:
        """Keep the summary of a training that has ended well; return how it ended."""
        outcome = Outcome(
            run=self._job.run,
            status="FINISHED",
            folder=self._folder,
            metrics=dict(result.metrics),
            lora=result.lora,
            steps=result.steps,
            seconds=result.seconds,
        )
        self._note(outcome)
        return outcome

    def close(self) -> None:
        """Close the log, if there is one."""
        if self._recorder is not None:
            self._recorder.close()

    def _broken_off(self, event: RunEnded) -> Outcome:
        return Outcome(
            run=self._job.run,
            status=event.status,
            folder=self._folder,
            metrics=self._heard,
            seconds=time.monotonic() - self._clock,
            reason=event.message,
        )

    def _note(self, outcome: Outcome) -> None:
        if self._recorder is not None:
            self._recorder(Noted(note=run_note(self._job, outcome)))

    def _begin(self, event: RunStarted) -> None:
        log = self._place(event.tags.get(DECIDES, ""))
        self._recorder = self._tracker.recorder(log)
        values = self._job.config.model_dump(mode="json")
        try:
            write_whole(log / CONFIG, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
            write_whole(log / LINT, findings_text(self._job))
        except OSError as error:
            raise Failure(f"cannot write to {log}: {error.strerror}", "free the disk, or mend its rights") from error
        self._log = log

    def _attach(self) -> None:
        if self._recorder is not None:
            for name in (CONFIG, LINT):
                self._recorder(Artifact(path=self._log / name))

    def _place(self, decides: str) -> Path:
        from lora_lab.tracking.spool import can_go_on

        name, logs = self._job.run.name, self._folder / LOGS
        new = _unused(logs, name)
        before = sorted(logs.iterdir(), reverse=True) if logs.is_dir() else []
        for folder in before:
            if len(folder.name) == len(new) and folder.name.startswith(f"{name}-"):
                return folder if can_go_on(folder, decides) else logs / new
        return logs / new


def _unused(logs: Path, name: str) -> str:
    """Return the name of a new log: with the time, and where a clock was set back, one that nobody has yet."""
    second = int(time.time())
    while True:
        new = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(second))}"
        if not (logs / new).exists():
            return new
        second += 1
