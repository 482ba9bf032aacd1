"""A pack for which memory runs out: its members go on from where they were, fewer at a time."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_lab.config import TrainConfig
from lora_lab.tracking.events import Metrics
from lora_lab.train import step
from lora_lab.train.run import Run, RunResult, train_runs

Make = Callable[..., TrainConfig]
FULL = "[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


def test_a_pack_goes_on_in_parts(
    make_config: Make, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the third step: everybody's state after the second is kept, nothing is told twice.

    Two of the three then go on as a pack and one alone, and end with what each of them is alone.
    """
    settings: list[dict[str, object]] = [
        {"test_seed": 1, "net_dim": 2, "ema_decay": 0.5},
        {"test_seed": 2, "optimizer_type": "AdaFactor", "learning_rate": 1e-3},
        {"test_seed": 3, "max_steps": 4, "network_dropout": 0.2},
    ]
    configs = [make_config(validation_split=0.25, **values) for values in settings]
    told: list[list[Any]] = [[], [], []]
    runs = [Run(config=config, folder=tmp_path / str(at), record=told[at].append) for at, config in enumerate(configs)]
    real = step.pack_losses

    def fails(session: Any, members: Any, batch: Any) -> Any:
        losses = real(session, members, batch)
        if len(members) == 3 and batch.index == 2:
            raise RuntimeError(FULL)
        return losses

    monkeypatch.setattr(step, "pack_losses", fails)
    with pytest.raises(MemoryError, match="can't allocate memory"):
        train_runs(runs, lambda progress: None)

    said: list[str] = []
    results = [
        *train_runs(runs[:2], lambda progress: said.append(progress.message)),
        *train_runs(runs[2:], lambda progress: said.append(progress.message)),
    ]
    assert [line.partition(" of ")[0] for line in said if "going on" in line] == ["going on after step 2"] * 3
    for result, values, events in zip(results, settings, told, strict=True):
        assert isinstance(result, RunResult)
        alone = train(validation_split=0.25, **values)
        points = [(e.step, key) for e in events if isinstance(e, Metrics) for key in e.values if key == "loss"]
        assert Counter(points) == {(at + 1, "loss"): 1 for at in range(alone.result.steps)}
        assert result.metrics["val_loss"] == pytest.approx(alone.result.metrics["val_loss"], rel=1e-4)
        for name, tensor in load_file(result.lora).items():
            torch.testing.assert_close(tensor, alone.tensors[name], rtol=1e-3, atol=1e-4)


def test_what_one_of_them_breaks_for_itself_is_no_lack_of_memory(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another RuntimeError passes as it is, and no state is written for it."""

    def fails(session: Any, members: Any, batch: Any) -> Any:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(step, "pack_losses", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        train_runs([Run(config=make_config(), folder=tmp_path / "a", record=lambda event: None)], lambda step: None)
    assert not list((tmp_path / "a").glob("*-state"))


def test_members_that_are_far_apart(make_config: Make, train: Callable[..., Any], tmp_path: Path) -> None:
    """One starts where another, shorter than that, has long ended: both come to their end."""
    long, short = make_config(test_seed=1, save_state=True, save_every_n_steps=5), make_config(test_seed=2, max_steps=3)
    train_runs([Run(config=long, folder=tmp_path / "first", record=lambda event: None)], lambda step: None)
    (state,) = (tmp_path / "first").glob("*-step00000005-state")
    on = long.model_copy(update={"load_previous_save_state": str(state)})
    ends = train_runs(
        [Run(config=one, folder=tmp_path / one.test_seed.__str__(), record=lambda event: None) for one in (on, short)],
        lambda step: None,
    )
    assert all(isinstance(end, RunResult) for end in ends)
    whole = load_file(next((tmp_path / "first").glob("last.safetensors")))
    for name, tensor in load_file(ends[0].lora).items():  # type: ignore[union-attr]
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-4)
