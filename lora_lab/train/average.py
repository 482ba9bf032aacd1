"""The exponential moving average of an adapter's weights: smoother than the last step's, which jumps about.

Training goes on with the adapter's own weights; what is looked at, validated, drawn and saved, is the average.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_at(updates: int, limit: float) -> float:
    """How much of the average stays at its next update, when `updates` came before: min(limit, (1 + n) / (10 + n)).

    The warm-up is that of TensorFlow's ExponentialMovingAverage (`num_updates`), which diffusers' EMAModel has too:
    without it the first weights, which are of no use, would stay in the average for 1 / (1 - limit) steps.
    """
    return min(limit, (1 + updates) / (10 + updates))


class Average:
    """The average of some parameters, one float32 copy on their device; in place of them within `shown`."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._updates = 0
        self._mean = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are after a step."""
        decay = decay_at(self._updates, self._decay)
        get_ema_multi_avg_fn(decay)(self._mean, [parameter.detach() for parameter in self._parameters], self._updates)
        self._updates += 1

    def swap(self) -> None:
        """Exchange parameters and average: once in, once out. Nothing is copied."""
        for place, parameter in enumerate(self._parameters):
            parameter.data, self._mean[place] = self._mean[place], parameter.data

    def state_dict(self) -> dict[str, Any]:
        """What a state keeps; the tensors lie on the CPU."""
        return {"updates": self._updates, "mean": [mean.cpu() for mean in self._mean]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be the average of a state. Raises ValueError where it is one of other parameters."""
        if [mean.shape for mean in self._mean] != [mean.shape for mean in state["mean"]]:
            raise ValueError("an average of other parameters")
        self._updates = state["updates"]
        for mean, saved in zip(self._mean, state["mean"], strict=True):
            mean.copy_(saved)


class _Averaged(Protocol):
    @property
    def average(self) -> Average | None:
        """The average, where the config wants one."""


@contextmanager
def shown(*members: _Averaged) -> Iterator[None]:
    """Within: the parameters of members that have an average are the average."""
    averages = [member.average for member in members if member.average is not None]
    for average in averages:
        average.swap()
    try:
        yield
    finally:
        for average in averages:
            average.swap()
