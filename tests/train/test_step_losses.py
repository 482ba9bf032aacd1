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
from lora_lab.failure import Failure
from lora_lab.train import loss, noising
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
    plain = noising.drawn_noise(make_config(), torch.zeros(shape), 0)
    added = noising.drawn_noise(make_config(noise_offset=0.1), torch.zeros(shape), 0) - plain
    torch.testing.assert_close(added, added[:, :, :1, :1].expand(shape), rtol=0, atol=1e-6)
    numbers = added[:, :, 0, 0]
    assert 0.08 < numbers.std() < 0.12
    assert len(numbers.unique()) == 256
    assert abs(plain.std() - 1) < 0.03


def test_timesteps_cover_the_schedule(make_config: Make) -> None:
    """Timesteps are uniform over 0…999, differ between steps and seeds, and repeat for the same ones."""
    drawn = torch.cat([noising.timesteps(make_config(), 8, index) for index in range(500)])
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    counts = torch.histc(drawn.float(), bins=10, min=0, max=1000)
    assert (counts > 300).all()
    assert (counts < 500).all()
    again, other = noising.timesteps(make_config(), 8, 0), noising.timesteps(make_config(test_seed=9), 8, 0)
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
        return value, seen[0], clean, noising.drawn_noise(config, clean, 0)

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


@pytest.mark.parametrize("gamma", [None, 5.0])
def test_zero_terminal_snr(
    loss_and_parts: Callable[..., Any], base_folder: Path, tmp_path: Path, gamma: float | None
) -> None:
    """Noise and velocity are those of diffusers' rescaled schedule, at pure noise too; min-SNR weights stay."""
    base = shutil.copytree(base_folder, tmp_path / "v")
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"v_prediction"'))
    options: dict[str, Any] = {"base_model": str(base), "v_parameterization": True, "min_snr_gamma": gamma}
    last = {"min_timestep": 999, "max_timestep": 1000}
    for steps in ({}, last):
        value, (noisy, t, _, predicted), clean, noise = loss_and_parts(zero_terminal_snr=True, **options, **steps)
        rescaled = DDPMScheduler.from_config(schedule().config, rescale_betas_zero_snr=True)
        torch.testing.assert_close(noisy, rescaled.add_noise(clean, noise, t), rtol=1e-3, atol=1e-3)
        losses = (predicted - rescaled.get_velocity(clean, noise, t)).square().mean(dim=(1, 2, 3))
        ratio = schedule().alphas_cumprod[t] / (1 - schedule().alphas_cumprod[t])
        weight = torch.ones(()) if gamma is None else ratio.clamp(max=gamma) / (ratio + 1)
        assert value == pytest.approx(float((losses * weight).mean()), rel=1e-3)
    assert torch.equal(noisy, noise)  # diffusers leaves 2⁻²⁴ of the picture


def test_loss_type(loss_and_parts: Callable[..., Any]) -> None:
    """l1 is the mean absolute error; huber lies below l2; smooth_l1 is huber over its threshold."""
    (l2, (_, t, _, predicted), _, noise), l1 = (
        loss_and_parts(batch_size=1),
        loss_and_parts(loss_type="l1", batch_size=1)[0],
    )
    assert l1 == pytest.approx(float((predicted - noise).abs().mean()), rel=1e-5)
    huber, smooth = (loss_and_parts(loss_type=name, batch_size=1)[0] for name in ("huber", "smooth_l1"))
    assert huber == pytest.approx(
        smooth * float(loss.huber_threshold("snr", 0.1, 1.0, schedule().alphas_cumprod, t)), rel=1e-4
    )
    assert huber < l2


