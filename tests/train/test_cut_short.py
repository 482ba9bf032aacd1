"""A run that is cut short leaves its pack, keeps its state, and disturbs nobody."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import CutShort, Failure
from lora_lab.tracking.events import RunEnded
from lora_lab.train.run import Run, RunResult, train_runs

Make = Callable[..., TrainConfig]
LENGTH: dict[str, object] = {"validation_split": 0.25, "max_steps": None, "num_epochs": 2}


def test_a_pruned_member_leaves_its_pack(make_config: Make, train: Callable[..., Any], tmp_path: Path) -> None:
    """One of two ends at its first validation; the other's LoRA is that of the run alone; the first can go on.

    The judge hears the metrics of each validation but the last, whose run is over anyway.
    """
    asked: list[tuple[int, Mapping[str, float]]] = []

    def judge(step: int, metrics: Mapping[str, float]) -> bool:
        asked.append((step, metrics))
        return True

    def watch(step: int, metrics: Mapping[str, float]) -> bool:
        asked.append((step, metrics))
        return False

    first, second = make_config(**LENGTH, test_seed=1), make_config(**LENGTH, test_seed=2)
    ends: list[RunResult | Failure] = []
    events: list[Any] = []
    cut = Run(config=first, folder=tmp_path / "a", record=events.append, judge=judge, ended=ends.append)
    kept = Run(config=second, folder=tmp_path / "b", record=lambda event: None, judge=watch)
    short, whole = train_runs([cut, kept], lambda progress: None)
    assert isinstance(short, CutShort)
    assert ends == [short]
    assert str(short) == "cut short at step 6 of 12"
    assert events[-1] == RunEnded(status="KILLED", message="cut short at step 6 of 12")
    assert [step for step, _ in asked] == [6, 6]
    assert all(math.isfinite(metrics["val_loss"]) for _, metrics in asked)
    assert isinstance(whole, RunResult)
    assert not list((tmp_path / "a").glob("*.safetensors"))

    assert_same(whole, train(**LENGTH, test_seed=2))
    messages: list[str] = []
    go_on = Run(config=first, folder=tmp_path / "a", record=lambda event: None)
    (gone_on,) = train_runs([go_on], lambda progress: messages.append(progress.message))
    assert any("going on after step 6 of 12" in message for message in messages)
    assert isinstance(gone_on, RunResult)
    assert_same(gone_on, train(**LENGTH, test_seed=1))


def assert_same(result: RunResult, alone: Any) -> None:
    """Compare a LoRA with that of the run alone, as test_packed does."""
    from safetensors.torch import load_file

    tensors = load_file(result.lora)
    assert result.metrics["val_loss"] == pytest.approx(alone.result.metrics["val_loss"], rel=1e-4)
    for name, tensor in alone.tensors.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-3, atol=1e-4)
