"""Several processes that train one adapter (`accelerate launch`): each learns from its share of every batch.

Every process holds the base and the adapter. All make the same whole batch and the same draws, randomness having no
state; each predicts its own share of the pictures; the gradients are added up before the optimizers move. So all keep
the same weights, and N processes with a batch size of B learn what one learns with N·B. The first process alone writes
files and tells; the others say nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from lora_lab.failure import Failure

PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: the first one draws and saves while the others wait."""


@dataclass(frozen=True)
class Together:
    """Which of the processes this one is; by default the only one."""

    rank: int = 0
    processes: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def share(self, count: int) -> tuple[slice, float]:
        """Return this process's part of `count` pictures, and the part of the loss that it stands for.

        Where there are more processes than pictures, some take a picture that does not count.
        """
        start, stop = count * self.rank // self.processes, count * (self.rank + 1) // self.processes
        if start == stop:
            return slice(0, 1), 0.0
        return slice(start, stop), (stop - start) / count

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes into each tensor (all of one dtype). Raises Failure where one has gone."""
        if self.processes == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]).to(self.device)
        _all(flat, distributed.ReduceOp.SUM)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def highest(self, *numbers: int) -> list[int]:
        """Return for each number the highest that a process has."""
        if self.processes == 1:
            return list(numbers)
        found = torch.tensor(numbers, device=self.device)
        _all(found, distributed.ReduceOp.MAX)
        return [int(number) for number in found.tolist()]

    def of_the_first(self, text: str) -> str:
        """Return what the first process has."""
        if self.processes == 1:
            return text
        length = self.highest(len(text.encode()) if self.first else 0)[0]
        own = text.encode() if self.first else bytes(length)
        found = torch.tensor(list(own), dtype=torch.int32, device=self.device)
        _all(found, distributed.ReduceOp.SUM)
        return bytes(found.tolist()).decode()


ALONE = Together()
"""A process that trains by itself."""


def of(accelerator: Any) -> Together:
    """Return which process this is, as accelerate knows it."""
    return Together(accelerator.process_index, accelerator.num_processes, str(accelerator.device))


def _all(tensor: Tensor, how: Any) -> None:
    try:
        distributed.all_reduce(tensor, how)
    except RuntimeError as error:
        raise Failure("another process of this training has ended", "see what it said") from error
