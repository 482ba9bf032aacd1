"""The diffusion arithmetic against vectors that sd-scripts printed."""

import json
import random
from pathlib import Path

import pytest
import torch

from lora_lab.train import loss, noise

FACTS = json.loads((Path(__file__).parent / "facts" / "schedule.json").read_text())
T = torch.tensor(FACTS["t"])
ACP = noise.alphas_cumprod()


def same(actual: torch.Tensor, expected: list[float]) -> None:
    """Equal to the five digits that were printed."""
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=2e-5, atol=1e-7)


def test_alphas_cumprod() -> None:
    """The schedule of SD 1.x has sd-scripts' ᾱ at nine timesteps."""
    same(ACP[T], FACTS["alphas_cumprod"])


def test_snr() -> None:
    """The signal-to-noise ratio is sd-scripts'."""
    same(noise.snr(ACP, T), FACTS["snr"])


@pytest.mark.parametrize(("v", "key"), [(False, "min_snr5_eps"), (True, "min_snr5_v")])
def test_min_snr_weight(v: bool, key: str) -> None:
    """Min-SNR weights with γ = 5 are sd-scripts' for noise and for velocity prediction."""
    same(loss.min_snr_weight(noise.snr(ACP, T), 5.0, v), FACTS[key])


@pytest.mark.parametrize("schedule", ["snr", "exponential", "constant"])
def test_huber_threshold(schedule: loss.HuberSchedule) -> None:
    """The huber threshold follows sd-scripts' three schedules, with c = 0.1 and a scale of 2."""
    same(loss.huber_threshold(schedule, 0.1, 2.0, ACP, T), FACTS[f"huber_c_{schedule}_scale2"])


@pytest.mark.parametrize(("v", "key"), [(False, "debiased_eps"), (True, "debiased_v")])
def test_debiased_weight(v: bool, key: str) -> None:
    """The weights of debiased estimation are sd-scripts' for noise and for velocity prediction."""
    same(loss.debiased_weight(noise.snr(ACP, T), v), FACTS[key])


def test_weights_between_noise_and_velocity() -> None:
    """A velocity's loss weighted like noise, and a noise's with half of the velocity's, weigh as in sd-scripts."""
    same(loss.like_noise_weight(noise.snr(ACP, T)), FACTS["scale_v_like_noise"])
    same(loss.like_velocity_weight(noise.snr(ACP, T), 0.5), FACTS["v_pred_like_loss_0.5"])


def test_pyramid_by_hand() -> None:
    """Two levels: each counts by its power of the discount, the smaller one enlarged, the whole brought to 1."""
    drawn = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    levels = [torch.full((1, 1, 2, 2), 10.0), torch.full((1, 1, 1, 1), 4.0)]
    raw = drawn + 10.0 + 0.5 * 4.0
    torch.testing.assert_close(noise.pyramid(drawn, levels, 0.5), raw / raw.std())


def test_pyramid_sizes() -> None:
    """The first level is whole, each next one smaller by 2 to 4 per level, and a side of 1 ends it."""
    for seed in range(50):
        sizes = noise.pyramid_sizes(64, 48, 10, random.Random(seed))
        assert sizes[0] == (64, 48)
        for level, (height, width) in enumerate(sizes[1:], 1):
            assert max(1, 64 // 4**level) <= height <= 64 / 2**level
            assert max(1, 48 // 4**level) <= width <= 48 / 2**level
        assert 1 in sizes[-1]
        assert all(1 not in size for size in sizes[:-1])
    assert len(noise.pyramid_sizes(64, 48, 2, random.Random(0))) == 2


def test_velocity() -> None:
    """The velocity of x₀ = 1 with ε = 2 is sd-scripts'."""
    ones = torch.ones(len(T), 1, 1, 1)
    same(noise.target(ones, 2 * ones, ACP, T, True).flatten(), FACTS["velocity_x1_n2"])


def test_noise_target_is_the_noise() -> None:
    """Without v-prediction the target is the noise itself."""
    drawn = torch.randn(len(T), 4, 2, 2)
    assert noise.target(torch.zeros_like(drawn), drawn, ACP, T, False) is drawn


def test_add_noise_keeps_variance() -> None:
    """Unit latents with unit noise stay of unit variance at every timestep, as ᾱ + (1 − ᾱ) = 1."""
    ones = torch.ones(len(T), 1, 1, 1)
    signal = noise.add_noise(ones, torch.zeros_like(ones), ACP, T)
    added = noise.add_noise(torch.zeros_like(ones), ones, ACP, T)
    torch.testing.assert_close(signal**2 + added**2, ones)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [("l2", 9.0), ("l1", 3.0), ("smooth_l1", 2 * (9.25**0.5 - 0.5)), ("huber", 9.25**0.5 - 0.5)],
)
def test_elementwise(loss_type: str, expected: float) -> None:
    """At a difference of 3 and a threshold of 0.5 each loss has the value that its formula gives by hand."""
    shape = (1, 1, 1, 1)
    value = loss.elementwise(loss_type, torch.full(shape, 3.0), torch.zeros(shape), torch.tensor([0.5]))
    assert value.item() == pytest.approx(expected)


def test_scaled_to_norm() -> None:
    """A norm above the limit is brought down to it, one below is left alone."""
    norms = torch.tensor([0.1, 1.0, 4.0])
    torch.testing.assert_close(norms * loss.scaled_to_norm(norms, 2.0), torch.tensor([0.1, 1.0, 2.0]))


def test_zero_terminal() -> None:
    """The rescaled schedule keeps its first value, has the reference's numbers and ends in exactly zero."""
    rescaled = noise.zero_terminal(ACP)
    torch.testing.assert_close(rescaled[T], torch.tensor(FACTS["ztsnr_alphas_cumprod"]), rtol=1e-4, atol=1e-7)
    assert float(rescaled[0]) == pytest.approx(float(ACP[0]), rel=1e-6)
    assert float(rescaled[-1]) == 0
    assert (rescaled[1:] < rescaled[:-1]).all()
