"""A tiny base of the SD 1.x architecture with random weights, and a few drawn pictures."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lora_lab.config import TrainConfig
from lora_lab.quickstart.draw import draw, random_scene

TOKENIZER = Path(__file__).parents[2] / "lora_lab" / "quickstart" / "base" / "tokenizer"

MODEL_INDEX = """{
  "_class_name": "StableDiffusionPipeline",
  "feature_extractor": [null, null], "requires_safety_checker": false, "safety_checker": [null, null],
  "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
  "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
  "vae": ["diffusers", "AutoencoderKL"]
}
"""


def make_base(folder: Path) -> Path:
    """Write a random base: latents an eighth of the picture, text states of width 16."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            vocab_size=49408,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )  # fmt: skip
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )
    shutil.copytree(TOKENIZER, folder / "tokenizer")
    (folder / "model_index.json").write_text(MODEL_INDEX)
    return folder


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD 1.x base in diffusers' layout."""
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn pictures of 128 × 128 in `2_lumi`, with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "2_lumi").mkdir()
    draws = random.Random(0)
    for number in range(8):
        scene = random_scene(draws, ("lumi",))
        draw(scene).save(folder / "2_lumi" / f"{number}.png")
        (folder / "2_lumi" / f"{number}.txt").write_text(f"lumi, {scene.colour}, {scene.background} background")
    return folder


@pytest.fixture
def make_config(base_folder: Path, picture_folder: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Return a function that makes a quick config: 64 × 64, fp32, rank 4, six steps."""

    def make(**values: object) -> TrainConfig:
        quick: dict[str, object] = {
            "base_model": str(base_folder),
            "img_folder": str(picture_folder),
            "output_folder": str(tmp_path / "out"),
            "train_resolution": 64,
            "min_bucket_resolution": 64,
            "max_bucket_resolution": 128,
            "mixed_precision": "no",
            "save_precision": "float",
            "net_dim": 4,
            "alpha": 2.0,
            "batch_size": 2,
            "max_steps": 6,
            "learning_rate": 1e-3,
        }
        return TrainConfig(**{**quick, **values})

    return make
