"""Colour, mirror and crop: how often, how much, and that the same draw gives the same picture."""

import colorsys

import numpy
from PIL import Image

from lora_lab.config.buckets import Placement
from lora_lab.train.data import augment
from lora_lab.train.draws import python_draws

COLOUR = (180, 90, 60)


def _shifted(count: int) -> list[tuple[int, ...]]:
    image = Image.new("RGB", (2, 2), COLOUR)
    return [augment.shift_color(image, python_draws(1, "color", use)).getpixel((0, 0)) for use in range(count)]  # type: ignore[misc]


def test_color_changes_a_third_of_the_uses_a_little() -> None:
    """About 33 % of 2000 uses change, hue by at most 16° (and rounding), brightness by a gamma of at most 5 %."""
    results = _shifted(2000)
    hue, _, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in COLOUR))
    turned = brightened = 0
    for result in results:
        new_hue, _, new_value = colorsys.rgb_to_hsv(*(channel / 255 for channel in result))
        turn = abs((new_hue - hue + 0.5) % 1 - 0.5) * 360
        assert turn <= 18
        assert value**1.05 - 0.01 <= new_value <= value**0.95 + 0.01
        turned += turn > 4
        brightened += abs(new_value - value) > 0.005 and turn < 2
    unchanged = sum(result == COLOUR for result in results)
    assert 0.6 < unchanged / 2000 < 0.75
    assert turned > 150
    assert brightened > 100


def test_color_is_a_function_of_its_draws() -> None:
    """The same draws give the same colours; black, white and grey keep their hue."""
    assert _shifted(50) == _shifted(50)
    grey = Image.new("RGB", (2, 2), (128, 128, 128))
    for use in range(50):
        red, green, blue = augment.shift_color(grey, python_draws(1, "color", use)).getpixel((0, 0))  # type: ignore[misc]
        assert red == green == blue


def test_every_second_use_is_mirrored() -> None:
    """About half of 2000 uses."""
    count = sum(augment.flipped(python_draws(1, "flip", use)) for use in range(2000))
    assert abs(count / 2000 - 0.5) < 0.04


def test_mirror_swaps_left_and_right() -> None:
    """Columns are reversed, rows stay."""
    values = numpy.arange(24, dtype=numpy.uint8).reshape(2, 4, 3)
    assert numpy.array_equal(numpy.asarray(augment.mirror(Image.fromarray(values))), values[:, ::-1])


def test_random_crop_covers_the_overshoot() -> None:
    """Every position inside the overshoot is drawn, none outside."""
    placement = Placement((64, 64), (67, 64), (1, 0))
    crops = {augment.random_crop(placement, python_draws(1, "crop", use)).crop for use in range(200)}
    assert crops == {(0, 0), (1, 0), (2, 0), (3, 0)}
