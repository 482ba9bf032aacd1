"""Pictures that are the same to look at: saved again, with other metadata, or mirrored."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from lora_lab.train.data import augment, pixels
from lora_lab.train.data.folder import Picture


def twins(pictures: Iterable[Picture]) -> Mapping[str, str]:
    """For each content hash the smallest one of a picture with the same pixels, or the same mirrored.

    Every different file is decoded once. What was made smaller or saved with loss is another picture here: to call two
    pictures alike that are not would keep both out of training. Raises Failure for a picture that can't be decoded.
    """
    ordered = sorted({picture.digest: picture for picture in pictures}.items())
    with ThreadPoolExecutor() as pool:
        looks = list(pool.map(lambda pair: _look(pair[1]), ordered))
    first: dict[str, str] = {}
    return {digest: first.setdefault(look, digest) for (digest, _), look in zip(ordered, looks, strict=True)}


def _look(picture: Picture) -> str:
    """A hash of the upright pixels that is the same for the mirrored ones."""
    image = pixels.load(picture.path)
    sides = (image, augment.mirror(image))
    return min(hashlib.sha256(f"{side.size}".encode() + side.tobytes()).hexdigest() for side in sides)
