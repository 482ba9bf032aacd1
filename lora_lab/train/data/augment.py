"""Changes to a picture that are drawn anew at each use: colour, mirror, crop."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
from PIL import Image, ImageOps

from lora_lab.config.buckets import Placement

if TYPE_CHECKING:
    from lora_lab.config import TrainConfig

COLOR_PROBABILITY = 0.33
HUE_SHIFT = 8 / 180  # of the colour circle
GAMMA = (0.95, 1.05)


@dataclass(frozen=True)
class AugmentOptions:
    """Augmentation settings of one run. `color` and `random_crop` need pixels, so they exclude cached latents."""

    color: bool = False
    flip: bool = False
    random_crop: bool = False


def from_config(config: "TrainConfig") -> AugmentOptions:
    """The augmentation settings that `config` names."""
    return AugmentOptions(config.color_aug, config.flip_aug, config.random_crop)


def shift_color(image: Image.Image, draws: random.Random) -> Image.Image:
    """With probability 0.33 either the hue is turned by up to ±16° or a gamma of 0.95 to 1.05 is applied.

    The figures are those of sd-scripts `AugHelper` (OpenCV counts hue in 180 steps); the gamma acts on [0, 1].
    """
    if draws.random() >= COLOR_PROBABILITY:
        return image
    if draws.random() < 0.5:
        return _turn_hue(image, draws.uniform(-HUE_SHIFT, HUE_SHIFT))
    gamma = draws.uniform(*GAMMA)
    table = [round(255 * (value / 255) ** gamma) for value in range(256)]
    return image.point(table * 3)


def flipped(draws: random.Random) -> bool:
    """Whether this use of a picture is mirrored: every second one."""
    return draws.random() < 0.5


def mirror(image: Image.Image) -> Image.Image:
    """Left and right swapped."""
    return ImageOps.mirror(image)


def random_crop(placement: Placement, draws: random.Random) -> Placement:
    """The placement with its crop anywhere in what the resized picture has beyond the bucket."""
    (width, height), resized = placement.bucket, placement.resized
    crop = (draws.randint(0, resized[0] - width), draws.randint(0, resized[1] - height))
    return placement._replace(crop=crop)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = (numpy.asarray(hue).astype(numpy.int16) + round(turn * 256)) % 256
    turned = Image.fromarray(shifted.astype(numpy.uint8))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
