"""Seconds per step and peak memory of training on a base of SDXL's full size: 2,567 million U-Net weights, random ones.

    python benchmarks/sdxl_full_width.py [--precision bf16|no] [--resolution 256] [--steps 2] [--rank 8] [--meta]

As sd1_full_width.py: the base (7 GB in bf16) is written by a process of its own, so that the peak is the training's
alone. Gradient checkpointing is on. `--meta` needs no memory: it counts the weights, and trains nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from sd1_full_width import measure, write_models, write_pictures, write_schedule
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_lab.train.base_files.single_file import LAYOUTS, load_tokenizer
from lora_lab.train.families.sdxl import SDXL

LAYOUT = LAYOUTS / "sdxl"
INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
MAKERS: dict[str, Callable[[], Any]] = {
    "unet": lambda: UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(LAYOUT / "unet")),
    "vae": lambda: AutoencoderKL.from_config(AutoencoderKL.load_config(LAYOUT / "vae")),
    "text_encoder": lambda: CLIPTextModel(CLIPTextConfig.from_pretrained(LAYOUT / "text_encoder")),
    "text_encoder_2": lambda: CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(LAYOUT / "text_encoder_2")),
}


def main() -> None:
    """Write the base, train on it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["bf16", "no"], default="bf16")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--meta", action="store_true")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.v2, options.gradient_checkpointing = False, True
    if options.write:
        write_base(options.write)
    elif options.meta:
        count()
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            subprocess.run([sys.executable, __file__, "--write", str(folder / "base")], check=True)
            write_pictures(folder / "pictures" / "4_lumi")
            measure(options, folder, "SDXL")


def write_base(folder: Path) -> None:
    """Write a random base of the published size in diffusers' layout, bf16."""
    write_models(folder, MAKERS)
    for text in SDXL().texts:
        load_tokenizer(text.pad_token).save_pretrained(folder / text.tokenizer)
    write_schedule(folder)
    (folder / "model_index.json").write_text(json.dumps(INDEX))


def count() -> None:
    """Print how many weights the models have."""
    for part, make in MAKERS.items():
        with torch.device("meta"):
            print(f"{part:15} {sum(weight.numel() for weight in make().parameters()):13,} weights")


if __name__ == "__main__":
    main()
