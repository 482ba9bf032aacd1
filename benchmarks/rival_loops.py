"""Training loops of other people's making, to measure the trainer against: a bare one, one with peft, and diffusers'.

All learn from the same latents and texts, with the same LoRA size, optimizer and clipping; `documented` is the training
step of diffusers' text-to-image LoRA example as its documentation shows it, which encodes pictures and texts in every
step and adapts the attention alone.
"""

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn import functional

from lora_lab.train import noise
from lora_lab.train.families.base import Base, Family

RATE, WEIGHT_DECAY, CLIP = 1e-4, 0.01, 1.0
COVERAGE = ["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
"""What sd-scripts adapts of the U-Net."""


@dataclass(frozen=True)
class Material:
    """A base whose U-Net is this loop's own, and what it learns from: scaled latents, ids and pixels of its batches."""

    family: Family
    base: Base
    latents: list[Tensor]  # each (n, 4, h, w)
    ids: list[Tensor]  # each (n, chunks, 77)
    pixels: list[Tensor]  # each (n, 3, H, W)
    rank: int
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the base's weights."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision as accelerate sets it, where the precision is one."""
        if self.precision == "no":
            return nullcontext()
        return torch.autocast(self.latents[0].device.type, dtype=self.dtype)

    @torch.no_grad()
    def states(self) -> list[Tensor]:
        """The text states of each batch."""
        return [self.family.encode(self.base, part, 1).states for part in self.ids]


class BareLora(nn.Module):
    """A frozen layer with one LoRA beside it, and nothing else."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        height, width = layer.weight.shape[:2]
        device = layer.weight.device
        self.layer, self.scale = layer, 1.0 / rank
        self.down = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(rank, width, device=device), a=math.sqrt(5)))
        self.up = nn.Parameter(torch.zeros(height, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Add up · down · x."""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        if isinstance(self.layer, nn.Conv2d):
            hidden = functional.conv2d(x, down.view(*down.shape[:2], 1, 1))
            return self.layer(x) + functional.conv2d(hidden, up.view(*up.shape[:2], 1, 1)) * self.scale
        return self.layer(x) + functional.linear(functional.linear(x, down), up) * self.scale


@dataclass
class _Learner:
    """The end of every loop's step: clip, move, go on."""

    params: list[nn.Parameter]
    fused: bool = True
    done: int = 0
    loss: float = float("nan")
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        how = {"fused": True} if self.fused else {}
        self.optimizer = torch.optim.AdamW(self.params, lr=RATE, weight_decay=WEIGHT_DECAY, **how)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.5 + 0.5 * math.cos(step / 1e3))

    def learn(self, loss: Tensor, look: bool) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.done += 1
        if look:
            self.loss = loss.item()


def bare(material: Material) -> Callable[[], None]:
    """Return the step of the least loop that learns the same: no library but torch and the U-Net itself."""
    unet: Any = material.base.unet
    layers = material.family.layers(material.base)
    own: list[nn.Parameter] = []
    for name, (owner, attribute) in layers.items():
        if name.startswith("lora_unet"):
            lora = BareLora(getattr(owner, attribute), material.rank)
            setattr(owner, attribute, lora)
            own += [lora.down, lora.up]
    return _cached(material, unet, _Learner(own), nullcontext)


def peft(material: Material) -> Callable[[], None]:
    """Return the same with peft's adapters, in mixed precision where one is asked for."""
    unet: Any = material.base.unet
    return _cached(material, unet, _Learner(_with_peft(unet, material.rank, COVERAGE), fused=False), material.autocast)


def _with_peft(unet: Any, rank: int, targets: list[str]) -> list[nn.Parameter]:
    config = LoraConfig(r=rank, lora_alpha=1, init_lora_weights="gaussian", target_modules=targets)
    unet.add_adapter(config)
    params = [p for p in unet.parameters() if p.requires_grad]
    for p in params:
        p.data = p.data.float()
    return params


def _cached(material: Material, unet: Any, learner: _Learner, mixed: Callable[[], Any]) -> Callable[[], None]:
    latents, states, acp = material.latents, material.states(), material.base.alphas_cumprod

    def step() -> None:
        clean, text = (parts[learner.done % len(parts)] for parts in (latents, states))
        drawn = torch.randn_like(clean)
        t = torch.randint(0, noise.TRAIN_STEPS, (len(clean),), device=clean.device)
        noisy = noise.add_noise(clean, drawn, acp, t)
        with mixed():
            predicted = unet(noisy.to(material.dtype), t, text).sample
        learner.learn(functional.mse_loss(predicted.float(), drawn), look=learner.done % 10 == 9)

    return step


def documented(material: Material) -> Callable[[], None]:
    """Return the step of diffusers' `train_text_to_image_lora.py`, line by line but for gradient accumulation."""
    from diffusers import DDPMScheduler  # noqa: PLC0415  # seconds

    base, dtype = material.base, material.dtype
    unet: Any = base.unet
    vae: Any = copy.deepcopy(base.vae).to(dtype=dtype)
    encoder: Any = base.text_encoders[0]
    learner = _Learner(_with_peft(unet, material.rank, ["to_k", "to_q", "to_v", "to_out.0"]), fused=False)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

    def step() -> None:
        pixels, ids = (parts[learner.done % len(parts)] for parts in (material.pixels, material.ids))
        with material.autocast():
            clean = vae.encode(pixels.to(dtype)).latent_dist.sample() * vae.config.scaling_factor
            drawn = torch.randn_like(clean)
            t = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), device=clean.device).long()
            noisy = scheduler.add_noise(clean, drawn, t)
            text = encoder(ids.flatten(0, 1), return_dict=False)[0]
            predicted = unet(noisy, t, text, return_dict=False)[0]
            loss = functional.mse_loss(predicted.float(), drawn.float(), reduction="mean")
        learner.learn(loss, look=True)

    return step
