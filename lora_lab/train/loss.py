"""Training losses and their weights, each citing where it comes from."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

HuberSchedule = Literal["snr", "exponential", "constant"]

SNR_LIMIT = 1000.0  # sd-scripts' guard against the SNR of nearly clean pictures


def huber_threshold(schedule: HuberSchedule, c: float, scale: float, acp: Tensor, t: Tensor) -> Tensor:
    """Where the huber losses turn from square to absolute, shape (n,); σ = √((1 − ᾱ) / ᾱ).

    `snr`: (1 − c) / (1 + σ)² + c; `exponential`: scale · c^(t / 1000); `constant`: scale · c. "Improving Diffusion
    Models's Data-Corruption Resistance using Scheduled Pseudo-Huber Loss", Khrapov et al. 2024 (arXiv:2403.16728).
    """
    if schedule == "snr":
        sigma = ((1 - acp[t]) / acp[t]).sqrt()
        return (1 - c) / (1 + sigma) ** 2 + c
    if schedule == "exponential":
        return scale * c ** (t / acp.shape[0])
    return torch.full_like(acp[t], scale * c)


def elementwise(loss_type: str, predicted: Tensor, wanted: Tensor, threshold: Tensor) -> Tensor:
    """The loss of every latent value, same shape as `predicted`; `threshold` (n,) matters to huber and smooth_l1.

    Huber here is the pseudo-Huber loss 2c(√(d² + c²) − c), smooth L1 the same without the factor c, as in
    sd-scripts' `conditional_loss` (Khrapov et al. 2024).
    """
    if loss_type == "l2":
        return functional.mse_loss(predicted, wanted, reduction="none")
    if loss_type == "l1":
        return functional.l1_loss(predicted, wanted, reduction="none")
    c = threshold.view(-1, 1, 1, 1)
    pseudo_huber = 2 * (((predicted - wanted) ** 2 + c**2).sqrt() - c)
    return c * pseudo_huber if loss_type == "huber" else pseudo_huber


def min_snr_weight(snr: Tensor, gamma: float, v_parameterization: bool) -> Tensor:
    """min(SNR, γ) / SNR for noise prediction, / (SNR + 1) for v-prediction (Hang et al. 2023), shape (n,)."""
    return torch.clamp(snr, max=gamma) / (snr + 1 if v_parameterization else snr)


def debiased_weight(snr: Tensor, v_parameterization: bool) -> Tensor:
    """1 / √SNR for noise prediction, 1 / (SNR + 1) for v-prediction, the SNR taken as 1000 at most, shape (n,).

    "Debias the Training of Diffusion Models", Yu et al. 2023 (arXiv:2310.08442).
    """
    limited = snr.clamp(max=SNR_LIMIT)
    return 1 / (limited + 1) if v_parameterization else limited.rsqrt()


def like_noise_weight(snr: Tensor) -> Tensor:
    """SNR / (SNR + 1): gives a velocity's loss the weights that predicting the noise would have, shape (n,).

    As |v − v'|² = |ε − ε'|² / ᾱ (Salimans & Ho 2022, arXiv:2202.00512); the SNR is taken as 1000 at most, as in
    sd-scripts' `scale_v_prediction_loss_like_noise_prediction`.
    """
    limited = snr.clamp(max=SNR_LIMIT)
    return limited / (limited + 1)


def like_velocity_weight(snr: Tensor, share: float) -> Tensor:
    """1 + share · (SNR + 1) / SNR: adds to the noise's loss a share of what predicting the velocity would have, (n,).

    sd-scripts' `add_v_prediction_like_loss`.
    """
    return 1 + share / like_noise_weight(snr)


def scaled_to_norm(norm: Tensor, limit: float) -> Tensor:
    """The factor that brings a norm down to `limit`; 1 where it is below."""
    return (limit / norm.clamp(min=limit / 2)).clamp(max=1.0)
