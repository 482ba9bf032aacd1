"""The average of the weights, and the file of the best validation loss."""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.tracking.events import Artifact
from lora_lab.train.average import Average, decay_at
from lora_lab.train.validate import validation_losses

Make = Callable[..., TrainConfig]
Train = Callable[..., Any]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]


def test_warm_up_is_diffusers() -> None:
    """The decay climbs as (1 + n) / (10 + n), from 0.1, and stays at its limit."""
    assert [decay_at(n, 0.9) for n in (0, 1, 8, 80, 81, 1000)] == [0.1, 2 / 11, 0.5, 0.9, 0.9, 0.9]
    assert decay_at(8989, 0.999) < 0.999 == decay_at(8990, 0.999)


def test_average_by_hand() -> None:
    """Each update keeps the decay's part of the average and takes the rest from the weights."""
    weight = torch.nn.Parameter(torch.tensor([10.0]))
    average = Average([weight], 0.15)
    seen = []
    for value in (20.0, 30.0, 0.0):
        weight.data.fill_(value)
        average.update()
        average.swap()
        seen.append(weight.item())
        average.swap()
        assert weight.item() == value
    first = 0.1 * 10 + 0.9 * 20
    second = 0.15 * first + 0.85 * 30
    assert seen == pytest.approx([first, second, 0.15 * second])


def test_training_does_not_see_it(train: Train, same_tensors: Same) -> None:
    """Losses and gradients are those of the run without an average; what is saved and validated is another."""
    plain, averaged = (train(validation_split=0.25, ema_decay=decay) for decay in (None, 0.8))
    assert averaged.curve("loss") == plain.curve("loss")
    assert averaged.curve("grad_norm") == plain.curve("grad_norm")
    assert not same_tensors(averaged.tensors, plain.tensors)
    last = max(plain.curve("val_loss"))
    assert averaged.curve("val_loss")[last] != plain.curve("val_loss")[last]


def test_saved_is_the_average_of_the_steps(train: Train) -> None:
    """The file holds the average of the weights of each step, worked out from the steps' own files."""
    common: dict[str, object] = {"max_steps": 4, "save_every_n_steps": 1, "scheduler": "constant"}
    plain, averaged = (train(ema_decay=decay, **common) for decay in (None, 0.15))
    steps = [load_file(plain.folder / f"at-step{n:08d}.safetensors") for n in (1, 2, 3)] + [plain.tensors]
    for name, tensor in averaged.tensors.items():
        if "lora_up" in name:  # which starts at zero
            values = [torch.zeros_like(tensor), *(state[name] for state in steps)]
            decays = iter(decay_at(n, 0.15) for n in range(4))
            *_, expected = accumulate(values, lambda mean, new: torch.lerp(new, mean, next(decays)))  # noqa: B023
            torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-7)


def test_file_and_number_belong_together(make_config: Make, open_pack: Callable[..., Any], train: Train) -> None:
    """The saved LoRA, loaded afresh, has the validation loss that was recorded for it."""
    run = train(validation_split=0.25, ema_decay=0.8, learning_rate=1e-2)
    opened = open_pack(make_config(validation_split=0.25, lora_model_for_resume=str(run.result.lora)))
    (value,) = validation_losses(opened.session, opened.members, opened.data.validation)
    assert value == pytest.approx(run.result.metrics["val_loss"], rel=1e-5)


def test_another_average_is_refused(train: Train) -> None:
    """A state of a run without an average is none for a run with one."""
    first = train(max_steps=2, save_state=True)
    with pytest.raises(Failure, match=r"made with ema_decay None, the config has 0\.9"):
        train(max_steps=4, ema_decay=0.9, load_previous_save_state=str(first.folder / "last-state"))


def test_average_of_other_parameters() -> None:
    """A saved average of other shapes does not load."""
    average = Average([torch.zeros(2)], 0.9)
    with pytest.raises(ValueError, match="other parameters"):
        average.load_state_dict(Average([torch.zeros(3)], 0.9).state_dict())


LOSSES = [0.9, 0.5, 0.3, 0.4, 0.2, math.nan, 0.25]
"""Before the first step, then after each epoch."""


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation finds the losses of the list."""
    found = iter(LOSSES)
    monkeypatch.setattr("lora_lab.train.loop.validation_losses", lambda session, members, pictures: [next(found)])


@pytest.mark.usefixtures("judged")
def test_best_is_kept(train: Train) -> None:
    """Of six epochs the best file is the fourth's, equal to that epoch's own file, and says its loss."""
    run = train(
        keep_best=True,
        validation_split=0.25,
        batch_size=16,
        max_steps=None,
        num_epochs=6,
        save_every_n_epochs=1,
        change_output_name="lumi",
    )
    assert run.curve("best_val_loss") == {1: 0.5, 2: 0.3, 4: 0.2}
    assert run.curve("best_step") == {1: 1, 2: 2, 4: 4}
    assert run.result.metrics["best_val_loss"] == 0.2
    best, fourth = run.folder / "lumi-best.safetensors", run.folder / "lumi-000004.safetensors"
    assert all(torch.equal(value, load_file(fourth)[name]) for name, value in load_file(best).items())
    with safe_open(best, "pt") as file:
        about = file.metadata()
    assert (about["lora_lab.val_loss"], about["ss_steps"]) == ("0.2", "4")
    assert [event.path.name for event in run.told(Artifact)].count("lumi-best.safetensors") == 3


def test_best_needs_held_out_pictures(train: Train) -> None:
    """Without validation_split keep_best is refused at the start."""
    with pytest.raises(Failure, match="keep_best goes by the validation loss"):
        train(keep_best=True)


def test_metadata_says_the_decay(train: Train) -> None:
    """A file of an average names its decay; any other says nothing of averages or chosen losses."""
    for decay in (0.9, None):
        with safe_open(train(max_steps=1, ema_decay=decay).result.lora, "pt") as file:
            about = {key: value for key, value in file.metadata().items() if key.startswith("lora_lab.")}
        assert about == ({"lora_lab.ema_decay": "0.9"} if decay else {})
