"""What it costs to plan and judge a grid of 100,000 points: whole processes, seconds and peak memory.

    python benchmarks/grid_100k.py [--rounds 3]

Two grids: one whose values are all sound, and one in which some values, and some pairs of them, deserve findings of
every severity. `lora-lab sweep --dry-run` expands them, judges every point and prints what it found. A third process
says how the time divides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOUND = {
    "net_dim": [4, 8, 12, 16, 20, 24, 32, 48, 64, 128],
    "unet_lr": [5e-5, 6e-5, 7e-5, 8e-5, 9e-5, 1e-4, 1.5e-4, 2e-4, 2.5e-4, 3e-4],
    "min_snr_gamma": [None, 1, 2, 3, 4, 5, 6, 7, 8, 10],
    "scheduler": ["constant", "cosine", "linear", "polynomial", "cosine_with_restarts"],
    "batch_size": [1, 2, 3, 4],
    "test_seed": [1, 2, 3, 4, 5],
}
MIXED = {
    **SOUND,
    "net_dim": [4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096],
    "unet_lr": [1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0, 2.0],
    "clip_skip": [1, 2, 3, 6, 12],
}
del MIXED["test_seed"]
DIVIDE = """
import sys, time
from pathlib import Path
from lora_lab.document.yaml_text import read_yaml
from lora_lab.lint import Disk
from lora_lab.sweep.judge import judge
from lora_lab.sweep.plan import make_plan, read_base
from lora_lab.sweep.read_grid import read_grid
start = time.perf_counter()
grid = read_grid(read_yaml(Path(sys.argv[1]))).grid
plan = make_plan(grid, read_base(grid))
planned = time.perf_counter()
judged = judge(plan, grid.folder, Disk(grid.folder))
done = time.perf_counter()
findings = sum(len(found) for found in judged.findings)
print(f"expand {planned - start:.2f} s, check {done - planned:.2f} s", end="")
print(f"; {findings:,} findings in {len(judged.groups)} groups")
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
        for title, axes in (("sound", SOUND), ("mixed", MIXED)):
            measure(title, write(folder / f"{title}.yaml", axes), options.rounds)


def write(path: Path, axes: dict[str, list[object]]) -> Path:
    """Write a grid on the quickstart's base and pictures; 100,000 points."""
    base = {
        "base_model": "lora_lab:quickstart/base", "img_folder": "lora_lab:quickstart/pictures",
        "output_folder": "out", "train_resolution": 64, "min_bucket_resolution": 64, "max_bucket_resolution": 128,
        "max_steps": 100, "mixed_precision": "no",
    }  # fmt: skip
    lines = [f"  {name}: {json.dumps(values)}" for name, values in axes.items()]
    path.write_text("\n".join([f"base: {json.dumps(base)}", "parameters:", *lines]) + "\n", encoding="utf-8")
    return path


def measure(title: str, grid: Path, rounds: int) -> None:
    """Print medians over whole processes, then how the time divides."""
    taken = [run([sys.executable, "-m", "lora_lab", "sweep", str(grid), "--dry-run"]) for _ in range(rounds)]
    seconds, memory = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"{title}: {seconds:.1f} s, peak {memory:.0f} MB (whole process, median of {rounds})")
    divided = subprocess.run([sys.executable, "-c", DIVIDE, str(grid)], capture_output=True, text=True, check=True)
    print(f"  {divided.stdout.strip()}")


def run(command: list[str]) -> tuple[float, float]:
    """Return how long a process takes, and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)


if __name__ == "__main__":
    main()
