"""Masks: which places of a picture the loss looks at, from its alpha channel or from a picture of their own.

A mask goes the way of its picture, resized, cropped and mirrored alike, and ends in the size of the latents.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lora_lab.config.buckets import Placement
from lora_lab.failure import Failure
from lora_lab.train.data import augment, pixels
from lora_lab.train.data.epochs import Arranged
from lora_lab.train.data.folder import EXTENSIONS, Picture
from lora_lab.train.data.store import Store

FACTOR = 8
"""Pixels to a side of a latent value, in every Stable Diffusion."""


def with_masks(pictures: Sequence[Picture], folder: Path) -> tuple[Picture, ...]:
    """The pictures with the masks that `folder` has for them: `10_name/a.*` or `a.*` for `10_name/a.png`.

    Raises Failure for a picture without one, and for a mask of another size than its picture.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise Failure(f"mask_folder {folder} {what}", "name the folder that holds a mask for each picture")
    return tuple(_with_mask(picture, folder) for picture in pictures)


def _with_mask(picture: Picture, folder: Path) -> Picture:
    stem = picture.path.stem
    subset = picture.path.parent.name
    places = (folder / subset / stem, folder / stem)
    named = (place.with_name(place.name + ending) for place in places for ending in _ENDINGS)
    mask = next((path for path in named if path.is_file()), None)
    if mask is None:
        remedy = f"put {subset}/{stem}.png there: white is learned, black is not"
        raise Failure(f"{folder} has no mask for {picture.item}", remedy)
    size, own = pixels.load(mask).size, (picture.width, picture.height)
    if size != own:
        what = f"mask {mask} is {size[0]} × {size[1]} pixels, its picture {own[0]} × {own[1]}"
        raise Failure(what, "save it in the size of the picture")
    return replace(picture, mask=mask, mask_digest=hashlib.sha256(mask.read_bytes()).hexdigest())


_ENDINGS = (*EXTENSIONS, *(ending.upper() for ending in EXTENSIONS))


class Masks:
    """The masks of a run, float32 (1, h / 8, w / 8) from 0, not looked at, to 1; all 1 where a picture has none."""

    def __init__(self, alpha: bool = False) -> None:
        """With `alpha` every picture without a mask of its own has that of its alpha channel."""
        self._alpha = alpha
        self._known: dict[tuple[Path, int, Placement, bool], Tensor] = {}

    def fill(self, data: Arranged, mirrored: bool, store: Store | None) -> None:
        """Have the masks of all pictures ready, from the disk's cache where it has them."""
        sides = (False, True) if mirrored else (False,)
        pairs = zip(data.pictures, data.placements, strict=True)
        wanted = [(picture, placement, side) for picture, placement in pairs for side in sides]
        with ThreadPoolExecutor() as pool:
            drawn = list(pool.map(lambda one: self._kept(one[0], one[1], one[2], store), wanted))
        for (picture, placement, side), mask in zip(wanted, drawn, strict=True):
            self._known[picture.path, picture.part, placement, side] = mask

    def of(self, picture: Picture, placement: Placement, mirrored: bool) -> Tensor:
        """The mask of a picture as it lies in its bucket."""
        known = self._known.get((picture.path, picture.part, placement, mirrored))
        return known if known is not None else self._draw(picture, placement, mirrored)

    def _kept(self, picture: Picture, placement: Placement, mirrored: bool, store: Store | None) -> Tensor:
        if store is None:
            return self._draw(picture, placement, mirrored)
        origin = picture.mask_digest or (f"alpha of {picture.digest}" if self._is_alpha(picture) else "")
        key = hashlib.sha256(json.dumps(["mask", origin, placement, mirrored]).encode()).hexdigest()
        found = (store.get("masks", key) or {}).get("mask")
        if found is None:
            found = self._draw(picture, placement, mirrored)
            store.put("masks", key, {"mask": found})
        return found

    def _draw(self, picture: Picture, placement: Placement, mirrored: bool) -> Tensor:
        width, height = placement.bucket
        size = (height // FACTOR, width // FACTOR)
        image = self._image(picture)
        if image is None:
            return torch.ones(1, *size)
        placed = pixels.place(image, placement)
        values = pixels.to_shares(augment.mirror(placed) if mirrored else placed)
        return functional.interpolate(values[None, None], size=size, mode="area")[0]

    def _image(self, picture: Picture) -> Image.Image | None:
        if picture.mask is not None:
            return pixels.load(picture.mask).getchannel("R")
        return pixels.load_alpha(picture.path) if self._is_alpha(picture) else None

    def _is_alpha(self, picture: Picture) -> bool:
        return self._alpha or picture.alpha
