"""Bases of SD 1's architecture with random weights, in the sizes that `benchmarks/` measures on. Nothing is downloaded.

`nano` has a U-Net of 0.79 M and a text encoder of width 32 with the real vocabulary, `mini` a U-Net of 57 M, CLIP-L and
a VAE of 5 M, `full` the published sizes (859.5 M). `mini` is 0.7 GB on disk, and is written once a script.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from sd1_full_width import INDEX, write_base, write_schedule
from transformers import CLIPTextConfig, CLIPTextModel

from lora_lab.quickstart.draw import draw, random_scene
from lora_lab.train.base_files.single_file import load_tokenizer
from lora_lab.train.families.sd1 import SD1

SIZES = ("nano", "mini", "full")
PICTURES = 8


def write(folder: Path, size: str) -> Path:
    """Write a base into `folder/size`, in diffusers' layout, unless it is there; return where it is."""
    path = folder / size
    if (path / "model_index.json").exists():
        return path
    if size == "full":
        write_base(path, "sd1")
        return path
    torch.manual_seed(0)
    for part, make in (_nano() if size == "nano" else _mini()).items():
        make().save_pretrained(path / part)
    load_tokenizer(SD1.pad_token).save_pretrained(path / "tokenizer")
    write_schedule(path)
    (path / "model_index.json").write_text(json.dumps(INDEX))
    return path


def write_pictures(folder: Path, side: int) -> Path:
    """Write drawn pictures of one size with captions; return the folder that a config names."""
    inner = folder / "1_lumi"
    inner.mkdir(parents=True)
    draws = random.Random(0)
    for number in range(PICTURES):
        scene = random_scene(draws, ("lumi",))
        draw(scene).resize((side, side)).save(inner / f"{number}.png")
        (inner / f"{number}.txt").write_text(f"lumi, {scene.colour}, {scene.background} background")
    return folder


def _nano() -> dict[str, Callable[[], Any]]:
    return {
        "unet": lambda: UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        "text_encoder": lambda: _clip(32, layers=2, heads=4),
        "vae": lambda: _vae((8, 8, 16, 16), groups=2),
    }


def _mini() -> dict[str, Callable[[], Any]]:
    return {
        "unet": lambda: UNet2DConditionModel(
            block_out_channels=(80, 160, 320, 320),
            cross_attention_dim=768,
            attention_head_dim=8,
            norm_num_groups=16,
        ),
        "text_encoder": lambda: _clip(768, layers=12, heads=12),
        "vae": lambda: _vae((32, 64, 128, 128), groups=16),
    }


def _clip(width: int, *, layers: int, heads: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            vocab_size=49408,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def _vae(widths: tuple[int, ...], *, groups: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=widths,
        layers_per_block=2,
        norm_num_groups=groups,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.18215,
    )
