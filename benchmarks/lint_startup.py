"""What one call of `lora-lab lint` costs, against the imports that no Click program with pydantic can do without.

    python benchmarks/lint_startup.py [--rounds 31] [--files 300]

Whole processes in alternation, so that a busy machine slows both alike; medians, and the quartiles of the ratio. The
second part judges generated configs in one call and says what each costs beyond the first. Everything is byte-compiled,
as pip leaves it, whatever PYTHONDONTWRITEBYTECODE says.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FLOOR = "import click; from pydantic import BaseModel, Field"
CONFIG = {
    "base_model": "models/sd15", "img_folder": "pictures", "output_folder": "out", "net_dim": 32, "alpha": 16.0,
    "scheduler": "cosine", "learning_rate": 1e-4, "batch_size": 2, "num_epochs": 10, "train_resolution": 512,
    "shuffle_captions": True, "keep_tokens": 1, "mixed_precision": "bf16", "save_every_n_epochs": 2, "clip_skip": 2,
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--files", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
        write(folder / "one", 1)
        write(folder / "many", options.files)
        startup(folder / "one" / "0.json", options.rounds)
        per_file(folder, options.files, max(options.rounds // 6, 3))


def write(folder: Path, number: int) -> None:
    """Write configs that differ in a few values, a third of them with mistakes."""
    draw = random.Random(7)
    folder.mkdir()
    for index in range(number):
        config = CONFIG | {"net_dim": draw.choice([8, 32, 64, 128]), "learning_rate": draw.choice([5e-5, 1e-4, 1.0])}
        if index % 3 == 2:
            config |= draw.choice([{"net_dimm": 4}, {"clip_skip": True}, {"batch_size": "2"}, {"save_as": "pt"}])
        (folder / f"{index}.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def startup(path: Path, rounds: int) -> None:
    """Print the whole process for one file against the floor."""
    floor, lint = [sys.executable, "-c", FLOOR], [sys.executable, "-m", "lora_lab", "lint", str(path)]
    pairs = [(seconds(floor), seconds(lint)) for _ in range(rounds + 1)][1:]
    ratios = [mine / least for least, mine in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    least, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"one file: {mine * 1000:.0f} ms, floor {least * 1000:.0f} ms")
    print(f"ratio: {middle:.2f} (quartiles {low:.2f} to {high:.2f}, {rounds} pairs)")


def per_file(folder: Path, files: int, rounds: int) -> None:
    """Print what a file costs beyond the first."""
    one = [sys.executable, "-m", "lora_lab", "lint", str(folder / "one")]
    many = [sys.executable, "-m", "lora_lab", "lint", str(folder / "many")]
    costs = [(-seconds(one) + seconds(many)) / (files - 1) for _ in range(rounds)]
    print(f"{files} files: {statistics.median(costs) * 1000:.2f} ms for each beyond the first")


def seconds(command: Sequence[str]) -> float:
    """Return how long a process takes."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
