"""The distributions: bounds, shape, steps and spacing."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.sweep.distribution import BELL, DISTRIBUTIONS, Distribution, bounds_in_values

EVEN = [(index + 0.5) / 1000 for index in range(1000)]
BOUNDED = [kind for kind in DISTRIBUTIONS if kind.removeprefix("q_") not in BELL]


@pytest.mark.parametrize("kind", BOUNDED)
@given(u=st.floats(0, 1, exclude_max=True), ends=st.tuples(st.integers(1, 500), st.integers(501, 1000)))
def test_values_lie_between_the_bounds(kind: str, u: float, ends: tuple[int, int]) -> None:
    """No value of a bounded distribution is outside, whatever is drawn and however it is rounded."""
    value = Distribution(kind, float(ends[0]), float(ends[1]), q=7.0 if kind.startswith("q_") else 0.0).value(u)
    assert ends[0] <= value <= ends[1]


@pytest.mark.parametrize(
    ("kind", "middle"),
    [("uniform", 0.505), ("log_uniform", 0.1), ("log_uniform_values", 0.1), ("inv_log_uniform_values", 0.1)],
)
def test_middle(kind: str, middle: float) -> None:
    """Half of the values lie below the arithmetic middle of the bounds, of a logarithmic one below the geometric."""
    drawn = [Distribution(kind, 0.01, 1.0).value(u) for u in EVEN]
    assert statistics.median(drawn) == pytest.approx(middle, rel=0.01)


def test_bells() -> None:
    """A normal distribution has its mean and deviation; the logarithm of a log-normal one has."""
    normal = [Distribution("normal", mu=3.0, sigma=2.0).value(u) for u in EVEN]
    assert statistics.mean(normal) == pytest.approx(3.0, abs=0.01)
    assert statistics.stdev(normal) == pytest.approx(2.0, rel=0.02)
    logs = [math.log(Distribution("log_normal", mu=-9.0, sigma=0.5).value(u)) for u in EVEN]
    assert statistics.mean(logs) == pytest.approx(-9.0, abs=0.01)


def test_whole_numbers_are_equally_likely() -> None:
    """int_uniform gives every whole number of the range, both ends included, equally often."""
    drawn = [Distribution("int_uniform", 1, 4).value(u) for u in EVEN]
    assert {value: drawn.count(value) for value in drawn} == {1: 250, 2: 250, 3: 250, 4: 250}


def test_steps() -> None:
    """A q_ distribution gives multiples of q, without the dust of binary fractions."""
    drawn = {Distribution("q_uniform", 0.0, 1.0, q=0.1).value(u) for u in EVEN}
    assert sorted(drawn) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_spaced() -> None:
    """Spaced values reach from end to end, in equal steps or equal ratios; whole ones stand once."""
    assert Distribution("uniform", 0.0, 1.0).spaced(5) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Distribution("log_uniform", 1e-5, 1e-3).spaced(3) == (1e-05, 0.0001, 0.001)
    assert Distribution("uniform", 1, 3, whole=True).spaced(9) == (1, 2, 3)


def test_bounds_in_values() -> None:
    """log_uniform has exponents of e in W&B's files, and the values themselves where both are positive."""
    assert bounds_in_values("log_uniform", 1e-5, 1e-3) == (1e-5, 1e-3)
    assert bounds_in_values("log_uniform", -9.2, -4.6) == pytest.approx((1.01e-4, 1.005e-2), rel=0.01)
    assert bounds_in_values("log_uniform_values", 1e-5, 1e-3) == (1e-5, 1e-3)
    assert bounds_in_values("uniform", -1.0, 1.0) == (-1.0, 1.0)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@given(u=st.floats(0.001, 0.999), ends=st.tuples(st.integers(1, 500), st.integers(501, 1000)))
def test_share_is_the_inverse(kind: str, u: float, ends: tuple[int, int]) -> None:
    """The share of a drawn value draws that value again; what is never drawn has none."""
    q = 7.0 if kind.startswith("q_") else 0.0
    one = Distribution(kind, float(ends[0]), float(ends[1]), mu=1.0, sigma=0.5, q=q)
    value = one.value(u)
    share = one.share(value)
    if value > 0 or not one.logarithmic:  # a log-normal rounded down to 0 cannot be told
        assert share is not None
        assert one.value(share) == pytest.approx(value, rel=1e-5)
    if not one.bell:
        assert one.share(ends[0] - 1) is None
        assert one.share(ends[1] + 1) is None
    if kind == "int_uniform":
        assert one.share(ends[0] + 0.5) is None
    assert one.share("text") is None
    assert one.share(None) is None
