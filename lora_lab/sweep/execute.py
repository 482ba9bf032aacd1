"""Trains the runs of a plan one after another; none of them can end the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_lab.sweep.attempt import Attempt
from lora_lab.sweep.roles import Job, Outcome, Progress, Surroundings, Train
from lora_lab.sweep.run_folder import RunRecord, finished_runs, lora_of, place_of, read_record

__all__ = ["Executed", "Job", "Outcome", "Progress", "Surroundings", "Train", "execute"]


@dataclass(frozen=True)
class Executed:
    """The outcomes in the order of the jobs; after an interruption the runs to come are missing."""

    outcomes: tuple[Outcome, ...]
    interrupted: bool


def execute(jobs: Sequence[Job], sweep_name: str, sweep_folder: Path, around: Surroundings) -> Executed:
    """Train every job into a folder of its own below `sweep_folder`; equal runs are trained once.

    A run that an earlier sweep did not finish goes on in its folder.

    Raises `Failure` only where `sweep_folder` cannot be written.
    """
    done = finished_runs(sweep_folder)
    outcomes: list[Outcome] = []
    for job in jobs:
        if job.identity in done:
            outcome = _reused(job, *done[job.identity])
            around.watch.ended(outcome)
        else:
            outcome = Attempt(job, sweep_name, place_of(job.identity, sweep_folder), around).run()
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
