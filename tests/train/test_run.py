"""Whole runs on a tiny base: what they leave, that packing, resuming and repeating change nothing."""

import json
import random
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.tracking.events import VALIDATION_SET, Artifact, DatasetUsed, Metrics, RunEnded, RunStarted
from lora_lab.train import prepare, step
from lora_lab.train import run as run_module
from lora_lab.train.opening import open_base
from lora_lab.train.run import train_run
from lora_lab.train.validation_set import short_name

Make = Callable[..., TrainConfig]
TrainPack = Callable[[Sequence[TrainConfig]], list[Any]]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]


def test_events_in_order(train: Callable[..., Any]) -> None:
    """A run tells its parameters first, then its data, a loss at every step, validation at both ends, its end last."""
    run = train(validation_split=0.25)
    assert [type(event) for event in run.events[:2]] == [RunStarted, DatasetUsed]
    assert run.events[-1] == RunEnded(status="FINISHED")
    assert len(run.told(RunStarted)) == len(run.told(RunEnded)) == 1
    assert len(run.events[0].params) >= 60
    assert run.events[0].params["net_dim"] == "4"
    assert run.events[0].params["derived.total_steps"] == "6"
    assert run.events[0].params["derived.scale"] == "0.5"
    judged_on = run.events[0].tags[VALIDATION_SET]
    assert run.events[0].params["derived.validation_set"] == short_name(judged_on)
    assert run.events[1].profile["held_out"] == 2
    assert run.events[1].profile["pictures"] == 6
    assert list(run.curve("loss")) == [1, 2, 3, 4, 5, 6]
    assert list(run.curve("grad_norm")) == list(run.curve("lr/unet")) == list(run.curve("lr/text_encoder"))
    assert list(run.curve("val_loss")) == [0, 6]
    assert [event.path for event in run.told(Artifact)] == [run.result.lora]
    assert run.result.metrics["loss"] == run.curve("loss")[6]
    assert run.result.metrics["val_loss"] == run.curve("val_loss")[6]
    assert run.progress[-1].step == run.progress[-1].total_steps == 6


def test_validation_at_the_end_of_every_epoch(train: Callable[..., Any]) -> None:
    """Epochs of six batches: validation before the first step, after each epoch and at the end, mean losses too."""
    run = train(validation_split=0.25, max_steps=14)
    assert list(run.curve("val_loss")) == [0, 6, 12, 14]
    losses = run.curve("loss")
    means = {end: sum(losses[n] for n in steps) / len(steps) for end, steps in EPOCHS.items()}
    assert run.curve("epoch_loss") == pytest.approx(means)


EPOCHS = {6: range(1, 7), 12: range(7, 13), 14: range(13, 15)}


def test_training_learns(train: Callable[..., Any]) -> None:
    """Thirty steps at a high learning rate bring the validation loss down."""
    run = train(validation_split=0.25, max_steps=30, learning_rate=1e-2, scheduler="constant")
    assert run.curve("val_loss")[30] < 0.99 * run.curve("val_loss")[0]


def test_same_config_same_lora_other_seed_other_lora(train: Callable[..., Any], same_tensors: Same) -> None:
    """A config run twice gives the same tensors bit for bit; another seed gives others."""
    first, again, other = train(), train(), train(test_seed=24)
    assert same_tensors(first.tensors, again.tensors)
    assert not same_tensors(first.tensors, other.tensors)
    assert first.curve("loss") == again.curve("loss")


def test_workers_change_nothing(train: Callable[..., Any], same_tensors: Same) -> None:
    """Two worker processes give the same LoRA as none, with shuffled captions and pixels that they decode."""
    values = {"shuffle_captions": True, "cache_latents": False, "flip_aug": True, "max_steps": 4}
    alone = train(**values)
    helped = train(**values, num_workers=2, persistent_workers=True)
    assert same_tensors(alone.tensors, helped.tensors)


