"""What mattered: shares of the variance."""

import itertools

import pytest

from lora_lab.sweep.importance import importance

GRID = [{"net_dim": rank, "unet_lr": rate} for rank, rate in itertools.product([4, 8, 16], [1e-3, 1e-4, 1e-5])]


def test_what_decides_comes_first() -> None:
    """The parameter that the metric follows explains nearly all, the other nearly nothing."""
    noise = itertools.cycle([0.0, 0.01, -0.01, 0.005])
    points = [(point, point["net_dim"] * 1.0 + next(noise)) for point in GRID]
    found = importance(points, ["unet_lr", "net_dim"])
    assert list(found) == ["net_dim", "unet_lr"]
    assert found["net_dim"] > 0.99
    assert found["unet_lr"] < 0.01


def test_two_equal_parts() -> None:
    """Two parameters that do the same share the variance."""
    points = [(point, point["net_dim"] / 4 + {1e-3: 1, 1e-4: 2, 1e-5: 4}[point["unet_lr"]]) for point in GRID]
    found = importance(points, ["net_dim", "unet_lr"])
    assert found["net_dim"] == pytest.approx(found["unet_lr"])
    assert found["net_dim"] == pytest.approx((14 - 2 * 14 / 6) / (28 + 14 / 6)), (
        "by hand: sums of squares 14, 14 and 28"
    )


def test_drawn_numbers_are_put_in_ranges() -> None:
    """Where every run has another value, ranges of them are compared."""
    points = [({"unet_lr": index / 1000, "test_seed": index * 7 % 30}, float(index > 15)) for index in range(30)]
    found = importance(points, ["unet_lr", "test_seed"])
    assert found["unet_lr"] > 0.5
    assert found["test_seed"] < 0.2


def test_what_cannot_be_told_is_left_out() -> None:
    """An axis with one value, with as many as runs, or a metric that never changes has no share."""
    points = [({"net_dim": 8, "scheduler": str(index)}, 1.0) for index in range(4)]
    assert importance(points, ["net_dim", "scheduler"]) == {}
    assert importance([({"net_dim": rank}, 1.0) for rank in (4, 4, 8, 8)], ["net_dim"]) == {"net_dim": 0.0}
