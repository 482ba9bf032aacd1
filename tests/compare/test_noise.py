"""Spread, noise and thinned curves against independent facts."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lora_lab.compare.noise import Noise, Spread, noise_of, spread, t_quantile
from lora_lab.compare.thin import thinned


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 20, 500])
def test_students_quantile_is_scipys(freedom: int) -> None:
    """The quantile agrees with scipy's, by 0.13 % at worst."""
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.0013)


def test_a_margin_is_that_of_the_t_test() -> None:
    """Two groups a little further apart than the margin are different at 5 % to scipy's t-test, a little closer not."""
    draws = random.Random(1)
    one, other = [draws.gauss(0, 1) for _ in range(4)], [draws.gauss(0, 1) for _ in range(3)]
    noise = noise_of([spread(one), spread(other)])
    assert noise is not None
    margin = noise.margin(spread(one), spread(other))
    gap = statistics.fmean(one) - statistics.fmean(other)
    for factor, different in ((1.01, True), (0.99, False)):
        moved = [value + gap + factor * margin for value in other]
        assert (float(stats.ttest_ind(one, moved).pvalue) < 0.05) is different


def test_noise_is_pooled_over_the_groups() -> None:
    """The pooled variance weighs by degrees of freedom; groups of one tell nothing."""
    assert noise_of([spread([1.0]), spread([5.0])]) is None
    found = noise_of([spread([1.0, 3.0]), spread([1.0, 2.0, 3.0]), spread([9.0])])
    assert found == Noise(pytest.approx(math.sqrt((2.0 + 2 * 1.0) / 3)), 3)
    assert spread([2.0]) == Spread(2.0, None, 1)


@given(st.lists(st.floats(allow_nan=True, width=32), max_size=400), st.integers(1, 50))
def test_a_thinned_curve_keeps_every_extreme(values: list[float], most: int) -> None:
    """Few stretches, in order, between the smallest and greatest finite value, both of which are there."""
    points = list(enumerate(values))
    found = thinned(points, most)
    finite = [value for value in values if math.isfinite(value)]
    assert len(found) == min(len(finite), most)
    assert [one.step for one in found] == sorted(one.step for one in found)
    if finite:
        assert min(one.low for one in found) == min(finite)
        assert max(one.high for one in found) == max(finite)
    assert all(one.low <= one.mean * (1 + 1e-9) + 1e-9 or one.low <= one.mean for one in found)
