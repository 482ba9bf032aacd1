"""Trains the runs of a plan: deals them out, tries lost ones again, trains none twice; none can end the others."""

import contextlib
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_lab.failure import Stopped
from lora_lab.sweep.adopt import adopt, finished_elsewhere
from lora_lab.sweep.attempt import ended_note
from lora_lab.sweep.dealing import Dealer, cut
from lora_lab.sweep.in_process import InProcess
from lora_lab.sweep.packing import MOST, Workers
from lora_lab.sweep.roles import (
    Ended,
    Executor,
    Job,
    Measured,
    Outcome,
    Over,
    Progress,
    Source,
    Started,
    Stepped,
    Surroundings,
    Task,
    Train,
    Warned,
    Watch,
)
from lora_lab.sweep.run_folder import (
    RunRecord,
    cut_short,
    done_before,
    finished_runs,
    read_record,
    reused,
    write_record,
)

__all__ = ["Executed", "Job", "Outcome", "Progress", "Surroundings", "Train", "execute", "execute_here"]

LISTEN_SECONDS = 0.5
ELSEWHERE_SECONDS = 5.0
"""Between two looks at runs that another sweep is training."""

TRIES = 2
"""A run whose process died is tried again so many times in all."""

MOVES = 20
"""A run whose machine was taken away is tried elsewhere; so many tries in all."""


@dataclass(frozen=True)
class Executed:
    """The outcomes in the order of the jobs; after an interruption the runs to come are missing.

    `signal` is the number of the signal that interrupted them, 0 where this process had none.
    """

    outcomes: tuple[Outcome, ...]
    interrupted: bool
    out_of_time: bool = False
    signal: int = 0


@dataclass(frozen=True)
class Limits:
    """How runs are dealt out: `pack` runs at a time in one process; nothing new after `seconds`.

    Without `pack` as many as a probe finds to fit and to pay, at most `most`.
    """

    pack: int | None = 1
    seconds: float | None = None
    most: int = MOST


def execute_here(jobs: Sequence[Job], sweep_name: str, sweep_folder: Path, around: Surroundings) -> Executed:
    """Train every job in this process, one after another."""
    return execute(jobs, sweep_name, sweep_folder, InProcess(sweep_name, sweep_folder, around), around.watch)


def execute(
    jobs: Sequence[Job] | Source,
    sweep_name: str,
    sweep_folder: Path,
    executor: Executor,
    watch: Watch,
    limits: Limits = Limits(),
) -> Executed:
    """Train every job into a folder of its own below `sweep_folder`; equal runs are trained once.

    A `Source` is asked for jobs whenever there is a slot for them, and told how they end.

    What this sweep or one beside it has finished is taken over; a run that was interrupted goes on in its folder. A
    task that is lost (its process died, memory ran out) is tried again in halves. The first KeyboardInterrupt lets the
    runs keep their states, the second ends them. Raises `Failure` only where `sweep_folder` cannot be written.
    """
    listed, source = ([*jobs], None) if isinstance(jobs, Sequence) else ([], jobs)
    scheduler = _Scheduler(listed, source, sweep_name, sweep_folder, executor, watch, limits)
    orderly = False
    try:
        orderly = scheduler.run()
    finally:
        executor.close("kindly" if orderly else "now")
    return scheduler.executed()


