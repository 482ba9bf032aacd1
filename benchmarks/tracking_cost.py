"""What tracking costs the training: the same work with and without it, turn about, in one process.

`python benchmarks/tracking_cost.py [ROUNDS] [STEPS]`. A step is a matrix product of about 25 ms, which stands for the
trainer's and takes the processor just as much, and the events are those of a training: three metrics a step, a picture
every 50 steps. With tracking they go through the recorder to a spool and from there to an SQLite database, and the
machine is sampled. Prints the medians in seconds and their ratio; 1.02 or less is the goal. Look at `uptime` first.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image

from lora_lab.tracking.events import Metrics, Record, RunEnded, RunStarted, SamplePicture, ignore
from lora_lab.tracking.recorder import Tracker
from lora_lab.tracking.target import choose_target

SIDE = 900
PICTURE_EVERY = 50


def train(record: Record, steps: int, folder: Path) -> float:
    """Do the work of a training of so many steps; return the seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    matrix = numpy.random.default_rng(0).standard_normal((SIDE, SIDE))
    began = time.perf_counter()
    record(RunStarted(name=folder.name, params={f"p{number}": "1" for number in range(100)}))
    for step in range(1, steps + 1):
        value = float((matrix @ matrix)[0, 0])
        values = {"loss": value, "grad_norm": value, "lr/unet": value}
        record(Metrics(step=step, values=values, time_ms=time.time_ns() // 1_000_000))
        if step % PICTURE_EVERY == 0:
            path = folder / f"{step}.png"
            Image.new("RGB", (512, 512), (step % 255, 0, 0)).save(path)
            record(SamplePicture(step=step, key="sample_00", path=path))
    seconds = time.perf_counter() - began
    record(RunEnded(status="FINISHED"))
    return seconds


def main() -> None:
    """Train with and without tracking in turn; print the medians and the ratio."""
    rounds, steps = (int(word) for word in [*sys.argv[1:], "7", "300"][:2])
    taken: dict[str, list[float]] = {"off": [], "on": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracker = Tracker(choose_target(f"sqlite:///{folder}/mlflow.db"), "cost", print)
        warm = tracker.recorder(folder / "warm")
        train(warm, steps, folder / "warm")  # mlflow is imported and the database made while this goes on
        warm.close()
        time.sleep(15)
        for number in range(rounds):
            taken["off"].append(train(ignore, steps, folder / f"off{number}"))
            record = tracker.recorder(folder / f"on{number}")
            taken["on"].append(train(record, steps, folder / f"on{number}"))
            record.close()
            time.sleep(3)  # what is still to be shipped must not burden the training without
        tracker.close(120)
    medians = {kind: statistics.median(seconds) for kind, seconds in taken.items()}
    ratios = [on / off for on, off in zip(taken["on"], taken["off"], strict=True)]
    print(f"{rounds} rounds of {steps} steps: off {medians['off']:.3f} s, on {medians['on']:.3f} s")
    of_medians = medians["on"] / medians["off"]
    print(f"ratio of the medians {of_medians:.3f}, median of the ratios {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
