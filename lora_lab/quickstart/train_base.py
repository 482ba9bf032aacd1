"""Train the quickstart's base model from nothing, on drawn pictures: `python -m lora_lab.quickstart.train_base OUT`.

Its stages are each kept in OUT so that a stopped run goes on with the next one: the VAE on every outline of
`draw.py`, then U-Net and text encoder together on `SHAPES` alone, shapes before colours. About two hours on two CPU
cores; the result is a diffusers folder of the Stable Diffusion 1.x architecture, small enough to travel with the
package.
"""

import copy
import json
import math
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from lora_lab.quickstart.clip_tokenizer import write_tokenizer
from lora_lab.quickstart.draw import OUTLINES, SIZE, Scene, draw, random_scene

SCALING_FACTOR = 0.18215  # SD 1.x; `normalise_latents` makes it true for this VAE
LATENT_NOISE = 0.05  # of the latents' deviation


class Latents(NamedTuple):
    """What the U-Net learns from: scaled latents (n, 4, 16, 16), token ids (n, 77) and those of no caption (1, 77)."""

    latents: torch.Tensor
    tokens: torch.Tensor
    empty: torch.Tensor


def new_vae() -> AutoencoderKL:
    """0.8 M parameters; 128 × 128 pixels become 4 × 16 × 16 latents."""
    return AutoencoderKL(
        block_out_channels=(16, 24, 48, 64),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=SIZE,
        scaling_factor=SCALING_FACTOR,
    )


def new_unet() -> UNet2DConditionModel:
    """4.3 M parameters on 4 × 16 × 16 latents, conditioned on states of width 48."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=48,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_text_encoder() -> CLIPTextModel:
    """CLIP's text transformer with its whole vocabulary, three layers of width 48."""
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=48,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=49408,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def new_scheduler() -> DDIMScheduler:
    """The noise schedule of SD 1.x."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def drawn(count: int, seed: int, shapes: tuple[str, ...] | None = None) -> tuple[list[Scene], torch.Tensor]:
    """`count` scenes and their pictures, uint8 of shape (count, 3, SIZE, SIZE)."""
    draws = random.Random(seed)
    scenes = [random_scene(draws, shapes) if shapes else random_scene(draws) for _ in range(count)]
    pictures = np.stack([np.asarray(draw(scene)) for scene in scenes])
    return scenes, torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def to_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 pictures as float pixels in [-1, 1]."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int = 100) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then half a cosine down to one per cent."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def vae_batch(pictures: torch.Tensor, progress: float) -> torch.Tensor:
    """The next batch of pixels: mosaics first, then half-size pictures, then whole ones.

    Group normalisation hides the absolute colour of a flat picture, so a VAE that starts on them learns four times
    slower than on mosaics of 2 × 2 small ones, which show it many colours at once.
    """
    if progress < 0.5:
        tiles = functional.avg_pool2d(pictures[torch.randint(len(pictures), (64,))].float(), 4)
        side = tiles.shape[-1]
        rows = tiles.view(16, 2, 2, 3, side, side).permute(0, 3, 1, 4, 2, 5)
        return to_pixels(rows.reshape(16, 3, 2 * side, 2 * side))
    if progress < 0.8:
        return to_pixels(functional.avg_pool2d(pictures[torch.randint(len(pictures), (16,))].float(), 2))
    return to_pixels(pictures[torch.randint(len(pictures), (8,))])


def train_vae(steps: int) -> AutoencoderKL:
    """L1 + L2 reconstruction of latents with five per cent of noise; the decoder learns to bear small errors."""
    torch.manual_seed(1)
    vae = new_vae().to(memory_format=torch.channels_last)
    _, pictures = drawn(6000, seed=1, shapes=tuple(OUTLINES))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0)
    schedule = cosine(optimizer, steps)
    started, shown = time.monotonic(), 0.0
    for step in range(steps):
        pixels = vae_batch(pictures, step / steps)
        means = vae.encode(pixels).latent_dist.mean
        latents = means + LATENT_NOISE * means.detach().std() * torch.randn_like(means)
        error = vae.decode(latents).sample - pixels
        loss = error.abs().mean() + 2 * error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        shown = 0.98 * shown + 0.02 * error.abs().mean().item()
        if step % 100 == 0 or step == steps - 1:
            print(f"vae {step} l1 {shown:.4f} {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
    normalise_latents(vae, pictures[:512])
    return vae


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Shift and scale the latents inside the VAE so that `SCALING_FACTOR` gives them mean 0 and deviation 1."""
    means = torch.cat([vae.encode(to_pixels(part)).latent_dist.mean for part in pictures.split(32)])
    centre, spread = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    gain = 1 / SCALING_FACTOR / spread
    out, back = vae.quant_conv, vae.post_quant_conv
    out.weight[:4] *= gain[:, None, None, None]
    out.bias[:4] = (out.bias[:4] - centre) * gain
    out.weight[4:] = 0  # the same small deviation everywhere, as the decoder was taught
    out.bias[4:] = 2 * math.log(LATENT_NOISE / SCALING_FACTOR)
    back.bias += back.weight[:, :, 0, 0] @ centre
    back.weight /= gain[None, :, None, None]


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Scaled latent means, float32 of shape (n, 4, SIZE / 8, SIZE / 8)."""
    parts = [vae.encode(to_pixels(part)).latent_dist.mean for part in pictures.split(32)]
    return torch.cat(parts).contiguous() * SCALING_FACTOR


@dataclass(frozen=True)
class Stage:
    """A part of the U-Net's training: so many steps from a learning rate down, with one weighting of the timesteps."""

    steps: int
    learning_rate: float
    weight: Callable[[torch.Tensor], torch.Tensor]


