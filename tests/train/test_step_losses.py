"""The loss of a step against diffusers' own noise schedule: targets, loss types, weights."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.train import loss, step
from lora_lab.train.step import pack_losses

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]
Gradients = dict[str, Tensor]


def schedule() -> DDPMScheduler:
    """The noise schedule as diffusers has it."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def test_noise_offset(make_config: Make) -> None:
    """The offset adds one number per picture and channel, of the deviation that the config says, to the same noise."""
    shape = (64, 4, 5, 5)
    plain = step._noise(make_config(), shape, 0)
    added = step._noise(make_config(noise_offset=0.1), shape, 0) - plain
    torch.testing.assert_close(added, added[:, :, :1, :1].expand(shape), rtol=0, atol=1e-6)
    numbers = added[:, :, 0, 0]
    assert 0.08 < numbers.std() < 0.12
    assert len(numbers.unique()) == 256
    assert abs(plain.std() - 1) < 0.03


def test_timesteps_cover_the_schedule(make_config: Make) -> None:
    """Timesteps are uniform over 0…999, differ between steps and seeds, and repeat for the same ones."""
    drawn = torch.cat([step._timesteps(make_config(), 8, index) for index in range(500)])
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    counts = torch.histc(drawn.float(), bins=10, min=0, max=1000)
    assert (counts > 300).all()
    assert (counts < 500).all()
    again, other = step._timesteps(make_config(), 8, 0), step._timesteps(make_config(test_seed=9), 8, 0)
    assert torch.equal(again, drawn[:8])
    assert not torch.equal(other, drawn[:8])


@pytest.fixture
def loss_and_parts(
    open_pack: Open, make_config: Make, seen: list[tuple[Tensor, ...]]
) -> Callable[..., tuple[float, tuple[Tensor, ...], Tensor, Tensor]]:
    """Return a function: config values → the trainer's loss of a batch, what the U-Net saw, clean latents, noise."""

    def of(**values: object) -> tuple[float, tuple[Tensor, ...], Tensor, Tensor]:
        config = make_config(**values)
        opened = open_pack(config, up=0.3)
        seen.clear()
        batch = opened.data.training[0]
        with opened.session.pack.serving(0, training=True):
            (value,) = pack_losses(opened.session, opened.members, batch).tolist()
        clean = batch.latents * opened.session.base.scaling_factor
        return value, seen[0], clean, step._noise(config, tuple(clean.shape), 0)

    return of


def test_noising_is_that_of_diffusers(loss_and_parts: Callable[..., Any]) -> None:
    """The U-Net gets latents × 0.18215, noised as diffusers' DDPMScheduler does, and the loss is the plain MSE."""
    value, (noisy, t, _, predicted), clean, noise = loss_and_parts()
    torch.testing.assert_close(noisy, schedule().add_noise(clean, noise, t))
    assert value == pytest.approx(float((predicted - noise).square().mean()), rel=1e-5)


def test_v_parameterization(loss_and_parts: Callable[..., Any], base_folder: Path, tmp_path: Path) -> None:
    """On a v-prediction base the target is the velocity, as diffusers computes it."""
    base = shutil.copytree(base_folder, tmp_path / "v")
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"v_prediction"'))
    value, (_, t, _, predicted), clean, noise = loss_and_parts(base_model=str(base), v_parameterization=True)
    wanted = schedule().get_velocity(clean, noise, t)
    assert value == pytest.approx(float((predicted - wanted).square().mean()), rel=1e-5)
    assert value != pytest.approx(float((predicted - noise).square().mean()), rel=1e-2)


def test_loss_type(loss_and_parts: Callable[..., Any]) -> None:
    """l1 is the mean absolute error; huber lies below l2; smooth_l1 is huber over its threshold."""
    (l2, (_, t, _, predicted), _, noise), l1 = (
        loss_and_parts(batch_size=1),
        loss_and_parts(loss_type="l1", batch_size=1)[0],
    )
    assert l1 == pytest.approx(float((predicted - noise).abs().mean()), rel=1e-5)
    huber, smooth = (loss_and_parts(loss_type=name, batch_size=1)[0] for name in ("huber", "smooth_l1"))
    assert huber == pytest.approx(smooth * float(loss.huber_threshold(schedule().alphas_cumprod, t)), rel=1e-4)
    assert huber < l2


def test_min_snr_gamma(loss_and_parts: Callable[..., Any]) -> None:
    """One picture's loss is multiplied by min(SNR, γ) / SNR of its timestep."""
    for seed in (1, 2, 3):
        plain, (_, t, _, _), _, _ = loss_and_parts(batch_size=1, test_seed=seed)
        weighted = loss_and_parts(batch_size=1, test_seed=seed, min_snr_gamma=0.5)[0]
        alpha = schedule().alphas_cumprod[t].item()
        ratio = alpha / (1 - alpha)
        assert weighted == pytest.approx(plain * min(ratio, 0.5) / ratio, rel=1e-4)