def test_min_snr_gamma(loss_and_parts: Callable[..., Any]) -> None:
    """One picture's loss is multiplied by min(SNR, γ) / SNR of its timestep."""
    for seed in (1, 2, 3):
        plain, (_, t, _, _), _, _ = loss_and_parts(batch_size=1, test_seed=seed)
        weighted = loss_and_parts(batch_size=1, test_seed=seed, min_snr_gamma=0.5)[0]
        alpha = schedule().alphas_cumprod[t].item()
        ratio = alpha / (1 - alpha)
        assert weighted == pytest.approx(plain * min(ratio, 0.5) / ratio, rel=1e-4)


def test_timestep_range(make_config: Make, open_pack: Open) -> None:
    """Timesteps lie from min_timestep to below max_timestep; the wrong way round is refused."""
    config = make_config(min_timestep=300, max_timestep=303)
    drawn = torch.cat([noising.timesteps(config, 8, index) for index in range(20)])
    assert set(drawn.tolist()) == {300, 301, 302}
    with pytest.raises(Failure, match="min_timestep 500 is not below max_timestep 500"):
        open_pack(make_config(min_timestep=500, max_timestep=500))


def test_random_strength_of_the_offset(make_config: Make) -> None:
    """With a random strength each step has one offset strength between 0 and the one given, the same for the batch."""
    clean = torch.zeros(2, 4, 3, 3)
    full, part = make_config(noise_offset=0.5), make_config(noise_offset=0.5, noise_offset_random_strength=True)
    shares = []
    for index in range(30):
        plain = noising.drawn_noise(make_config(), clean, index)
        share = (noising.drawn_noise(part, clean, index) - plain) / (noising.drawn_noise(full, clean, index) - plain)
        torch.testing.assert_close(share, share[:1, :1, :1, :1].expand_as(share), rtol=1e-3, atol=1e-3)
        shares.append(float(share.mean()))
    assert 0 < min(shares) < 0.2
    assert 0.8 < max(shares) < 1


def test_adaptive_noise_scale(make_config: Make) -> None:
    """The offset of a channel grows by the scale times the size of its mean, and never turns round."""
    clean = torch.stack([torch.full((3, 3), value) for value in (0.0, 2.0, -4.0, 1.0)])[None]
    plain = noising.drawn_noise(make_config(), clean, 0)
    offset = (noising.drawn_noise(make_config(noise_offset=0.1), clean, 0) - plain)[0, :, 0, 0]
    for scale, strengths in ((0.1, [0.1, 0.3, 0.5, 0.2]), (-0.05, [0.1, 0.0, 0.0, 0.05])):
        config = make_config(noise_offset=0.1, adaptive_noise_scale=scale)
        adapted = (noising.drawn_noise(config, clean, 0) - plain)[0, :, 0, 0]
        torch.testing.assert_close(adapted / (offset / 0.1), torch.tensor(strengths), rtol=1e-4, atol=1e-5)
    assert torch.equal(noising.drawn_noise(make_config(adaptive_noise_scale=0.1), clean, 0), plain)


def test_pyramid_noise(make_config: Make) -> None:
    """Noise of lower resolutions makes neighbours alike, more so with a higher discount; its deviation stays 1."""
    clean = torch.zeros(8, 4, 32, 24)

    def likeness(**values: object) -> float:
        drawn = noising.drawn_noise(make_config(**values), clean, 0)
        assert abs(float(drawn.std()) - 1) < 0.02
        return float((drawn[..., :-1] * drawn[..., 1:]).mean())

    plain, weak, strong = (
        likeness(),
        *(likeness(multires_noise_iterations=6, multires_noise_discount=discount) for discount in (0.5, 0.9)),
    )
    assert abs(plain) < 0.02
    assert 0.05 < weak < strong
    one = noising.drawn_noise(make_config(multires_noise_iterations=1), clean, 0)
    assert not torch.equal(one, noising.drawn_noise(make_config(multires_noise_iterations=6), clean, 0))
    assert torch.equal(one, noising.drawn_noise(make_config(multires_noise_iterations=1), clean, 0))


