"""Training losses and their weights, each citing where it comes from."""

import torch
from torch import Tensor
from torch.nn import functional

HUBER_C = 0.1  # sd-scripts' default for `huber_c`


def huber_threshold(acp: Tensor, t: Tensor) -> Tensor:
    """sd-scripts' default `snr` schedule: (1 − c) / (1 + σ)² + c with σ = √((1 − ᾱ) / ᾱ), shape (n,)."""
    sigma = ((1 - acp[t]) / acp[t]).sqrt()
    return (1 - HUBER_C) / (1 + sigma) ** 2 + HUBER_C


def elementwise(loss_type: str, predicted: Tensor, wanted: Tensor, threshold: Tensor) -> Tensor:
    """The loss of every latent value, same shape as `predicted`; `threshold` (n,) matters to huber and smooth_l1.

    Huber here is the pseudo-Huber loss 2c(√(d² + c²) − c), smooth L1 the same without the factor c, as in
    sd-scripts' `conditional_loss` (Patch-diffusion with Huber loss, Khrapov et al. 2024).
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


def scaled_to_norm(norm: Tensor, limit: float) -> Tensor:
    """The factor that brings a norm down to `limit`; 1 where it is below."""
    return (limit / norm.clamp(min=limit / 2)).clamp(max=1.0)
