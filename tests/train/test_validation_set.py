"""The line that says what a validation loss is measured on: it changes with what decides the loss, and nothing else."""

import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from lora_lab.config import TrainConfig
from lora_lab.quickstart.draw import draw, random_scene
from lora_lab.train.dataset import read_dataset
from lora_lab.train.validation_set import short_name, validation_set


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six captioned pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "1_lumi").mkdir()
    for number in range(6):
        draw(random_scene(random.Random(number), ("lumi",))).save(folder / "1_lumi" / f"{number}.png")
        (folder / "1_lumi" / f"{number}.txt").write_text(f"lumi {number}\nanother line")
    return folder


def session(base_hash: str = "b" * 64, acp: torch.Tensor | None = None) -> Any:
    """Return what is asked of a session."""
    alphas = torch.linspace(0.999, 0.005, 1000) if acp is None else acp
    return SimpleNamespace(base=SimpleNamespace(content=base_hash, vae_hash="v" * 64, alphas_cumprod=alphas))


def told(folder: Path, about: Any = None, **values: object) -> dict[str, str]:
    """Return the parts of the line for a config."""
    given: dict[str, Any] = {
        "base_model": "x",
        "img_folder": str(folder),
        "output_folder": "out",
        "train_resolution": 128,
        "min_bucket_resolution": 64,
        "validation_split": 0.34,
        **values,
    }
    config = TrainConfig(**given)
    line = validation_set(read_dataset(config), about or session(), config)
    return dict(part.partition("=")[::2] for part in line.split()) if line != "none" else {}


def changed(one: dict[str, str], other: dict[str, str]) -> set[str]:
    """Return the parts that differ."""
    return {name for name in one if one[name] != other[name]}


def test_what_does_not_decide_the_loss_changes_nothing(pictures: Path) -> None:
    """Rank, seed, batch size, loss, repeats of wording: the same line."""
    first = told(pictures)
    same = told(pictures, net_dim=4, test_seed=7, batch_size=2, loss_type="huber", learning_rate=1e-3, flip_aug=True)
    assert same == first
    assert told(pictures, caption_prefix="style,", enable_wildcard=True) == first


def test_each_thing_that_decides_changes_its_part(pictures: Path, tmp_path: Path) -> None:
    """Other held-out pictures, sizes, captions, base, target or schedule: that part and no other."""
    first = told(pictures)
    assert {"pictures", "captions", "sizes", "noise"} == changed(first, told(pictures, validation_seed=5))
    assert changed(first, told(pictures, train_resolution=64)) == {"sizes"}
    assert changed(first, told(pictures, session("c" * 64))) == {"base"}
    assert changed(first, told(pictures, v2=True, v_parameterization=True)) == {"target"}
    assert changed(first, told(pictures, session(acp=torch.linspace(0.999, 0, 1000)))) == {"schedule"}
    moved = shutil.copytree(pictures, tmp_path / "moved")
    assert told(moved) == first
    for number in range(6):
        (moved / "1_lumi" / f"{number}.txt").write_text("other words")
    assert changed(first, told(moved)) == {"captions"}
    for number in range(6):
        (moved / "1_lumi" / f"{number}.txt").write_text(f"lumi {number}")
        for ending in ("png", "txt"):
            (moved / "1_lumi" / f"{number}.{ending}").rename(moved / "1_lumi" / f"n{number}.{ending}")
    assert changed(first, told(moved)) == {"noise"}
    for number in range(6):
        with Image.open(moved / "1_lumi" / f"n{number}.png") as picture:
            picture.rotate(90).save(moved / "1_lumi" / f"n{number}.png")
    assert "pictures" in changed(first, told(moved))


def test_without_held_out_pictures_there_is_none(pictures: Path) -> None:
    """The line says so itself; a set has a short name of twelve digits."""
    assert told(pictures, validation_split=0) == {}
    assert short_name("none") == "none"
    assert len(short_name("pictures=1")) == 12
