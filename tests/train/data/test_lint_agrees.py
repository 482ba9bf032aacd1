"""Lint and the trainer judge a data set alike: the same batches, and what stops the one is an error of the other."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lora_lab.config import TrainConfig, check, plan_steps
from lora_lab.config.buckets import bucket_options
from lora_lab.document import Document
from lora_lab.failure import Failure
from lora_lab.lint import Disk, lint_values
from lora_lab.lint.dataset import batches_per_epoch, placed, steps_of
from lora_lab.lint.rule import View
from lora_lab.train.data import folder, pixels
from lora_lab.train.data.epochs import Arranged, arrange
from lora_lab.train.data.pixels import place

SIZES = st.sampled_from([(64, 64), (64, 96), (128, 40), (100, 100), (65, 300), (256, 256), (300, 200)])
FOLDERS = st.dictionaries(st.sampled_from(["1_a", "2_b", "3", "7_c d"]), st.lists(SIZES, min_size=1, max_size=5))


def lay_out(root: Path, folders: dict[str, list[tuple[int, int]]]) -> None:
    """Write pictures of these sizes."""
    for name, sizes in folders.items():
        (root / name).mkdir(parents=True)
        for index, size in enumerate(sizes):
            Image.new("1", size).save(root / name / f"{index}.png")


def view_of(config: TrainConfig, root: Path) -> View:
    """Return what a rule sees of a config."""
    return View(config, {}, frozenset(), (), Document(None, "", {}), Disk(root), None)


def arranged(config: TrainConfig, root: Path) -> Arranged:
    """Return the data set as the trainer arranges it."""
    training = folder.pictures_of(folder.scan(root / "train"))
    regularisation: tuple[folder.Picture, ...] = ()
    if config.reg_img_folder:
        own = folder.pictures_of(folder.scan(root / "reg", is_reg=True))
        regularisation = folder.balance_regularisation(training, own)
    return arrange((*training, *regularisation), bucket_options(config), config.batch_size)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    training=FOLDERS.filter(bool),
    regularisation=FOLDERS,
    batch_size=st.integers(1, 5),
    switches=st.tuples(st.booleans(), st.booleans()),
    accumulation=st.integers(1, 3),
)
def test_batches_and_placements(
    training: dict[str, list[tuple[int, int]]],
    regularisation: dict[str, list[tuple[int, int]]],
    batch_size: int,
    switches: tuple[bool, bool],
    accumulation: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Batches per epoch, steps, every picture's placement, and which pictures fit no bucket."""
    root = tmp_path_factory.mktemp("data")
    lay_out(root / "train", training)
    lay_out(root / "reg", regularisation)
    values: dict[str, Any] = {
        "base_model": "b",
        "img_folder": "train",
        "output_folder": "o",
        "train_resolution": 128,
        "min_bucket_resolution": 64,
        "max_bucket_resolution": 256,
        "batch_size": batch_size,
        "buckets": switches[0],
        "bucket_no_upscale": switches[1],
        "gradient_acc_steps": accumulation,
        "num_epochs": 3,
    }
    config = check(values | ({"reg_img_folder": "reg"} if regularisation else {})).config
    view = view_of(config, root)
    found = placed(view)
    assert found is not None
    try:
        data = arranged(config, root)
    except Failure:
        assert found.refused
        assert steps_of(view) is None
        return
    assert not found.refused
    assert batches_per_epoch(view) == data.batches_per_epoch
    assert steps_of(view) == plan_steps(config, data.batches_per_epoch)
    assert {bucket.size: len(bucket.entries) for bucket in data.buckets} == dict(found.uses)
    assert [placement for _, placement in found.pictures] == list(data.placements)
    assert [seen.repeats for seen, _ in found.pictures] == [picture.repeats for picture in data.pictures]


def _whole(path: Path) -> bytes:
    Image.frombytes("RGB", (200, 100), random.Random(1).randbytes(60_000)).save(path)
    return path.read_bytes()


def _cut_off(path: Path) -> None:
    path.write_bytes(_whole(path)[:-5_000])


def _gif(path: Path) -> None:
    Image.new("RGB", (200, 100)).save(path, "GIF")


def _nothing(path: Path) -> None:
    path.with_name("b.txt").write_text("a caption alone")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "whole": _whole,
    "empty": Path.touch,
    "a web page": lambda path: path.write_text("<html>"),
    "cut off": _cut_off,
    "GIF called PNG": _gif,
    "caption in UTF-16": lambda path: path.with_suffix(".txt").write_text("a cat", "utf-16") and _whole(path),
    "empty caption": lambda path: path.with_suffix(".txt").touch() or _whole(path),
    "no picture": _nothing,
}


@pytest.mark.parametrize("which", ["train", "reg"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_stops_training_is_an_error(damage: str, which: str, tmp_path: Path) -> None:
    """A data set that the trainer can read has no error, and one that it can't has one, regularisation included."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    other = {"train": "reg", "reg": "train"}[which]
    lay_out(tmp_path / other, {"1_a": [(512, 512)] * 5})
    (tmp_path / which / "1_a").mkdir(parents=True)
    DAMAGE[damage](tmp_path / which / "1_a" / "b.png")
    values = {"base_model": "b", "img_folder": "train", "reg_img_folder": "reg", "output_folder": "o"}
    config = check(values).config
    try:
        for picture in arranged(config, tmp_path).pictures:
            place(pixels.load(picture.path), arranged(config, tmp_path).placements[0])
        reads = True
    except Failure:
        reads = False
    errors = [one.code for one in lint_values(values, tmp_path, Disk(tmp_path)).findings if one.severity == "error"]
    assert (not errors) == reads, errors
