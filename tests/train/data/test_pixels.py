"""Decoding, resizing and cropping."""

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from lora_lab.config.buckets import Placement
from lora_lab.failure import Failure
from lora_lab.train.data import pixels


def _halves(size: tuple[int, int]) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, size[0], size[1]))
    return image


def test_values_are_scaled_to_minus_1_and_1() -> None:
    """0 is -1, 255 is 1, and the layout is (channel, row, column)."""
    tensor = pixels.to_tensor(_halves((4, 2)))
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 2, 4)
    assert tensor[0].tolist() == [[1, 1, -1, -1]] * 2
    assert tensor[1].tolist() == [[-1] * 4] * 2
    assert tensor[2].tolist() == [[-1, -1, 1, 1]] * 2


def test_shrinking_averages_areas() -> None:
    """A 2×2 checkerboard of black and white shrinks to the mean exactly."""
    board = Image.fromarray(numpy.tile(numpy.array([[0, 200], [100, 60]], numpy.uint8), (8, 8))).convert("RGB")
    assert set(numpy.asarray(pixels.resize(board, (8, 8))).flat) == {90}


def test_enlarging_is_lanczos() -> None:
    """Lanczos overshoots at an edge, which neither nearest nor bilinear does."""
    edge = Image.new("RGB", (8, 8), (100, 100, 100))
    edge.paste((150, 150, 150), (4, 0, 8, 8))
    assert numpy.asarray(pixels.resize(edge, (32, 32))).max() > 150


def test_place_resizes_and_crops() -> None:
    """The crop is cut from the resized picture at (left, top)."""
    image = pixels.place(_halves((80, 40)), Placement((16, 16), (40, 20), (20, 4)))
    assert image.size == (16, 16)
    assert (numpy.asarray(image) == (0, 0, 255)).all()


def test_orientation_is_applied(tmp_path: Path) -> None:
    """A picture stored sideways is turned upright before anything else."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90° clockwise to show
    _halves((40, 20)).save(tmp_path / "x.png", exif=exif)
    image = pixels.load(tmp_path / "x.png")
    assert image.size == (20, 40)
    assert image.getpixel((10, 2)) == (255, 0, 0)
    assert image.getpixel((10, 37)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    """Grey, palette, transparent and 16-bit pictures load without a warning and keep their brightness."""
    if mode == "I;16":
        source = Image.fromarray(numpy.full((8, 8), 200 * 256, numpy.uint16))
    else:
        source = Image.new("RGB", (8, 8), (200, 200, 200)).convert(mode, dither=Image.Dither.NONE)
    if mode == "P":
        source.info["transparency"] = bytes([0, 128, 255])
    source.save(tmp_path / "x.png")
    image = pixels.load(tmp_path / "x.png")
    assert image.mode == "RGB"
    expected = 255 if mode == "1" else 200
    assert all(abs(value - expected) <= 4 for value in image.getpixel((3, 3)))  # type: ignore[union-attr]


def test_vanished_and_broken_files_are_named(tmp_path: Path) -> None:
    """A file that is gone or cut off gives one line that names it."""
    with pytest.raises(Failure, match=r"gone\.png has vanished"):
        pixels.load(tmp_path / "gone.png")
    path = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(Failure, match=r"cut\.png cannot be decoded") as failure:
        pixels.load(path)
    assert failure.value.remedy == "remove it or convert it"
