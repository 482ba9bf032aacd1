"""What a member draws for its part of a batch, by its config: noise, timesteps, the perturbation of the input."""

import torch
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.train import noise
from lora_lab.train.draws import normal, python_draws, torch_draws
from lora_lab.train.transfer import to_device


def check_noise_and_loss(config: TrainConfig) -> None:
    """Raise Failure for settings that can't be trained together."""
    if config.min_timestep >= config.max_timestep:
        raise Failure(
            f"min_timestep {config.min_timestep} is not below max_timestep {config.max_timestep}",
            "leave both out, which means 0 and 1000",
        )
    if config.scale_v_pred_loss_like_noise_pred and not config.v_parameterization:
        raise Failure("scale_v_pred_loss_like_noise_pred is for v_parameterization", "leave it out")
    if config.v_pred_like_loss and config.v_parameterization:
        raise Failure("v_pred_like_loss is for models that predict noise, without v_parameterization", "leave it out")


def drawn_noise(config: TrainConfig, clean: Tensor, index: int) -> Tensor:
    """The noise of one member's latents (n, 4, h, w) at a micro-step, with offset and lower resolutions as configured.

    It is the target of the prediction too. Same device as `clean`, float32.
    """
    shape, seed = tuple(clean.shape), config.test_seed
    drawn = to_device(normal(shape, seed, "noise", index), clean.device)
    if config.noise_offset:
        offset = to_device(normal((*shape[:2], 1, 1), seed, "noise_offset", index), clean.device)
        drawn = noise.with_offset(drawn, offset, _offset_strength(config, clean, index))
    if config.multires_noise_iterations:
        draws = python_draws(seed, "pyramid", index)
        sizes = noise.pyramid_sizes(shape[2], shape[3], config.multires_noise_iterations, draws)
        levels = [normal((*shape[:2], *size), seed, "pyramid", index, level) for level, size in enumerate(sizes)]
        there = [to_device(level, clean.device) for level in levels]
        drawn = noise.pyramid(drawn, there, config.multires_noise_discount)
    return drawn


def _offset_strength(config: TrainConfig, clean: Tensor, index: int) -> Tensor | float:
    strength = config.noise_offset or 0.0
    if config.noise_offset_random_strength:
        strength *= python_draws(config.test_seed, "noise_offset_strength", index).random()
    if config.adaptive_noise_scale:
        return noise.adaptive_strength(strength, config.adaptive_noise_scale, clean)
    return strength


def perturbed(config: TrainConfig, drawn: Tensor, index: int) -> Tensor:
    """The noise that the input gets: with `ip_noise_gamma` a little more than the target (Ning et al. 2023).

    "Input Perturbation Reduces Exposure Bias in Diffusion Models", arXiv:2301.11706.
    """
    if not config.ip_noise_gamma:
        return drawn
    strength = config.ip_noise_gamma
    if config.ip_noise_gamma_random_strength:
        strength *= python_draws(config.test_seed, "perturbation_strength", index).random()
    more = normal(tuple(drawn.shape), config.test_seed, "perturbation", index)
    return drawn + strength * to_device(more, drawn.device)


def timesteps(config: TrainConfig, count: int, index: int) -> Tensor:
    """Timesteps of `count` pictures, int64 (count,), uniform from `min_timestep` to below `max_timestep`."""
    draws = torch_draws(config.test_seed, "timestep", index)
    return torch.randint(config.min_timestep, config.max_timestep, (count,), generator=draws)
