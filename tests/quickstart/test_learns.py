"""A LoRA on the packaged base learns the new shape, and controls that should learn less do."""

import json
import shutil
from pathlib import Path

import pytest

import lora_lab
from lora_lab.config import TrainConfig
from lora_lab.tracking.events import Event, Metrics
from lora_lab.train.data.folder import pictures_of, scan
from lora_lab.train.data.split import split_validation
from lora_lab.train.run import train_run

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"


def validation_losses(folder: Path, pictures: Path, **values: object) -> list[float]:
    """Train as the quickstart does; every validation loss, the untrained base's first."""
    config = TrainConfig(
        **{
            "base_model": str(PACKAGED / "base"),
            "img_folder": str(pictures),
            "output_folder": str(folder),
            "mixed_precision": "no",
            "train_resolution": 128,
            "min_bucket_resolution": 64,
            "max_bucket_resolution": 256,
            "batch_size": 4,
            "net_dim": 8,
            "alpha": 16.0,
            "learning_rate": 2e-3,
            "max_steps": 60,
            "validation_split": 0.2,
            **values,
        }
    )
    events: list[Event] = []
    train_run(config, folder=folder, record=events.append, progress=lambda _: None)
    seen = [event.values["val_loss"] for event in events if isinstance(event, Metrics) and "val_loss" in event.values]
    assert len(seen) >= 2
    return seen


def with_mixed_up_captions(folder: Path) -> Path:
    """The quickstart's pictures, but the captions of those that are trained on have gone round by seven places."""
    copy = folder / "mixed"
    shutil.copytree(PACKAGED / "pictures", copy)
    training, _ = split_validation(pictures_of(scan(copy)), 0.2, 0)
    captions = [picture.caption for picture in training]
    for picture, caption in zip(training, captions[7:] + captions[:7], strict=True):
        picture.path.with_suffix(".txt").write_text(caption)
    return copy


def test_learns_the_new_shape(tmp_path: Path) -> None:
    """Sixty steps lower the validation loss by a fifth; two steps, or wrong captions, do clearly less."""
    base, *_, trained = validation_losses(tmp_path / "trained", PACKAGED / "pictures")
    _, *_, barely = validation_losses(tmp_path / "barely", PACKAGED / "pictures", max_steps=2)
    _, *_, mixed = validation_losses(tmp_path / "mixed_up", with_mixed_up_captions(tmp_path))
    figures = json.dumps({"base": base, "trained": trained, "two steps": barely, "mixed-up captions": mixed})
    assert trained < 0.8 * base, figures
    assert trained < 0.9 * barely, figures
    assert trained < 0.95 * mixed, figures


def test_untrained_loss_is_the_bases(tmp_path: Path) -> None:
    """Before the first step every run on the same pictures has the same validation loss, whatever its settings."""
    one, *_ = validation_losses(tmp_path / "one", PACKAGED / "pictures", max_steps=1, test_seed=1, net_dim=4)
    other, *_ = validation_losses(tmp_path / "other", PACKAGED / "pictures", max_steps=1, test_seed=2, batch_size=2)
    assert one == pytest.approx(other, rel=1e-5)
