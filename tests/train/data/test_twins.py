"""Held-out pictures are not trained under another name, saved again or mirrored."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from lora_lab.config import TrainConfig
from lora_lab.train.data.folder import pictures_of, scan
from lora_lab.train.data.twins import twins
from lora_lab.train.dataset import read_dataset


def noise(seed: int) -> Image.Image:
    """A picture like no other."""
    return Image.fromarray(numpy.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=numpy.uint8))


def test_what_is_the_same(tmp_path: Path) -> None:
    """A mirrored copy and one with other metadata stand for the same; another picture, and one upside down, do not."""
    folder = tmp_path / "1_a"
    folder.mkdir()
    note = PngInfo()
    note.add_text("comment", "saved again")
    noise(1).save(folder / "a.png")
    noise(1).save(folder / "again.png", pnginfo=note)
    ImageOps.mirror(noise(1)).save(folder / "mirrored.bmp")
    ImageOps.flip(noise(1)).save(folder / "upside_down.png")
    noise(2).save(folder / "other.png")
    found = pictures_of(scan(tmp_path))
    same = twins(found)
    stands_for = {picture.path.name: same[picture.digest] for picture in found}
    assert stands_for["a.png"] == stands_for["again.png"] == stands_for["mirrored.bmp"]
    assert stands_for["a.png"] in {picture.digest for picture in found}
    assert len({stands_for[name] for name in ("a.png", "upside_down.png", "other.png")}) == 3


@pytest.mark.parametrize("seed", range(6))
def test_no_copy_of_a_held_out_picture_is_trained(
    seed: int, make_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    """With mirrored copies in the folder, and copies among the regularisation pictures, no content is on both sides."""
    (tmp_path / "img" / "2_lumi").mkdir(parents=True)
    (tmp_path / "reg" / "1_thing").mkdir(parents=True)
    for number in range(6):
        noise(number).save(tmp_path / "img" / "2_lumi" / f"{number}.png")
        if number < 3:
            ImageOps.mirror(noise(number)).save(tmp_path / "img" / "2_lumi" / f"{number}_flip.png")
    noise(5).save(tmp_path / "reg" / "1_thing" / "x.bmp")
    folders = {"img_folder": str(tmp_path / "img"), "reg_img_folder": str(tmp_path / "reg")}
    dataset = read_dataset(make_config(validation_split=0.4, validation_seed=seed, **folders))
    assert dataset.validation is not None
    trained = {picture.path.stem[0] for picture in dataset.training.pictures if not picture.is_reg} | {"5"}
    held_out = {picture.path.stem[0] for picture in dataset.validation.pictures}
    assert held_out
    assert not trained & held_out
    assert any(picture.is_reg for picture in dataset.training.pictures)