def test_validation_does_not_depend_on_caching(train: Callable[..., Any]) -> None:
    """Before training, runs with and without cached latents have the same validation loss, whatever their seed."""
    cached = train(validation_split=0.25, max_steps=1)
    fresh = train(validation_split=0.25, max_steps=1, cache_latents=False, test_seed=5, batch_size=1)
    assert fresh.curve("val_loss")[0] == pytest.approx(cached.curve("val_loss")[0], rel=1e-5)
    assert fresh.curve("loss")[1] != cached.curve("loss")[1]


def test_cache_on_disk_gives_the_same(
    train: Callable[..., Any], same_tensors: Same, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Latents from the disk cache train the same LoRA as those in memory."""
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "cache"))
    memory = train()
    written, read = train(cache_latents_to_disk=True), train(cache_latents_to_disk=True)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 8
    assert same_tensors(memory.tensors, written.tensors)
    assert same_tensors(memory.tensors, read.tensors)


def test_schedule_free(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimizer with two sets of weights learns with one, and the other is validated and saved."""

    class Free(torch.optim.SGD):
        """Moves the weights by 1 while it learns, as schedulefree's optimizers move them by something."""

        learning = False

        def train(self) -> None:
            self._shift(True)

        def eval(self) -> None:
            self._shift(False)

        def step(self, closure: Any = None) -> Any:
            assert self.learning
            return super().step(closure)

        @torch.no_grad()
        def _shift(self, learning: bool) -> None:
            if learning != self.learning:
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.add_(1e-3 if learning else -1e-3)
            self.learning = learning

    module = types.ModuleType("schedulefree")
    module.SGDScheduleFree = Free  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "schedulefree", module)
    values: dict[str, Any] = {"validation_split": 0.25, "max_steps": 2, "learning_rate": 1e-12}
    free = train(**values, optimizer_type="SGDScheduleFree")
    plain = train(**values, optimizer_type="torch.optim.SGD")
    assert free.curve("val_loss") == pytest.approx(plain.curve("val_loss"), rel=1e-4)
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(free.tensors[name], tensor, rtol=0, atol=1e-6)
    assert free.curve("loss")[2] != pytest.approx(plain.curve("loss")[2], rel=1e-6)


