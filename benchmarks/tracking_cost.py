"""What tracking costs a training: the same run with and without it, turn about, in one process.

`python benchmarks/tracking_cost.py [ROUNDS] [STEPS] [BATCH]`. The built-in trainer trains the packaged base (a step of
batch 4 takes some 50 ms on a small machine's one core; a greater batch makes a larger step), with a picture every 50
steps. With tracking, what it tells goes through a recorder to a spool, a process beside ships it to an SQLite database,
and the machine is sampled. What is compared is the time from the tenth step to the last, of the wall and of this
process' own processor time, which other users of the machine disturb less. What recording takes of the training's own
thread, and what this process' other threads take, is said too: with one thread of torch (OMP_NUM_THREADS=1) and a free
core for the process beside, that is all there is to it. Prints both medians and the ratio of each pair; 1.02 or less is
the goal. Look at `uptime` first. The process is started once, as in a sweep; its start takes some 2.5 s of processor
time.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lora_lab.config import TrainConfig, check, with_absolute_paths
from lora_lab.tracking.events import Event, Metrics, Record, ignore
from lora_lab.tracking.recorder import Tracker
from lora_lab.tracking.spool import unsent
from lora_lab.tracking.target import Target, choose_target
from lora_lab.train.loop import Progress
from lora_lab.train.run import train_run

PICTURE_EVERY = 50


class Taken(NamedTuple):
    """Seconds of the wall, of this process' own processor time, of that in its other threads, and in recording."""

    wall: float
    own: float
    others: float
    recording: float


@dataclass
class Clock:
    """Notes the time when a step was told and everything about it recorded."""

    record: Record
    begun: Taken | None = None
    ended: Taken | None = None
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    recording: float = 0.0

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        start = time.perf_counter()
        self.record(event)
        self.recording += time.perf_counter() - start
        if isinstance(event, Metrics) and "images_per_second" in event.values:
            own = time.process_time()
            now = Taken(time.perf_counter(), own, own - time.thread_time(), self.recording)
            self.begun = self.begun or now
            self.ended = now
            self.steps = event.step

    @property
    def taken(self) -> Taken:
        """The time between the first look at the losses and the last."""
        assert self.begun is not None
        assert self.ended is not None
        return Taken(*(after - before for before, after in zip(self.begun, self.ended, strict=True)))


def config_of(folder: Path, steps: int, batch: int) -> TrainConfig:
    """Return the quickstart's config, for so many steps."""
    values = {
        "base_model": "lora_lab:quickstart/base",
        "img_folder": "lora_lab:quickstart/pictures",
        "output_folder": str(folder),
        "train_resolution": 128,
        "min_bucket_resolution": 64,
        "max_bucket_resolution": 256,
        "mixed_precision": "no",
        "net_dim": 8,
        "alpha": 8,
        "batch_size": batch,
        "max_steps": steps,
        "validation_split": 0.2,
        "sample_every_n_steps": PICTURE_EVERY,
        "sample_prompts": ["a red lumi --s 2 --d 1"],
    }
    found = check(values)
    assert not found.problems, found.problems
    return with_absolute_paths(found.config, Path())


def train(record: Record, folder: Path, steps: int, batch: int) -> Taken:
    """Train; return what it has taken."""
    clock = Clock(record)
    silent: list[Progress] = []
    train_run(config_of(folder, steps, batch), folder=folder, record=clock, progress=silent.append)
    return clock.taken


def tracked(tracker: Tracker, target: Target, folder: Path, steps: int, batch: int) -> Taken:
    """Train with tracking; return what it has taken, when everything has been shipped."""
    record = tracker.recorder(folder / "log")
    taken = train(record, folder, steps, batch)
    record.close()
    while unsent(folder / "log", target.key):
        time.sleep(0.2)  # what is still to be shipped must not burden the training without
    return taken


def compared(name: str, off: Sequence[float], on: Sequence[float]) -> str:
    """Return a line with the medians and the ratios."""
    ratios = sorted(with_ / without for with_, without in zip(on, off, strict=True))
    middle = f"off {statistics.median(off):7.3f} s   on {statistics.median(on):7.3f} s"
    spread = f"median of the pairs' ratios {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    return f"{name:<16}{middle}   {spread}"


def main() -> None:
    """Train with and without tracking in turn; print the medians and the ratios."""
    rounds, steps, batch = (int(word) for word in [*sys.argv[1:], *["5", "120", "4"][len(sys.argv) - 1 :]])
    off: list[Taken] = []
    on: list[Taken] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = choose_target(f"sqlite:///{folder}/mlflow.db")
        tracker = Tracker(target, "cost", print)
        tracked(tracker, target, folder / "warm", 20, batch)  # mlflow is imported and the database made meanwhile
        for number in range(rounds):
            place = folder / str(number)
            if number % 2:
                off.append(train(ignore, place / "off", steps, batch))
                on.append(tracked(tracker, target, place / "on", steps, batch))
            else:
                on.append(tracked(tracker, target, place / "on", steps, batch))
                off.append(train(ignore, place / "off", steps, batch))
        assert tracker.close(300)
    shipped = os.times().children_user + os.times().children_system
    step = 1000 * statistics.median(one.wall for one in off) / (steps - 10)
    load = os.getloadavg()[0]
    print(f"{rounds} rounds of {steps} steps of batch {batch}; a step takes {step:.0f} ms; load {load:.1f}")
    print(compared("wall", [one.wall for one in off], [one.wall for one in on]))
    print(compared("own processor", [one.own for one in off], [one.own for one in on]))
    for what, at in (("in recording", 3), ("in other threads", 2)):
        without, with_ = (statistics.median(one[at] / one.wall for one in taken) for taken in (off, on))
        print(f"{what}: off {without:.2%}, on {with_:.2%} of the wall (medians)")
    print(f"the process that ships took {shipped:.1f} s of processor time in all")


if __name__ == "__main__":
    main()
