"""The forward diffusion process and its targets, each a short function over plain tensors.

`acp` is ᾱ, the cumulative product of 1 − β, float32 of shape (1000,); `t` is int64 of shape (n,).
"""

import random

import torch
from torch import Tensor
from torch.nn import functional

TRAIN_STEPS = 1000


def alphas_cumprod(beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """ᾱ of the scaled-linear schedule of Stable Diffusion (Rombach et al. 2022): β = linspace(√β₀, √β₁)²."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, TRAIN_STEPS, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, dim=0)


def zero_terminal(acp: Tensor) -> Tensor:
    """Return ᾱ shifted and scaled so that it ends in 0, pure noise (Lin et al. 2023, algorithm 1), float32 (1000,).

    √ᾱ′ = (√ᾱ − √ᾱ_T) · √ᾱ_1 / (√ᾱ_1 − √ᾱ_T): the first step keeps its noise, the last has no signal left.
    """
    root = acp.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * (first / (first - last))) ** 2


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


def with_offset(noise: Tensor, drawn: Tensor, strength: Tensor | float) -> Tensor:
    """Add one normal number per picture and channel, `drawn` (n, c, 1, 1), times a strength.

    Nicholas Guttenberg, "Diffusion with Offset Noise", crosslabs.org 2023. `strength` is a number or (n, c, 1, 1).
    """
    return noise + strength * drawn


def adaptive_strength(strength: float, scale: float, latents: Tensor) -> Tensor:
    """Offset strength + scale · |mean of the latents| per picture and channel, never below 0, shape (n, c, 1, 1).

    sd-scripts' `apply_noise_offset`.
    """
    return (strength + scale * latents.mean(dim=(2, 3), keepdim=True).abs()).clamp(min=0.0)


def pyramid_sizes(height: int, width: int, iterations: int, draws: random.Random) -> list[tuple[int, int]]:
    """(height, width) of each level of pyramid noise: the first is whole, each next one smaller by a random power.

    The factor is drawn from 2 to 4 anew for each level; it ends at a side of 1 or after `iterations` levels.
    """
    sizes: list[tuple[int, int]] = []
    for level in range(iterations):
        factor = (2 + 2 * draws.random()) ** level
        sizes.append((max(1, int(height / factor)), max(1, int(width / factor))))
        if 1 in sizes[-1]:
            break
    return sizes


def pyramid(noise: Tensor, levels: list[Tensor], discount: float) -> Tensor:
    """Add noise of lower resolutions, level i times discount^i, and bring the batch back to a deviation of 1.

    J. Whitaker, "Multi-Resolution Noise for Diffusion Model Training" (2023), as in sd-scripts' `pyramid_noise_like`.
    `levels` are (n, c, h_i, w_i), enlarged bilinearly to the size of `noise`.
    """
    for power, level in enumerate(levels):
        noise = noise + discount**power * functional.interpolate(level, noise.shape[2:], mode="bilinear")
    return noise / noise.std()
