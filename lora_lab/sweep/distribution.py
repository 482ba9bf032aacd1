"""The distributions of `{min, max, distribution}`: from a number in [0, 1) to a value of a parameter.

The names and meanings are those of W&B sweeps. There, `log_uniform` takes the exponents of e, `log_uniform_values` the
values themselves; here a `log_uniform` whose bounds are both positive means the values too, as everybody expects who
has not read that page: `{min: 1e-5, max: 1e-3}`.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

BOUNDED: Final = ("uniform", "int_uniform", "log_uniform", "log_uniform_values", "inv_log_uniform_values")
BELL: Final = ("normal", "log_normal")
STEPPED: Final = ("q_uniform", "q_log_uniform", "q_log_uniform_values", "q_normal", "q_log_normal")
DISTRIBUTIONS: Final = (*BOUNDED, *BELL, *STEPPED)
DIGITS: Final = 6
"""Significant digits of a drawn value: enough for any setting, and a run's name stays readable."""


@dataclass(frozen=True)
class Distribution:
    """`kind` is one of `DISTRIBUTIONS`. `low`, `high` bound the value (0 where `mu` and `sigma` say it all);
    `q` is the step that values are rounded to, 0 for none; `whole` asks for whole numbers.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    mu: float = 0.0
    sigma: float = 1.0
    q: float = 0.0
    whole: bool = False

    @property
    def bell(self) -> bool:
        """Whether it has a centre and a width in place of bounds."""
        return self.kind.removeprefix("q_") in BELL

    @property
    def logarithmic(self) -> bool:
        """Whether equal ratios are equally likely."""
        return "log_" in self.kind

    def value(self, u: float) -> float:
        """Return the value below which a share `u` (0 ≤ u < 1) of all values lies."""
        if self.bell:
            drawn = NormalDist(self.mu, self.sigma).inv_cdf(min(max(u, 1e-9), 1 - 1e-9))
            return self._rounded(math.exp(drawn) if self.logarithmic else drawn)
        if self.kind.startswith("inv_"):
            u = 1 - u
        if self.kind == "int_uniform":
            return min(int(self.low) + int(u * (int(self.high) - int(self.low) + 1)), int(self.high))
        return self._rounded(self._between(u))

    def share(self, value: object) -> float | None:
        """Return a number u with `value(u)` equal to a value, or None for what it never draws. The inverse of `value`.

        Of a rounded value it is one of the numbers that come to it.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (self.logarithmic and value <= 0):
            return None
        if self.bell:
            u = NormalDist(self.mu, self.sigma).cdf(math.log(value) if self.logarithmic else value)
        elif not self.low <= value <= self.high:
            return None
        elif self.kind == "int_uniform":
            u = (value - int(self.low) + 0.5) / (int(self.high) - int(self.low) + 1)
        elif self.logarithmic:
            u = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            u = (value - self.low) / (self.high - self.low)
        u = 1 - u if self.kind.startswith("inv_") else u
        u = min(max(u, 0.0), 1.0)
        return u if math.isclose(self.value(u), value, rel_tol=10.0 ** (1 - DIGITS), abs_tol=1e-12) else None

    def spaced(self, count: int) -> tuple[float, ...]:
        """Return `count` values from low to high in equal steps (equal ratios where it is logarithmic)."""
        values = [self._rounded(self._between(step / (count - 1) if count > 1 else 0.0)) for step in range(count)]
        return tuple(dict.fromkeys(values))

    def _between(self, u: float) -> float:
        if self.logarithmic:
            return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return self.low + u * (self.high - self.low)

    def _rounded(self, value: float) -> float:
        """Return the value at its step, in `DIGITS` significant digits, inside the bounds."""
        if self.q:
            value = round(value / self.q) * self.q
        value = float(f"{value:.{DIGITS}g}")
        if not self.bell:
            value = min(max(value, self.low), self.high)
        return round(value) if self.whole or self.kind == "int_uniform" else value


def bounds_in_values(kind: str, low: float, high: float) -> tuple[float, float]:
    """Return the bounds as values: a `log_uniform` with one that is not positive has exponents of e, as in W&B."""
    if kind in ("log_uniform", "q_log_uniform") and (low <= 0 or high <= 0):
        return math.exp(low), math.exp(high)
    return low, high
