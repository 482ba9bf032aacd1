"""Training on a data set file: several data sets, sizes and settings at once."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from lora_lab.config import TrainConfig, plan_steps
from lora_lab.document import Document
from lora_lab.lint import Disk
from lora_lab.lint.dataset import placed, steps_of
from lora_lab.lint.rule import View
from lora_lab.sweep.identity import Digests, identity
from lora_lab.train.dataset import read_dataset

Make = Callable[..., TrainConfig]
Same = Callable[..., bool]

TWO = """
[general]
min_bucket_reso = 64
[[datasets]]
resolution = 64
batch_size = 3
[[datasets.subsets]]
image_dir = "small"
num_repeats = 2
caption_prefix = "tiny,"
[[datasets]]
resolution = 128
batch_size = 2
flip_aug = true
[[datasets.subsets]]
image_dir = "large"
shuffle_caption = true
keep_tokens = 1
[[datasets.subsets]]
image_dir = "reg"
is_reg = true
class_tokens = "a thing"
"""


@pytest.fixture
def two(picture_folder: Path, tmp_path: Path) -> Path:
    """A file with two data sets: four pictures at 64, three at 128 (one of them in both), with regularisation."""
    pictures = sorted((picture_folder / "2_lumi").glob("*.png"))
    for name, chosen in (("small", pictures[:4]), ("large", pictures[3:6]), ("reg", pictures[6:])):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for path in chosen:
            shutil.copy(path, folder)
            if name != "reg":
                shutil.copy(path.with_suffix(".txt"), folder)
    path = tmp_path / "data" / "two.toml"
    path.write_text(TWO)
    return path


def test_each_data_set_has_its_size_batches_and_settings(two: Path, make_config: Make, open_pack: Any) -> None:
    """No batch mixes data sets; an epoch shows each use once, at its size, in batches of its own, captioned as said."""
    opened = open_pack(make_config(dataset_config=str(two), img_folder="", prior_loss_weight=0.5))
    batches = [opened.data.training[index] for index in range(opened.data.batches_per_epoch)]
    assert sorted((batch.bucket, len(batch.items[0])) for batch in batches) == [
        ((64, 64), 2), ((64, 64), 3), ((64, 64), 3), ((128, 128), 2), ((128, 128), 2), ((128, 128), 2),
    ]  # fmt: skip
    assert all(tuple(batch.latents.shape[2:]) == (batch.bucket[1] // 8, batch.bucket[0] // 8) for batch in batches)
    shown = Counter(item.split("#")[0].split("/")[1] for batch in batches for item in batch.items[0])
    assert shown == {"small": 8, "large": 3, "reg": 3}
    for batch in batches:
        for item, caption, weight in zip(batch.items[0], batch.captions[0], batch.weights.tolist(), strict=True):
            side = item.split("/")[1]
            assert caption.startswith({"small": "tiny, lumi,", "large": "lumi,", "reg": "a thing"}[side])
            assert (batch.bucket[0], weight) == ((64, 1.0) if side == "small" else (128, 0.5 if side == "reg" else 1.0))


def test_one_data_set_is_the_folder_that_it_names(
    picture_folder: Path, make_config: Make, train: Any, same_tensors: Same, tmp_path: Path
) -> None:
    """A file that says what a folder's name says trains the same LoRA, bit for bit."""
    path = tmp_path / "one.toml"
    path.write_text(
        f"[[datasets]]\nresolution = 64\nbatch_size = 2\n[[datasets.subsets]]\n"
        f"image_dir = '{picture_folder / '2_lumi'}'\nnum_repeats = 2\nshuffle_caption = true\n"
    )
    named = train(dataset_config=str(path), img_folder="", train_resolution=512, batch_size=1)
    assert same_tensors(named.tensors, train(shuffle_captions=True).tensors)