def test_loss_that_is_no_number_ends_the_run(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN at step 3 ends the run as failed, naming the step, before the save due at step 4 can keep it."""
    real = step.pack_losses
    calls = []

    def broken(*args: Any) -> torch.Tensor:
        calls.append(1)
        return real(*args) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(step, "pack_losses", broken)
    events: list[Any] = []
    with pytest.raises(Failure, match="the loss became nan at step 3"):
        train_run(
            make_config(save_every_n_steps=4), folder=tmp_path / "run", record=events.append, progress=lambda p: None
        )
    assert events[-1].status == "FAILED"
    assert "step 3" in events[-1].message
    assert [event.step for event in events if isinstance(event, Metrics)] == [1, 2]
    assert not list((tmp_path / "run").iterdir())


def test_the_base_gets_its_layers_back(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., Any]
) -> None:
    """After a run, finished or broken, the shared base answers as before, bit for bit, and is frozen."""
    config = make_config(learning_rate=0.1)
    family, base = open_base([config], prepare.make_accelerator("no"))
    latents, t = torch.randn(1, 4, 8, 8), torch.tensor([500])

    def answer() -> torch.Tensor:
        with torch.no_grad():
            text = family.encode(base, family.tokenize(base, "lumi", 75)[None], 1)
            return family.predict(base, latents, t, text)

    before, keys = answer(), list(base.unet.state_dict())
    assert open_base([config], prepare.make_accelerator("no"))[1] is base
    train(learning_rate=0.1)
    monkeypatch.setattr(run_module, "train_pack", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_run(config, folder=tmp_path / "x", record=lambda e: None, progress=lambda p: None)
    assert torch.equal(answer(), before)
    assert list(base.unet.state_dict()) == keys
    assert not any(p.requires_grad for part in (base.unet, *base.text_encoders, base.vae) for p in part.parameters())


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_fp16_without_a_gpu(train: Callable[..., Any]) -> None:
    """fp16 on a machine without a GPU is a Failure that names the way out."""
    with pytest.raises(Failure, match=r"fp16 needs a GPU.*bf16"):
        train(mixed_precision="fp16")


def test_bf16_trains_float_weights(train: Callable[..., Any]) -> None:
    """With bf16 the base computes in bf16 and the LoRA is kept in float32; the losses are near the float32 run's."""
    exact, mixed = train(), train(mixed_precision="bf16")
    assert {tensor.dtype for tensor in mixed.tensors.values()} == {torch.float32}
    assert mixed.curve("loss") == pytest.approx(exact.curve("loss"), rel=0.05)
    assert mixed.curve("loss") != exact.curve("loss")


def test_impossible_folder(make_config: Make, tmp_path: Path) -> None:
    """An output folder that is a file is a Failure that names it, and the run's end is told."""
    (tmp_path / "taken").write_text("")
    events: list[Any] = []
    with pytest.raises(Failure, match="taken"):
        train_run(make_config(), folder=tmp_path / "taken", record=events.append, progress=lambda p: None)
    assert [event.status for event in events] == ["FAILED"]


def test_interrupted(make_config: Make, tmp_path: Path) -> None:
    """Ctrl-C is told as KILLED and goes on to the caller."""
    events: list[Any] = []

    def interrupt(progress: Any) -> None:
        if progress.step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(make_config(), folder=tmp_path / "run", record=events.append, progress=interrupt)
    assert events[-1].status == "KILLED"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unet_only": True, "text_only": True}, "leave nothing to train"),
        ({"clip_skip": 4}, "clip_skip 4 is beyond the 3 layers"),
        ({"v_parameterization": True}, "predicts epsilon, the config trains v_prediction"),
        ({"img_folder": "/nowhere/at/all"}, "/nowhere/at/all does not exist"),
        ({"color_aug": True}, "set cache_latents to false"),
        ({"lora_model_for_resume": "/nowhere/x.safetensors"}, "/nowhere/x.safetensors does not exist"),
        ({"load_previous_save_state": "/nowhere/x-state"}, "is not a state folder"),
    ],
)
def test_refused(values: dict[str, object], message: str, train: Callable[..., Any]) -> None:
    """What can't be trained is a Failure of one line that says what is wrong."""
    with pytest.raises(Failure, match=message) as caught:
        train(**values)
    assert "\n" not in str(caught.value)


def test_metadata_of_the_data(train: Callable[..., Any], make_config: Make, tmp_path: Path) -> None:
    """Regularisation pictures are counted, listed and learned from beside the training pictures."""
    from safetensors import safe_open

    source = sorted(Path(make_config().img_folder).glob("2_lumi/*.png"))
    (tmp_path / "reg" / "1_thing").mkdir(parents=True)
    for picture in random.Random(0).sample(source, 3):
        (tmp_path / "reg" / "1_thing" / picture.name).write_bytes(picture.read_bytes() + b"\0")
    run = train(reg_img_folder=str(tmp_path / "reg"))
    with safe_open(run.result.lora, "pt") as file:
        about = file.metadata()
    assert about["ss_num_train_images"] == about["ss_num_reg_images"] == "16"
    assert json.loads(about["ss_dataset_dirs"]) == {"2_lumi": {"n_repeats": 2, "img_count": 8}}
    assert sum(one["n_repeats"] * one["img_count"] for one in json.loads(about["ss_reg_dataset_dirs"]).values()) <= 16
    assert json.loads(about["ss_bucket_info"])["buckets"] == {"0": {"resolution": [64, 64], "count": 32}}
