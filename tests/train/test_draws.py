"""Randomness is a function of its keys and of nothing else."""

import subprocess
import sys

import pytest
import torch

from lora_lab.train import draws


def test_same_keys_same_draw_different_keys_different_draw() -> None:
    """Every part of the key matters, and so does its type and place."""
    keys = [
        (1, "noise"),
        (2, "noise"),
        (1, "timestep"),
        (1, "noise", 1),
        (1, "noise", "1"),
        (1, "noise", 1, 2),
        (1, "noise", 2, 1),
        (1, "noise", 12),
        (1, "noise", "1,2"),
        (1, "noise", "a", "b"),
        (1, "noise", 'a","b'),
    ]
    seeds = [draws.seed_of(*key) for key in keys]  # type: ignore[arg-type]
    assert len(set(seeds)) == len(keys)
    assert seeds == [draws.seed_of(*key) for key in keys]  # type: ignore[arg-type]
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_draws_do_not_depend_on_the_process() -> None:
    """Another process with another hash seed gets the same seed: nothing rests on Python's hash()."""
    code = "from lora_lab.train.draws import seed_of; print(seed_of(23, 'caption', 4, 'train/10_cat/a.png'))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert int(output) == draws.seed_of(23, "caption", 4, "train/10_cat/a.png")


def test_drawing_leaves_global_generators_alone() -> None:
    """No draw reads or moves torch's global generator."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = draws.normal((4,), 1, "noise", 0, "a")
    torch.randn(7)
    assert torch.equal(first, draws.normal((4,), 1, "noise", 0, "a"))
    draws.torch_draws(1, "dropout", 0)
    draws.python_draws(1, "caption", 0)
    torch.manual_seed(0)
    assert torch.equal(before, torch.get_rng_state())


def test_normal_has_mean_0_and_variance_1_and_uses_all_64_bits() -> None:
    """The noise is standard normal, float32, of the shape asked for, and differs between items."""
    noise = draws.normal((4, 128, 128), 3, "noise", 10, "a")
    assert noise.shape == (4, 128, 128)
    assert noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.var()) - 1) < 0.02
    other = draws.normal((4, 128, 128), 3, "noise", 10, "b")
    assert abs(float((noise * other).mean())) < 0.02


def test_generators_repeat() -> None:
    """Both generators give the same numbers for the same keys."""
    assert draws.python_draws(1, "flip", 2, "x").random() == draws.python_draws(1, "flip", 2, "x").random()
    first = torch.rand(5, generator=draws.torch_draws(1, "dropout", 2, "x"))
    assert torch.equal(first, torch.rand(5, generator=draws.torch_draws(1, "dropout", 2, "x")))
    assert not torch.equal(first, torch.rand(5, generator=draws.torch_draws(1, "dropout", 3, "x")))


def test_unknown_stream_is_refused() -> None:
    """A typo in a stream's name is an error, not a stream of its own."""
    with pytest.raises(ValueError, match="nosie"):
        draws.seed_of(1, "nosie")  # type: ignore[arg-type]
