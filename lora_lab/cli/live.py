"""What a sweep shows while it trains: bars on a terminal, lines in a log."""

import importlib.util
import sys
import time
from pathlib import Path
from typing import IO, Any, cast

from lora_lab.cli.say import Drawn, going_on, say
from lora_lab.cli.table import duration
from lora_lab.printable import printable, printable_lines
from lora_lab.sweep.roles import Job, Outcome, RunProgress

LINE_SECONDS = 10.0


class Lines:
    """A `Watch` for logs: a line when a run starts and ends, and every ten seconds in between."""

    def __init__(self, runs: int) -> None:
        """`runs` is the number of runs in the sweep."""
        self.runs = runs
        self.metric = "val_loss"
        self._over = 0  # runs that are over, whoever trained them
        self._trained = 0  # runs trained by this sweep
        self._parts: dict[int, float] = {}  # of each run that is being trained: how much of it is done
        self._begin: float | None = None
        self._last = 0.0

    def started(self, job: Job, folder: Path) -> None:
        """Say that a run starts."""
        self._begin = self._begin or time.monotonic()
        self._last = time.monotonic()
        self._parts[job.run.index] = 0.0
        self.say(f"{self._head(job)}: training into {folder}")

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Say how far the run is, now and then; a notice at once."""
        self._parts[job.run.index] = progress.step / max(progress.total_steps, 1)
        if progress.notice:
            self.say(f"{self._head(job)}: {progress.message}")
            return
        if time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self.say(f"{self._head(job)}: {step_text(progress)}{self._left()}")

    def ended(self, outcome: Outcome) -> None:
        """Say how a run ended."""
        self._over += 1
        self._trained += not outcome.reused
        self._parts.pop(outcome.run.index, None)
        self.say(f"[{self._over}/{self.runs}] {outcome.run.name}: {ending(outcome, self.metric)}")

    def say(self, line: str) -> None:
        """Print a line. A terminal that was closed, or a pipe that nobody reads, must not end the training."""
        with going_on():
            say(line)
            sys.stdout.flush()

    def warn(self, line: str) -> None:
        """Print a warning; called from the tracker's thread too."""
        with going_on():
            say(f"warning: {line}", err=True)

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _head(self, job: Job) -> str:
        place = list(self._parts).index(job.run.index) if job.run.index in self._parts else 0
        return f"[{self._over + 1 + place}/{self.runs}] {job.run.name}"

    def _left(self) -> str:
        """Return the time that the whole sweep still needs, from the pace so far.

        Runs of a pack tell of the same step one after the other: before the last of them has, it is not known.
        """
        part = sum(self._parts.values())
        done = self._trained + part
        if self._begin is None or not all(self._parts.values()) or done <= 0:
            return ""
        left = self.runs - self._over - part
        who = "it" if self.runs == 1 else "the sweep"
        return f", {who} needs about {duration((time.monotonic() - self._begin) / done * left)} more"


class Bars(Lines):
    """A `Watch` for terminals: each run that is being trained and the whole sweep as bars, with the time left."""

    def __init__(self, runs: int) -> None:
        """Start drawing."""
        super().__init__(runs)
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Drawing

        self._drawing: Any = Drawing(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            transient=True,
            console=Console(file=cast("IO[str]", Drawn())),
        )
        self._whole = self._drawing.add_task("sweep", total=runs)
        self._bars: dict[int, Any] = {}
        self._drawing.start()

    def started(self, job: Job, folder: Path) -> None:
        """Show the run's bar."""
        super().started(job, folder)
        self._hide(job.run.index)  # a run that is tried again
        self._bars[job.run.index] = self._drawing.add_task(printable(job.run.name), total=None)

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Move both bars; a notice is a line above them."""
        if progress.notice or job.run.index not in self._bars:
            super().progressed(job, progress)
            return
        self._parts[job.run.index] = progress.step / max(progress.total_steps, 1)
        text = printable(f"{job.run.name}  {step_text(progress)}")
        total = progress.total_steps or None  # None, before the steps are known, leaves the total as it is
        self._drawing.update(self._bars[job.run.index], total=total, completed=progress.step, description=text)
        self._drawing.update(self._whole, completed=self._over + sum(self._parts.values()))

    def ended(self, outcome: Outcome) -> None:
        """Hide the run's bar."""
        super().ended(outcome)
        self._hide(outcome.run.index)
        self._drawing.update(self._whole, completed=self._over)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        with going_on():
            self._drawing.console.print(printable_lines(line), markup=False, highlight=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print a warning above the bars."""
        self.say(f"warning: {line}")

    def close(self) -> None:
        """Take the bars away."""
        with going_on():
            self._drawing.stop()

    def _hide(self, index: int) -> None:
        bar = self._bars.pop(index, None)
        if bar is not None:
            self._drawing.remove_task(bar)


def make_watch(runs: int) -> Lines:
    """Return bars on a terminal (where rich is installed), lines elsewhere."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        return Bars(runs)
    return Lines(runs)


def step_text(progress: RunProgress) -> str:
    """Return how far a run is, in words."""
    loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
    judged = "" if progress.val_loss is None else f", val_loss {progress.val_loss:.4f}"
    return f"step {progress.step} of {progress.total_steps}{loss}{judged}" if progress.total_steps else progress.message


def ending(outcome: Outcome, metric: str) -> str:
    """Return how a run ended, in words."""
    name = metric if metric in outcome.metrics else "loss"
    value = f", {name} {outcome.metrics[name]:.5g}" if name in outcome.metrics else ""
    if outcome.status == "PRUNED":
        return f"{outcome.reason}{' before' if outcome.reused else ''}{value}"
    if outcome.reused:
        return f"done before{value} ({outcome.folder})"
    if outcome.status == "FINISHED":
        return f"finished in {duration(outcome.seconds)}{value}"
    word = "failed" if outcome.status == "FAILED" else "interrupted"
    return f"{word} after {duration(outcome.seconds)}: {outcome.reason}"
