"""Runs that go on: from a state bit for bit, from a LoRA file, by a plateau."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure

Make = Callable[..., TrainConfig]
TrainPack = Callable[[Sequence[TrainConfig]], list[Any]]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]


RESUMED: dict[str, dict[str, object]] = {
    "plain": {},
    "accumulation": {"gradient_acc_steps": 4, "batch_size": 1},
    "dropout and shuffled captions": {"network_dropout": 0.2, "shuffle_captions": True, "caption_dropout_rate": 0.3},
    "cosine with warm-up": {"scheduler": "cosine_with_restarts", "cosine_restarts": 2, "lr_warmup_steps": 3},
    "plateau": {"scheduler": "plateau", "validation_split": 0.25, "batch_size": 4},
    "plateau by training loss": {"scheduler": "plateau", "lr_warmup_steps": 2, "batch_size": 4},
    "average of the weights": {"ema_decay": 0.6, "validation_split": 0.25, "keep_best": True},
    "momentum": {"optimizer_type": "SGDNesterov", "scheduler": "step"},
}


@pytest.mark.parametrize("values", RESUMED.values(), ids=RESUMED.keys())
def test_resumed_is_uninterrupted(
    values: dict[str, object], train: Callable[..., Any], same_tensors: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve steps at once, and five, then seven more from the state, give the same tensors bit for bit.

    Step 5 lies inside an epoch: what the epoch's mean loss is made of must be in the state too.
    """
    monkeypatch.setattr("lora_lab.train.schedule.PLATEAU_PATIENCE", 0)
    straight = train(max_steps=12, save_state=True, save_every_n_steps=5, **values)
    state = straight.folder / "at-step00000005-state"
    resumed = train(max_steps=12, load_previous_save_state=str(state), **values)
    assert same_tensors(straight.tensors, resumed.tensors)
    assert resumed.curve("loss") == {n: value for n, value in straight.curve("loss").items() if n > 5}
    for key in ("lr/unet", "epoch_loss", "val_loss"):
        assert resumed.curve(key) == {n: value for n, value in straight.curve(key).items() if n > 5}


@pytest.mark.parametrize("split", [0.25, 0.0])
def test_plateau_hears_each_loss_once(split: float, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plateau schedule is judged by new validation losses only, or without any by every epoch's mean."""
    heard: list[float] = []
    monkeypatch.setattr("lora_lab.train.loop.MAX_VALIDATIONS", 2)
    monkeypatch.setattr("lora_lab.train.schedule.PlateauSchedule.judge", lambda self, value: heard.append(value))
    run = train(validation_split=split, scheduler="plateau", batch_size=16, max_steps=None, num_epochs=4)
    losses = run.curve("val_loss" if split else "epoch_loss")
    assert list(losses) == ([0, 2, 4] if split else [1, 2, 3, 4])
    assert heard == [value for step, value in losses.items() if step]


def test_state_that_has_done_all(train: Callable[..., Any]) -> None:
    """A finished state and a plan that asks for no more is a Failure, not a run of nothing."""
    first = train(max_steps=2, save_state=True)
    with pytest.raises(Failure, match="has done 2 steps, and the config plans 2"):
        train(max_steps=2, load_previous_save_state=str(first.folder / "last-state"))


def test_training_goes_on_from_a_lora(train: Callable[..., Any]) -> None:
    """`lora_model_for_resume` starts from the file's weights: its first loss is the one the finished LoRA has."""
    first = train(max_steps=8, learning_rate=2e-2, scheduler="constant", validation_split=0.25)
    second = train(max_steps=1, lora_model_for_resume=str(first.result.lora), validation_split=0.25)
    assert second.curve("val_loss")[0] == pytest.approx(first.curve("val_loss")[8], rel=1e-5)
    assert second.curve("val_loss")[0] != pytest.approx(first.curve("val_loss")[0], rel=1e-3)
    with pytest.raises(Failure, match="rank 4, the config net_dim 8"):
        train(net_dim=8, lora_model_for_resume=str(first.result.lora))