def test_input_perturbation(loss_and_parts: Callable[..., Any]) -> None:
    """The U-Net's input has more noise than the target, which stays what it was."""
    _, (plain, t, _, _), _, noise = loss_and_parts(batch_size=1)
    value, (noisy, _, _, predicted), _, same = loss_and_parts(batch_size=1, ip_noise_gamma=0.2)
    assert torch.equal(noise, same)
    assert value == pytest.approx(float((predicted - noise).square().mean()), rel=1e-5)
    alpha = float(schedule().alphas_cumprod[t])
    added = (noisy - plain) / (1 - alpha) ** 0.5
    assert 0.15 < added.std() < 0.25
    random = loss_and_parts(batch_size=1, ip_noise_gamma=0.2, ip_noise_gamma_random_strength=True)[1][0]
    share = (random - plain) / (noisy - plain)
    assert float(share.std()) < 1e-2
    assert 0 < float(share.mean()) < 1


def test_weights_of_timesteps(loss_and_parts: Callable[..., Any]) -> None:
    """Debiased estimation and a velocity's share change the loss of a picture by the weight of its timestep."""
    plain, (_, t, _, _), _, _ = loss_and_parts(batch_size=1)
    alpha = float(schedule().alphas_cumprod[t])
    ratio = alpha / (1 - alpha)
    debiased = loss_and_parts(batch_size=1, debiased_estimation_loss=True)[0]
    assert debiased == pytest.approx(plain * min(ratio, 1000) ** -0.5, rel=1e-4)
    shared = loss_and_parts(batch_size=1, v_pred_like_loss=0.5)[0]
    assert shared == pytest.approx(plain * (1 + 0.5 * (ratio + 1) / ratio), rel=1e-3)
    both = loss_and_parts(batch_size=1, debiased_estimation_loss=True, min_snr_gamma=0.5)[0]
    assert both == pytest.approx(debiased * min(ratio, 0.5) / ratio, rel=1e-4)


def test_weights_of_velocity(loss_and_parts: Callable[..., Any], base_folder: Path, tmp_path: Path) -> None:
    """On a v-prediction base the loss can be weighted as the noise's, and debiased in the velocity's way."""
    base = shutil.copytree(base_folder, tmp_path / "v")
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"v_prediction"'))
    of_v = {"base_model": str(base), "v_parameterization": True, "batch_size": 1}
    plain, (_, t, _, _), _, _ = loss_and_parts(**of_v)
    alpha = float(schedule().alphas_cumprod[t])
    assert loss_and_parts(**of_v, scale_v_pred_loss_like_noise_pred=True)[0] == pytest.approx(plain * alpha, rel=1e-3)
    assert loss_and_parts(**of_v, debiased_estimation_loss=True)[0] == pytest.approx(plain * (1 - alpha), rel=1e-3)
    with pytest.raises(Failure, match="v_pred_like_loss is for models that predict noise"):
        loss_and_parts(**of_v, v_pred_like_loss=0.5)
    with pytest.raises(Failure, match="scale_v_pred_loss_like_noise_pred is for v_parameterization"):
        loss_and_parts(scale_v_pred_loss_like_noise_pred=True)


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ({"huber_schedule": "constant", "huber_c": 0.2}, lambda t: 0.2),
        ({"huber_schedule": "constant", "huber_c": 0.2, "huber_scale": 3.0}, lambda t: 0.6),
        ({"huber_schedule": "exponential", "huber_c": 0.2, "huber_scale": 3.0}, lambda t: 3 * 0.2 ** (t / 1000)),
    ],
)
def test_huber_settings(
    values: dict[str, object], threshold: Callable[[int], float], loss_and_parts: Callable[..., Any]
) -> None:
    """The threshold of smooth_l1 follows schedule, c and scale."""
    value, (_, t, _, predicted), _, noise = loss_and_parts(batch_size=1, loss_type="smooth_l1", **values)
    c = threshold(int(t))
    assert value == pytest.approx(float((2 * (((predicted - noise) ** 2 + c**2).sqrt() - c)).mean()), rel=1e-4)
