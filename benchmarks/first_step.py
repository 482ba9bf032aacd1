"""How soon the first step is done: whole processes on the quickstart's base, turn about with the bare imports.

`python benchmarks/first_step.py [ROUNDS]`. Trains one step of a U-Net LoRA with latents and captions cached, from an
empty cache and from a full one, LoRA file and all; beside it what importing costs that most trainers begin with. Prints
medians of processor time (user and system, of all threads) and wall-clock time. With a full cache 3 s or less is the
goal on a calm machine; on a busy one compare processor times. Look at `uptime` first.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def measured(command: list[str], cache: Path) -> tuple[float, float]:
    """Run a command; return its processor and wall-clock seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "LORA_LAB_CACHE": str(cache), "PYTHONWARNINGS": "ignore"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


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
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        measured(ours, top / "cache")  # the files are in memory afterwards, and Python has compiled them
        for _ in range(rounds):
            for name, command in cases.items():
                shutil.rmtree(top / "out", ignore_errors=True)
                if "empty" in name:
                    shutil.rmtree(top / "cache")
                times[name].append(measured(command, top / "cache"))
    print(f"medians of {rounds}, load {os.getloadavg()[0]:.1f}\n{'':40}processor s   wall s")
    for name, found in times.items():
        print(
            f"{name:40}{statistics.median(cpu for cpu, _ in found):11.2f} {statistics.median(w for _, w in found):8.2f}"
        )


if __name__ == "__main__":
    main()
