"""The loop's arithmetic: which batches belong to which optimizer step, whenever it starts."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.train import loop


class Numbers:
    """A data set whose batch number n is n."""

    def __getitem__(self, index: int) -> int:
        return index


def steps(batches_per_epoch: int, accumulation: int, first: int, total: int) -> list[Any]:
    """The batch numbers of each optimizer step."""
    data: Any = SimpleNamespace(
        training=Numbers(), batches_per_epoch=batches_per_epoch, num_workers=0, persistent_workers=False
    )
    return list(loop.steps(data, accumulation, first, total))


def test_steps_by_hand() -> None:
    """Five batches an epoch, two a step: the epoch's last step has the one that is left, and the next starts anew."""
    assert steps(5, 2, 0, 4) == [[0, 1], [2, 3], [4], [5, 6]]
    assert steps(3, 1, 0, 4) == [[0], [1], [2], [3]]
    assert steps(2, 5, 0, 2) == [[0, 1], [2, 3]]


@given(per_epoch=st.integers(1, 9), accumulation=st.integers(1, 5), cut=st.integers(0, 25), more=st.integers(1, 10))
def test_a_cut_changes_nothing(per_epoch: int, accumulation: int, cut: int, more: int) -> None:
    """Steps from a cut on are those of the whole run; no batch is left out or comes twice."""
    whole = steps(per_epoch, accumulation, 0, cut + more)
    assert steps(per_epoch, accumulation, cut, cut + more) == whole[cut:]
    every = [number for step in whole for number in step]
    assert every == list(range(len(every)))
    assert all(1 <= len(step) <= accumulation for step in whole)
    assert all(len({number // per_epoch for number in step}) == 1 for step in whole)


@pytest.mark.parametrize(("step", "batches"), [(0, 0), (1, 2), (2, 4), (3, 5), (4, 7), (6, 10)])
def test_batches_before(step: int, batches: int) -> None:
    """With five batches an epoch and two a step, three steps are an epoch."""
    assert loop.batches_before(step, 3, 5, 2) == batches