def test_packs_and_resumed_runs(two: Path, make_config: Make, train_pack_of: Any, same_tensors: Same) -> None:
    """In a pack each adapter is what it is alone; a run that goes on from a state is the uninterrupted one."""
    common = {"dataset_config": str(two), "img_folder": "", "max_steps": 8, "validation_split": 0.3}
    one, other = make_config(**common), make_config(**common, test_seed=7, net_dim=3, learning_rate=5e-4)
    packed, alone = train_pack_of([one, other]), train_pack_of([one])[0]
    for key, tensor in alone.tensors.items():
        assert torch.allclose(tensor, packed[0].tensors[key], atol=1e-6), key
    assert alone.curve("val_loss")
    half = train_pack_of([make_config(**common, save_every_n_steps=5, save_state=True)])[0]
    (state,) = half.folder.glob("*step00000005-state")
    assert same_tensors(
        train_pack_of([make_config(**common, load_previous_save_state=str(state))])[0].tensors, alone.tensors
    )


def test_the_file_records_its_data_sets(two: Path, make_config: Make, train: Any) -> None:
    """`ss_datasets` has each data set with its folders, buckets and pictures, as sd-scripts writes it."""
    run = train(dataset_config=str(two), img_folder="", max_steps=1)
    with safe_open(run.result.lora, "pt") as file:
        first, second = json.loads(file.metadata()["ss_datasets"])
    assert (first["resolution"], first["batch_size_per_device"]) == ([64, 64], 3)
    assert [(one["image_dir"], one["img_count"], one["num_repeats"]) for one in first["subsets"]] == [("small", 4, 2)]
    assert [(one["is_reg"], one["img_count"]) for one in second["subsets"]] == [(False, 3), (True, 2)]


@pytest.mark.parametrize("seed", range(8))
def test_nothing_leaks_between_data_sets(two: Path, make_config: Make, seed: int) -> None:
    """A picture that lies in two data sets is on one side in both, and regularisation pictures are never held out."""
    config = make_config(dataset_config=str(two), img_folder="", validation_split=0.4, validation_seed=seed)
    dataset = read_dataset(config)
    assert dataset.validation is not None
    sides = [{one.digest for one in data.pictures} for data in (dataset.training, dataset.validation)]
    assert not sides[0] & sides[1]
    assert not any(one.is_reg for one in dataset.validation.pictures)
    assert len({one.digest for one in (*dataset.training.pictures, *dataset.validation.pictures)}) == 8
    assert {bucket.size for bucket in dataset.validation.buckets} <= {(64, 64), (128, 128)}


def test_each_data_set_holds_out_its_own_share(two: Path, make_config: Make) -> None:
    """A data set without a share gives none, but for what the other one holds out too."""
    two.write_text(TWO.replace("batch_size = 3", "batch_size = 3\nvalidation_split = 0.5"))
    dataset = read_dataset(make_config(dataset_config=str(two), img_folder=""))
    assert dataset.validation is not None
    held = [one.subset for one in dataset.validation.pictures]
    assert held.count("small") == 2
    assert held.count("large") <= 1


def test_lint_knows_the_steps(two: Path, make_config: Make) -> None:
    """Lint counts batches and uses as the trainer has them."""
    config = make_config(dataset_config=str(two), img_folder="", max_steps=None)
    view = View(config, {}, frozenset(), (), Document(None, "", {}), Disk(two.parent), None)
    dataset = read_dataset(config)
    assert steps_of(view) == plan_steps(config, dataset.training.batches_per_epoch)
    found = placed(view)
    assert found is not None
    assert found.uses == dataset.facts.buckets


def test_identity_goes_by_what_the_file_means(two: Path, make_config: Make, tmp_path: Path) -> None:
    """The same data elsewhere is the same run; another setting, picture or mask is another."""

    def of(path: Path) -> str:
        config = make_config(dataset_config=str(path), img_folder="")
        return identity(config, Digests(tmp_path).of(config))

    before = of(two)
    copy = shutil.copytree(two.parent, tmp_path / "elsewhere") / "two.toml"
    assert of(copy) == before
    copy.write_text(f"# a comment\n{TWO}")
    assert of(copy) == before
    copy.write_text(TWO.replace("batch_size = 3", "batch_size = 1"))
    assert of(copy) != before
    copy.write_text(TWO)
    (copy.parent / "large" / "more.txt").write_text("x")
    assert of(copy) != before
