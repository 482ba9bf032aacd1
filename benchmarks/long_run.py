"""Whether a long training stays as quick and as small as it began.

    python benchmarks/long_run.py [--steps 20000] [--keep FOLDER]

`lora-lab train` on the quickstart's base, one picture of 64 × 64 a step, in a process of its own, with everything on
that repeats: validation, sample pictures, saved files, states to go on from, tracking. From outside, the memory, open
files, threads and processor time of its whole process tree are read every two seconds; from its events, when each step
was done. Prints a line for each tenth of the run, then the slopes over all but the first tenth, where things are still
being set up, and the seconds of a step at the end against the beginning, by processor time and by the wall's: whatever
else the machine does falls into the latter.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

CONFIG = {
    "base_model": "lora_lab:quickstart/base", "img_folder": "lora_lab:quickstart/pictures", "output_folder": "out",
    "change_output_name": "long", "train_resolution": 64, "min_bucket_resolution": 64, "max_bucket_resolution": 128,
    "mixed_precision": "no", "net_dim": 8, "alpha": 1.0, "learning_rate": 0.0005, "batch_size": 1,
    "scheduler": "constant", "validation_split": 0.1, "shuffle_captions": True, "network_dropout": 0.1,
    "ema_decay": 0.99, "keep_best": True, "save_state": True,
    "sample_prompts": ["a red lumi on a blue background --w 64 --h 64 --s 4 --d 1"],
}  # fmt: skip
MIB = 2**20


class Sample(NamedTuple):
    """What the process tree held at a step: bytes of memory, open files, threads; its seconds on a processor so far."""

    step: int
    memory: int
    files: int
    threads: int
    seconds: float


def main() -> None:
    """Train, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="a folder that stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (options.keep or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        often = {"sample_every_n_steps": 40, "save_every_n_steps": 20, "save_every_n_epochs": None}
        config = CONFIG | {"max_steps": options.steps}
        config |= {key: options.steps // number for key, number in often.items() if number}
        (folder / "long.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        samples = list(watched(folder, options.steps))
        report(samples, list(times_of_steps(next(folder.rglob("events.jsonl")))), options.steps)


def watched(folder: Path, steps: int) -> Iterator[Sample]:
    """Train in `folder` and yield what the process tree holds, every two seconds. Raises `SystemExit` if it fails."""
    with (folder / "told.log").open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "lora_lab", "train", "long.json"], cwd=folder, stdout=told, stderr=told
        )
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(2)
            events = next(folder.rglob("events.jsonl"), None)
            step = last_step(events) if events else 0
            try:
                parts = [tree, *tree.children(recursive=True)]
                memory = sum(part.memory_info().rss for part in parts)
                files, threads = sum(part.num_fds() for part in parts), sum(part.num_threads() for part in parts)
                spent = tree.cpu_times()  # with those of its children that ended: what still runs counts when it ends
                seconds = spent.user + spent.system + spent.children_user + spent.children_system
            except psutil.NoSuchProcess:
                continue  # one of them ended between the two questions
            if 0 < step < steps:  # after the last one, things are given back
                yield Sample(step, memory, files, threads, seconds)
    if process.returncode:
        sys.exit(f"the training ended with {process.returncode}: {(folder / 'told.log').read_text()[-500:]}")


def last_step(events: Path) -> int:
    """Return the last step that the end of a file of events tells of."""
    with events.open("rb") as file:
        file.seek(max(events.stat().st_size - 20_000, 0))
        lines = file.read().splitlines()[1:]
    steps = [json.loads(line).get("step", 0) for line in lines if line.startswith(b"{") and line.endswith(b"}")]
    return max(steps, default=0)


def times_of_steps(events: Path) -> Iterator[tuple[int, float]]:
    """Yield each step that was told and its time in seconds."""
    for event in map(json.loads, events.read_text(encoding="utf-8").splitlines()):
        if event["kind"] == "Metrics" and "loss" in event["values"]:
            yield event["step"], event["at"] / 1000


def report(samples: Sequence[Sample], times: Sequence[tuple[int, float]], steps: int) -> None:
    """Print the tenths, the slopes and the ratio."""
    print("| steps up to | s/step | CPU s/step | memory, MiB | open files | threads |\n|---|---|---|---|---|---|")
    tenths: list[tuple[float, float]] = []
    for tenth in range(10):
        low, high = steps * tenth // 10, steps * (tenth + 1) // 10
        told = [time for step, time in times if low <= step <= high]
        held = [sample for sample in samples if low < sample.step <= high]
        if len(told) < 2 or len(held) < 2:
            sys.exit("too few steps to tell anything")
        cpu = (held[-1].seconds - held[0].seconds) / (held[-1].step - held[0].step or 1)
        tenths.append(((max(told) - min(told)) / (high - low), cpu))
        memory = statistics.median(sample.memory for sample in held) / MIB
        files, threads = max(sample.files for sample in held), max(sample.threads for sample in held)
        print(f"| {high} | {tenths[-1][0]:.4f} | {cpu:.4f} | {memory:.0f} | {files} | {threads} |")
    later = [sample for sample in samples if sample.step > steps // 10]
    at = [sample.step / 1000 for sample in later]
    memory = statistics.linear_regression(at, [sample.memory / MIB for sample in later]).slope
    files = statistics.linear_regression(at, [float(sample.files) for sample in later]).slope
    print(f"\nslope for 1,000 steps: memory {memory:+.3f} MiB, open files {files:+.4f}")
    for name, number in (("by the wall", 0), ("by processor time", 1)):
        first, second, last = (tenths[place][number] for place in (0, 1, -1))
        ratios = f"{last / second:.3f} x one of the second, {last / first:.3f} x one of the first"
        print(f"{name}, a step of the last tenth takes {ratios}")


if __name__ == "__main__":
    main()
