"""A second sweep on the same pictures and captions: what it finds in the cache, what it loads, how long it takes.

    python benchmarks/second_sweep.py [--runs 4] [--steps 20]

Two `lora-lab sweep`s on the packaged base, in processes of their own, with one cache between them: other learning
rates and seeds, latents and texts cached on the disk, no pictures drawn. An entry that is read becomes the youngest, so
the files tell what was found and what was made. Each process notes at its end whether it has imported the VAE's and the
text encoder's code, without which their weights cannot be read. The goal is that the second sweep makes nothing and
imports neither.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lora_lab

PACKAGE = Path(lora_lab.__file__).parent / "quickstart"
AT_THE_END = """
import atexit, os, sys

def note():
    with open(os.environ["SECOND_SWEEP_NOTES"], "a") as notes:
        notes.write(" ".join(sys.modules) + "\\n")

atexit.register(note)
"""
"""A `sitecustomize.py`: every Python process that the sweep starts runs it."""
MODELS = {"VAE": "diffusers.models.autoencoders.autoencoder_kl", "text encoder": "transformers.models.clip"}


def main() -> None:
    """Sweep twice and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {options.runs} runs of {options.steps} steps")
    print("sweep | cache entries made | found | imported | seconds")
    with tempfile.TemporaryDirectory() as name:
        for number in (1, 2):
            made, found, imported, seconds = sweep(Path(name), number, options.runs, options.steps)
            print(f"{number} | {made} | {found} | {', '.join(imported) or 'neither'} | {seconds:.1f}", flush=True)


def sweep(folder: Path, number: int, runs: int, steps: int) -> tuple[int, int, list[str], float]:
    """Run a sweep; how many entries of the cache it made and found, which models' code it imported, seconds."""
    grid, cache, notes = folder / f"grid{number}.json", folder / "cache", folder / f"notes{number}"
    grid.write_text(json.dumps(_grid(number, runs, steps)))
    (folder / "sitecustomize.py").write_text(AT_THE_END)
    told = {"LORA_LAB_CACHE": cache, "PYTHONPATH": folder, "SECOND_SWEEP_NOTES": notes, "PYTHONWARNINGS": "ignore"}
    before, start = ages(cache), time.perf_counter()
    command = [sys.executable, "-m", "lora_lab", "sweep", str(grid), "--no-tracking", "--pack", str(runs)]
    environment = {**os.environ, **{name: str(value) for name, value in told.items()}}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    after, modules = ages(cache), set(notes.read_text().split())
    if "torch" not in modules:
        raise SystemExit("the process that trained has left no note")
    found = sum(path in before and age > before[path] for path, age in after.items())
    imported = [what for what, module in MODELS.items() if any(name.startswith(module) for name in modules)]
    return len(after.keys() - before.keys()), found, imported, seconds


def ages(cache: Path) -> dict[Path, int]:
    """When each entry was last read or written, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}


def _grid(number: int, runs: int, steps: int) -> dict[str, Any]:
    base = {
        "base_model": str(PACKAGE / "base"),
        "img_folder": str(PACKAGE / "pictures"),
        "output_folder": "out",
        "train_resolution": 128,
        "min_bucket_resolution": 64,
        "max_bucket_resolution": 256,
        "mixed_precision": "no",
        "max_steps": steps,
        "unet_only": True,
        "test_seed": number,
        "cache_latents_to_disk": True,
        "cache_text_encoder_outputs": True,
        "cache_text_encoder_outputs_to_disk": True,
    }
    rates = [number * 1e-4 * (1 + run) for run in range(runs)]
    return {"name": f"sweep{number}", "base": base, "parameters": {"learning_rate": rates}}


if __name__ == "__main__":
    main()