STAGES = {
    # shapes first: min-SNR weights (Hang et al. 2023) look at the middle of the schedule
    "shapes": Stage(2000, 1e-3, lambda snr: snr.clamp(max=5) / snr),
    # then colours, which are decided where almost all is noise: 1 / √SNR (debiased estimation, Yu et al. 2024)
    "colours": Stage(2600, 7e-4, lambda snr: snr.rsqrt().clamp(max=12)),
}


def train_unet(models: torch.nn.ModuleList, data: Latents, stage: Stage, batch: int) -> torch.nn.ModuleList:
    """Teach U-Net and text encoder to predict noise, with 10 % empty captions; return their moving averages."""
    torch.manual_seed(2)
    averages = copy.deepcopy(models)
    unet, text_encoder = models
    noise_schedule = new_scheduler()
    optimizer = torch.optim.AdamW(models.parameters(), lr=stage.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = cosine(optimizer, stage.steps)
    started, shown = time.monotonic(), 0.0
    for step in range(stage.steps):
        chosen = torch.randint(len(data.latents), (batch,))
        ids = torch.where(torch.rand(batch, 1) < 0.1, data.empty, data.tokens[chosen])
        noise, t = torch.randn_like(data.latents[chosen]), torch.randint(1000, (batch,))
        noisy = noise_schedule.add_noise(data.latents[chosen], noise, t)
        predicted = unet(noisy, t, text_encoder(ids).last_hidden_state).sample
        errors = functional.mse_loss(predicted, noise, reduction="none").mean(dim=(1, 2, 3))
        loss = (errors * stage.weight(compute_snr(noise_schedule, t))).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(averages.parameters()), list(models.parameters()), 1 - decay)
        shown = loss.item() if step == 0 else 0.98 * shown + 0.02 * loss.item()
        if step % 100 == 0 or step == stage.steps - 1:
            print(f"unet {step} loss {shown:.4f} {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
    return averages


def write_base(folder: Path, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, vae: AutoencoderKL) -> None:
    """The diffusers folder, weights in fp16, to be loaded as fp32."""
    parts = {"unet": unet, "text_encoder": text_encoder, "vae": vae}
    for name, model in parts.items():
        model.half().save_pretrained(folder / name, safe_serialization=True)
    # transformers loads in the precision that the config names, diffusers in fp32: without this they would not fit
    config = folder / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"float16"', '"float32"'))
    new_scheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--bpe", type=click.Path(exists=True, path_type=Path), required=True, help="bpe_simple_vocab_16e6.txt.gz")
@click.option("--vae-steps", default=4000)
@click.option("--pictures", default=8000)
def main(out: Path, bpe: Path, vae_steps: int, pictures: int) -> None:
    """Write the quickstart's base model to OUT."""
    tokenizer = write_tokenizer(bpe, out / "tokenizer")
    work = out.with_name(out.name + ".work")
    work.mkdir(exist_ok=True)
    if not (work / "vae").exists():
        train_vae(vae_steps).save_pretrained(work / "vae")
    vae = new_vae()  # a model that came from a folder would carry that folder's path into its config
    vae.load_state_dict(AutoencoderKL.from_pretrained(work / "vae").state_dict())
    scenes, drawings = drawn(pictures, seed=2)
    captions = [scene.caption for scene in scenes]
    data = Latents(
        encode(vae, drawings),
        tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids,
        tokenizer([""], padding="max_length", return_tensors="pt").input_ids,
    )
    models = torch.nn.ModuleList([new_unet(), new_text_encoder()])
    for name, stage in STAGES.items():
        kept = work / f"{name}.pt"
        if not kept.exists():
            torch.save(train_unet(models, data, stage, batch=32).state_dict(), kept)
        models.load_state_dict(torch.load(kept, weights_only=True))
    unet, text_encoder = models
    write_base(out, unet, text_encoder, vae)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
