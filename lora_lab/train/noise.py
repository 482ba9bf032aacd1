"""The forward diffusion process and its targets, each a short function over plain tensors.

`acp` is ᾱ, the cumulative product of 1 − β, float32 of shape (1000,); `t` is int64 of shape (n,).
"""

import torch
from torch import Tensor

TRAIN_STEPS = 1000


def alphas_cumprod(beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """ᾱ of the scaled-linear schedule of Stable Diffusion (Rombach et al. 2022): β = linspace(√β₀, √β₁)²."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, TRAIN_STEPS, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, dim=0)


def _per_picture(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def snr(acp: Tensor, t: Tensor) -> Tensor:
    """Signal-to-noise ratio ᾱ / (1 − ᾱ) at each timestep."""
    return acp[t] / (1 - acp[t])


def add_noise(latents: Tensor, noise: Tensor, acp: Tensor, t: Tensor) -> Tensor:
    """x_t = √ᾱ x₀ + √(1 − ᾱ) ε (Ho et al. 2020, eq. 4)."""
    return _per_picture(acp[t].sqrt()) * latents + _per_picture((1 - acp[t]).sqrt()) * noise


def velocity(latents: Tensor, noise: Tensor, acp: Tensor, t: Tensor) -> Tensor:
    """v = √ᾱ ε − √(1 − ᾱ) x₀ (Salimans & Ho 2022)."""
    return _per_picture(acp[t].sqrt()) * noise - _per_picture((1 - acp[t]).sqrt()) * latents


def target(latents: Tensor, noise: Tensor, acp: Tensor, t: Tensor, v_parameterization: bool) -> Tensor:
    """What the U-Net must predict: the noise, or the velocity for v-prediction models."""
    return velocity(latents, noise, acp, t) if v_parameterization else noise
