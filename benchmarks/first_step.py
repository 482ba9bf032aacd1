"""How soon the first step is done: whole processes on the quickstart's base, turn about with the bare imports.

`python benchmarks/first_step.py [ROUNDS]`. Trains one step of a U-Net LoRA with latents and captions cached, from an
empty cache and from a full one, LoRA file and all; beside it what importing costs that most trainers begin with. Prints
medians of processor time (user and system, of all threads), of wall-clock time, and of the time until the command says
that the step is done and the LoRA written; the rest is the process's end. With a full cache 3 s or less until then is
the goal on a calm machine; on a busy one compare with `import torch`. Look at `uptime` first.
"""

import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import lora_lab

PACKAGE = Path(lora_lab.__file__).parent / "quickstart"
CONFIG = {
    "base_model": str(PACKAGE / "base"),
    "img_folder": str(PACKAGE / "pictures"),
    "train_resolution": 128,
    "min_bucket_resolution": 64,
    "max_bucket_resolution": 256,
    "mixed_precision": "no",
    "net_dim": 8,
    "alpha": 8,
    "batch_size": 1,
    "max_steps": 1,
    "unet_only": True,
    "cache_latents_to_disk": True,
    "cache_text_encoder_outputs": True,
    "cache_text_encoder_outputs_to_disk": True,
}


class Took(NamedTuple):
    """Seconds of a command: processor time, until it ended, until it said that it has trained."""

    cpu: float
    wall: float
    trained: float


def measured(command: list[str], cache: Path) -> Took:
    """Run a command and watch what it says."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {
        **os.environ,
        "LORA_LAB_CACHE": str(cache),
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }
    trained = float("nan")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("trained 1 step"):
                trained = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{command} has failed")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, trained)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        config = top / "config.json"
        config.write_text(json.dumps({**CONFIG, "output_folder": str(top / "out")}))
        ours = [sys.executable, "-m", "lora_lab", "train", str(config), "--no-tracking"]
        cases = {
            "import torch": [sys.executable, "-c", "import torch"],
            "import torch, diffusers, transformers": [sys.executable, "-c", "import torch, diffusers, transformers"],
            "their U-Net, VAE, text encoder": [
                *(sys.executable, "-c"),
                "from diffusers import AutoencoderKL, UNet2DConditionModel; from transformers import CLIPTextModel",
            ],
            "ours, first step, empty cache": ours,
            "ours, first step, full cache": ours,
        }
        times: dict[str, list[Took]] = {name: [] for name in cases}
        measured(ours, top / "cache")  # the files are in memory afterwards, and Python has compiled them
        for _ in range(rounds):
            for name, command in cases.items():
                shutil.rmtree(top / "out", ignore_errors=True)
                if "empty" in name:
                    shutil.rmtree(top / "cache")
                times[name].append(measured(command, top / "cache"))
    print(f"medians of {rounds}, load {os.getloadavg()[0]:.1f}\n{'':40}processor s   wall s   until trained")
    for name, found in times.items():
        cpu, wall, trained = (statistics.median(seconds) for seconds in zip(*found, strict=True))
        shown = "" if math.isnan(trained) else f"{trained:8.2f} ({trained / torch_wall(times):.2f} x torch)"
        print(f"{name:40}{cpu:11.2f} {wall:8.2f} {shown}")


def torch_wall(times: Mapping[str, Sequence[Took]]) -> float:
    """Return what importing torch alone takes."""
    return statistics.median(took.wall for took in times["import torch"])


if __name__ == "__main__":
    main()