@dataclass
class _Scheduler:
    jobs: list[Job]
    source: Source | None
    name: str
    folder: Path
    executor: Executor
    watch: Watch
    limits: Limits
    _outcomes: dict[int, Outcome] = field(default_factory=dict)
    _folders: dict[int, Path] = field(default_factory=dict)
    _waiting: deque[Task] = field(default_factory=deque)
    _running: dict[int, Task] = field(default_factory=dict)
    _elsewhere: list[Job] = field(default_factory=list)
    _twins: dict[str, list[Job]] = field(default_factory=dict)
    _identities: dict[int, str] = field(default_factory=dict)
    _stopping: bool = False
    _interrupted: bool = False
    _out_of_time: bool = False
    _signal: int = 0
    _numbers: int = 0

    def __post_init__(self) -> None:
        self._told = self.source.told if self.source is not None else None
        self._dealer = Dealer(self.limits.pack, self._workers, self.watch.say, self.limits.most)

    def _workers(self) -> Workers:
        return Workers(self.executor.slots, self.executor.on_device)

    def run(self) -> bool:
        """Train until everything is over, or an end was asked for and the runs have kept their states.

        Returns whether that is so; not where an end was asked for twice.
        """
        began = time.monotonic()
        self._deal_out(self.jobs)
        while self._running or (not self._stopping and (self._waiting or self._elsewhere or self.source)):
            try:
                self._round(began)
            except KeyboardInterrupt as asked:  # noqa: PERF203 -- a round takes half a second
                if self._interrupted:
                    return False
                self._interrupted = True
                self._signal = asked.number if isinstance(asked, Stopped) else signal.SIGINT
                self._stop()
        return True

    def executed(self) -> Executed:
        """Return what has become of the jobs."""
        outcomes = tuple(self._outcomes[job.run.index] for job in self.jobs if job.run.index in self._outcomes)
        interrupted = self._interrupted or any(outcome.status == "KILLED" for outcome in outcomes)
        return Executed(outcomes, interrupted and not self._out_of_time, self._out_of_time, self._signal)

    def _deal_out(self, jobs: Sequence[Job]) -> None:
        """Take what was trained before; put the rest in packs, equal runs once."""
        done = finished_runs(self.folder)
        others = finished_elsewhere(self.folder)
        fresh: list[Job] = []
        for rule in {job.rule.text for job in jobs if job.rule is not None}:
            done = {**cut_short(self.folder, rule), **done}
        self._identities.update((job.run.index, job.identity) for job in jobs)
        for job in jobs:
            if job.identity in others and job.identity not in done and job.identity not in self._twins:
                with contextlib.suppress(OSError):  # what cannot be taken over is trained
                    done[job.identity] = adopt(*others[job.identity], self.name, self.folder)
            if job.identity in done:
                self._end(reused(job, *done[job.identity]))
            elif job.identity in self._twins:
                self._twins[job.identity].append(job)
            else:
                self._twins[job.identity] = []
                fresh.append(job)
        dealt = self._dealer.take(fresh, more=self.source is not None)
        for pack in dealt.packs:
            self._wait(pack)
        if dealt.to_measure:
            self._wait(dealt.to_measure, measure=True)

    def _round(self, began: float) -> None:
        if self.limits.seconds is not None and time.monotonic() - began > self.limits.seconds and not self._stopping:
            self._out_of_time = True
            self._stop()
        self._ask()
        while self._waiting and not self._stopping and len(self._running) < self.executor.slots:
            task = self._waiting.popleft()
            self.executor.start(task)
            self._running[task.number] = task
        message = self.executor.next(LISTEN_SECONDS)
        if message is not None:
            self._hear(message)
        elif self._elsewhere and not self._running:
            self._look_elsewhere()

    def _ask(self) -> None:
        """Ask the source for jobs until every slot has a task; what was trained before takes none."""
        while self.source is not None and not self._stopping:
            free = self.executor.slots - len(self._running) - len(self._waiting)
            if free <= 0:
                return
            jobs = self.source.take(free * self._dealer.appetite)
            if not jobs:
                self.source = None
                return
            self.jobs += jobs
            self._deal_out(jobs)

    def _hear(self, message: object) -> None:
        match message:
            case Started(job, folder):
                self._folders[job.run.index] = folder
                self.watch.started(job, folder)
            case Stepped(job, progress):
                self.watch.progressed(job, progress)
            case Ended(outcome):
                self._end(outcome)
            case Warned(line):
                self.watch.warn(line)
            case Measured():
                for pack in self._dealer.measured(message):
                    self._wait(pack)
            case Over():
                self._over(message)

    def _end(self, outcome: Outcome) -> None:
        """Take down an outcome, and that of the runs that are equal to it."""
        self._outcomes[outcome.run.index] = outcome
        self.watch.ended(outcome)
        if self._told is not None:
            self._told(outcome)
        if outcome.status == "KILLED":
            self._stopping = True
        for twin in self._twins.pop(self._identities[outcome.run.index], []):
            record = read_record(outcome.folder)
            if outcome.status in ("FINISHED", "PRUNED") and record is not None:
                self._end(reused(twin, outcome.folder, record))
            else:
                self._end(Outcome(run=twin.run, status=outcome.status, folder=outcome.folder, reason=outcome.reason))

    def _over(self, over: Over) -> None:
        """Take a task off the list; what it did not bring to an end is tried again, or has failed."""
        task = self._running.pop(over.task.number, over.task)
        if task.measure:
            for pack in () if self._stopping else self._dealer.gave_up(task.jobs, over.lost):
                self._wait(pack)
            return
        self._elsewhere += [job for job in task.jobs if job.run.index in over.elsewhere]
        left = tuple(
            job for job in task.jobs if job.run.index not in self._outcomes and job.run.index not in over.elsewhere
        )
        if not left or self._stopping:
            return
        if over.gone and task.attempt + 1 < MOVES:
            self.watch.warn(f"{over.lost}; {len(left)} run{'s' if len(left) > 1 else ''} to be gone on with elsewhere")
            self._wait(left, attempt=task.attempt + 1, first=True)
        elif len(left) > 1:
            if over.memory:
                self._learn(task.jobs)
            half = (len(left) + 1) // 2
            self.watch.warn(f"{over.lost}; trying {half} at a time")
            for part in (left[half:], left[:half]):
                self._wait(part, first=True)
        elif task.attempt + 1 < TRIES:
            self.watch.warn(f"{left[0].run.name}: {over.lost}; trying once more")
            self._wait(left, attempt=task.attempt + 1, first=True)
        else:
            self._end(self._buried(left[0], over.lost))

    def _learn(self, jobs: tuple[Job, ...]) -> None:
        """Note that memory ran out with so many runs, so that those which wait are not tried in vain."""
        self._dealer.ran_out(jobs)
        waiting, self._waiting = self._waiting, deque()
        for task in waiting:
            parts = [task.jobs] if task.measure else cut(task.jobs, jobs)
            if len(parts) == 1:
                self._waiting.append(task)
            else:
                for part in parts:
                    self._wait(part, attempt=task.attempt)

    def _buried(self, job: Job, reason: str) -> Outcome:
        """Write the end of a run whose process could not."""
        folder = self._folders.get(job.run.index, self.folder)
        outcome = Outcome(run=job.run, status="FAILED", folder=folder, reason=reason)
        note = read_record(folder) or RunRecord(
            identity=job.identity, name=job.run.name, status="FAILED", axes=job.run.axes
        )
        if folder != self.folder:
            write_record(folder, ended_note(note, outcome))
        return outcome

    def _look_elsewhere(self) -> None:
        """See what has become of runs that another sweep was training; take over those that it has left."""
        time.sleep(ELSEWHERE_SECONDS)
        jobs, self._elsewhere = self._elsewhere, []
        for job in jobs:
            known = done_before(job, self.folder)
            if known is not None:
                self._end(reused(job, *known))
            else:
                self._wait((job,))

    def _wait(self, jobs: tuple[Job, ...], *, attempt: int = 0, first: bool = False, measure: bool = False) -> None:
        self._numbers += 1
        task = Task(self._numbers, jobs, attempt, measure)
        if first or measure:
            self._waiting.appendleft(task)
        else:
            self._waiting.append(task)

    def _stop(self) -> None:
        """Start nothing new, and let what runs keep its state."""
        self._stopping = True
        self.executor.stop()
