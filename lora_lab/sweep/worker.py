"""What trains a task: the same in the sweep's own process, in a worker process, and on another machine."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lora_lab.failure import Failure
from lora_lab.lint import Disk
from lora_lab.locks import held_if_free
from lora_lab.sweep.attempt import OutOfMemory, train_together
from lora_lab.sweep.footprint import Probe, footprint_of, key_of, read_footprint, write_footprint
from lora_lab.sweep.roles import (
    Ended,
    Job,
    Measured,
    Message,
    Outcome,
    Over,
    Recording,
    RunProgress,
    Started,
    Stepped,
    Surroundings,
    Task,
    Train,
    Warned,
)
from lora_lab.sweep.run_folder import done_before, place_of, reused

CLAIMS = ".claims"
"""Below the sweep's folder: a lock for each run, which whoever trains it holds."""

TELL_SECONDS = 0.2
"""Between two reports of one run's progress, at least."""


@dataclass(frozen=True)
class Worker:
    """Trains tasks of one sweep, and tells what happens."""

    sweep_name: str
    sweep_folder: Path
    train: Train
    open_recorder: Callable[[Path], Recording]
    tell: Callable[[Message], None]
    probe: Probe | None = None

    def work(self, task: Task) -> None:
        """Train a task's runs; those that another process has are left to it. The last thing told is `Over`.

        Raises `Failure` where the sweep's folder cannot be written.
        """
        if task.measure:
            self.tell(Over(task, self._measure(task)))
            return
        lost, memory = "", False
        elsewhere: list[int] = []
        with ExitStack() as claims:
            jobs: list[Job] = []
            folders: list[Path] = []
            for job in task.jobs:
                if not self._claim(job, claims):
                    elsewhere.append(job.run.index)
                    continue
                known = done_before(job, self.sweep_folder)  # since the sweep looked
                if known:
                    self.tell(Ended(reused(job, *known)))
                    continue
                jobs.append(job)
                folders.append(place_of(job.identity, self.sweep_folder, taken=folders))
            try:
                if jobs:
                    around = Surroundings(self.train, self.open_recorder, _Telling(self.tell))
                    train_together(jobs, folders, self.sweep_name, around)
            except OutOfMemory as error:
                lost, memory = str(error), True
        self.tell(Over(task, lost, memory, tuple(elsewhere)))

    def _measure(self, task: Task) -> str:
        """Tell what each of the jobs takes, as it was measured before or is now; return what prevented that, or ""."""
        if self.probe is None:
            return "nothing can be measured here"
        disk = Disk(self.sweep_folder)
        try:
            for job in task.jobs:
                key = key_of(job.config, disk)
                found = read_footprint(key)
                if found is None:
                    found = footprint_of(job.config, self.probe(job.config), self.probe.room())
                    write_footprint(key, found)
                self.tell(Measured(job, found, self.probe.room(), key))
        except KeyboardInterrupt:
            return "interrupted"
        except Exception as error:  # whatever breaks here is said again, and better, by the run itself
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        return ""

    def _claim(self, job: Job, claims: ExitStack) -> bool:
        """Take the lock of a run for as long as `claims` are held; return whether it was free."""
        folder = self.sweep_folder / CLAIMS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return claims.enter_context(held_if_free(folder / f"{job.identity[:32]}.lock"))
        except OSError as error:
            what = f"cannot write to {self.sweep_folder}: {error.strerror}"
            raise Failure(what, "give another folder with --output-folder") from error


@dataclass
class _Telling:
    """A `Watch` that tells messages, of progress not too many."""

    tell: Callable[[Message], None]
    _told: dict[int, float] = field(default_factory=dict)

    def started(self, job: Job, folder: Path) -> None:
        self.tell(Started(job, folder))

    def progressed(self, job: Job, progress: RunProgress) -> None:
        now = time.monotonic()
        if progress.notice or now - self._told.get(job.run.index, 0.0) >= TELL_SECONDS:
            self._told[job.run.index] = now
            self.tell(Stepped(job, progress))

    def ended(self, outcome: Outcome) -> None:
        self.tell(Ended(outcome))

    def say(self, line: str) -> None:
        """Nobody here has anything to say."""

    def warn(self, line: str) -> None:
        self.tell(Warned(line))
