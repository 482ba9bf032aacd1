"""Steps per second and peak memory of training on a base of SD 1's full size: 859.5 million U-Net weights, random ones.

    python benchmarks/sd1_full_width.py [--v2] [--precision bf16|no] [--resolution 256] [--steps 4] [--rank 16]

The base is written into a temporary folder by a process of its own (2.2 GB in bf16), so that the peak is the training's
alone: loading, encoding four drawn pictures, and the steps. The first step is left out of the speed.
"""

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lora_lab.config import TrainConfig
from lora_lab.quickstart.draw import draw, random_scene
from lora_lab.tracking.events import ignore
from lora_lab.train import loop
from lora_lab.train.base_files.single_file import LAYOUTS, load_tokenizer
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.families.sd2 import SD2
from lora_lab.train.loop import Progress
from lora_lab.train.run import train_run

DTYPE = torch.bfloat16
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def main() -> None:
    """Write the base, train on it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--v2", action="store_true", help="SD 2.x instead of SD 1.x")
    parser.add_argument("--precision", choices=["bf16", "no"], default="bf16")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_base(options.write, "sd2" if options.v2 else "sd1")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--write", str(folder / "base"), *(["--v2"] if options.v2 else [])]
        subprocess.run(command, check=True)
        write_pictures(folder / "pictures" / "4_lumi")
        measure(options, folder, "SD 2" if options.v2 else "SD 1")


def write_base(folder: Path, name: str) -> None:
    """Write a random base of the published size in diffusers' layout, bf16."""
    layout = LAYOUTS / name
    makers = {
        "unet": lambda: UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(layout / "unet")),
        "vae": lambda: AutoencoderKL.from_config(AutoencoderKL.load_config(layout / "vae")),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig.from_pretrained(layout / "text_encoder")),
    }
    write_models(folder, makers)
    load_tokenizer((SD2 if name == "sd2" else SD1).pad_token).save_pretrained(folder / "tokenizer")
    write_schedule(folder)
    (folder / "model_index.json").write_text(json.dumps(INDEX))


def write_models(folder: Path, makers: Mapping[str, Callable[[], Any]]) -> None:
    """Write random models, each into its folder, bf16."""
    torch.manual_seed(0)
    for part, make in makers.items():
        with torch.device("meta"):
            model = make().to(DTYPE)
        model = model.to_empty(device="cpu")
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.02) if weight.ndim > 1 else torch.nn.init.ones_(weight)
        model.save_pretrained(folder / part)


def write_schedule(folder: Path) -> None:
    """Write the noise schedule that all Stable Diffusion models have."""
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )


def write_pictures(folder: Path) -> None:
    """Write four drawn pictures with captions."""
    folder.mkdir(parents=True)
    draws = random.Random(0)
    for number in range(4):
        draw(random_scene(draws, ("lumi",))).resize((512, 512)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("lumi, a small ghost")


def measure(options: argparse.Namespace, folder: Path, title: str) -> None:
    """Train and print."""
    config = TrainConfig(
        base_model=str(folder / "base"),
        img_folder=str(folder / "pictures"),
        output_folder=str(folder / "out"),
        v2=options.v2,
        train_resolution=options.resolution,
        min_bucket_resolution=64,
        mixed_precision=options.precision,
        gradient_checkpointing=options.gradient_checkpointing,
        net_dim=options.rank,
        batch_size=1,
        max_steps=options.steps,
    )
    loop.LOG_EVERY = 1  # so that every step is told
    times: list[float] = []
    done: list[int] = []

    def note(progress: Progress) -> None:
        if progress.step and progress.step not in done:
            done.append(progress.step)
            times.append(time.perf_counter())

    start = time.perf_counter()
    result = train_run(config, folder=folder / "out", record=ignore, progress=note)
    whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    each = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else float("nan")
    print(f"{title}, full width, {options.resolution} px, rank {options.rank},", end=" ")
    print(f"{options.precision}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    print(f"steps/s      {1 / each:.3f} ({each:.1f} s each over {len(times) - 1} steps)")
    print(f"peak memory  {peak:.2f} GiB")
    size = result.lora.stat().st_size / 2**20
    print(f"whole run    {whole:.0f} s; LoRA {size:.0f} MiB; loss {result.metrics['loss']:.3f}")


if __name__ == "__main__":
    main()
