"""LL63x: how the pictures fit the sizes that they are trained at. The buckets are those of the trainer."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from lora_lab.lint.dataset import BUCKET_KEYS, DATA_KEYS, Seen, placed
from lora_lab.lint.rule import Hit, View, rule

if TYPE_CHECKING:
    from lora_lab.config.buckets import Placement

_PLACED: Final = (*DATA_KEYS, *BUCKET_KEYS)
_SELECT: Final = "sd-scripts library/train_util.py BucketManager.select_bucket"
_fit = partial(rule, reads=_PLACED, sees="disk")

ENLARGED: Final = 1.1
BLURRED: Final = 1.5
"""Factors from which a picture that is enlarged is worth a word, and from which it is blurred for anyone to see."""

LOST: Final = 0.2
"""Part of a picture that is cut off; buckets 64 pixels apart mostly cost less than a tenth."""


@_fit("LL631", "enlarged-picture", "info", source=_SELECT)
def enlarged_picture(view: View) -> Iterator[Hit]:
    """A picture is smaller than the size that it is trained at, and is enlarged.

    What it does
    Puts each picture into its bucket as the trainer does. It is a warning where one is enlarged to one and a half or
    more.

    Why is this bad
    Enlarging adds no detail: the LoRA learns the blur.

    Bad
    ```json
    {"img_folder": "pics", "train_resolution": 512}
    ```
    ```files
    pics/10_cat/a.png: 256x200
    pics/10_cat/b.png: 800x600
    ```

    Good
    ```json
    {"img_folder": "pics", "train_resolution": 512, "bucket_no_upscale": true}
    ```
    ```files
    pics/10_cat/a.png: 512x400
    pics/10_cat/b.png: 800x600
    ```
    """
    found = _those(view, lambda seen, placement: _factor(seen, placement) >= ENLARGED)
    if found:
        seen, placement = max(found, key=lambda one: _factor(*one))
        worst = _factor(seen, placement)
        message = (
            f"{len(found)} picture(s) are enlarged to be trained, {seen.name} the most: from {_sized(seen.size)} "
            f"to {_sized(placement.resized)}, {worst:.1f} times"
        )
        remedy = "use larger pictures, or a smaller train_resolution"
        if view.config.buckets:
            remedy += ", or set bucket_no_upscale"
        yield Hit(message, ("img_folder", "train_resolution"), remedy, severity="warning" if worst >= BLURRED else None)


@_fit("LL632", "picture-stays-small", "info", source=_SELECT)
def picture_stays_small(view: View) -> Iterator[Hit]:
    """With `bucket_no_upscale` a picture is trained at its own small size.

    What it does
    Looks for pictures whose bucket has less than half the area of `train_resolution`.

    Why is this bad
    Stable Diffusion draws badly far below its own resolution, and what is learned there helps little at full size.

    Bad
    ```json
    {"img_folder": "pics", "train_resolution": 512, "bucket_no_upscale": true}
    ```
    ```files
    pics/10_cat/a.png: 200x200
    ```

    Good
    ```json
    {"img_folder": "pics", "train_resolution": 512, "bucket_no_upscale": true}
    ```
    ```files
    pics/10_cat/a.png: 500x480
    ```
    """
    width, height = view.config.resolution
    found = _those(view, lambda _, placement: 2 * _area(placement.bucket) < width * height)
    if found and view.config.buckets and view.config.bucket_no_upscale:
        seen, placement = min(found, key=lambda one: _area(one[1].bucket))
        message = (
            f"{len(found)} picture(s) are trained far below {width}x{height}, "
            f"{seen.name} the smallest: at {_sized(placement.bucket)}"
        )
        yield Hit(message, ("bucket_no_upscale", "img_folder"), "leave them out, or use larger copies")


@_fit("LL633", "picture-below-bucket-steps", "error", source=_SELECT)
def picture_below_bucket_steps(view: View) -> Iterator[Hit]:
    """With `bucket_no_upscale` a picture is too small, or too narrow, for any bucket.

    What it does
    Looks for pictures with a side below `bucket_reso_steps`, after large ones were shrunk.

    Why is this bad
    The run can't start: the bucket would have no pixels.

    Bad
    ```json
    {"img_folder": "pics", "bucket_no_upscale": true}
    ```
    ```files
    pics/10_cat/a.png: 300x50
    ```

    Good
    ```json
    {"img_folder": "pics", "bucket_no_upscale": true}
    ```
    ```files
    pics/10_cat/a.png: 300x64
    ```
    """
    found = placed(view)
    if found and found.refused:
        steps, first = view.config.bucket_reso_steps, found.refused[0]
        message = (
            f"{len(found.refused)} picture(s) fit no bucket in steps of {steps}, such as {first.name} "
            f"with {_sized(first.size)}"
        )
        remedy = "remove them, lower bucket_reso_steps, or set bucket_no_upscale to false"
        yield Hit(message, ("img_folder", "bucket_no_upscale"), remedy)


@rule("LL634", "picture-cropped-hard", "warning", reads=(*_PLACED, "random_crop"), source=_SELECT, sees="disk")
def picture_cropped_hard(view: View) -> Iterator[Hit]:
    """A picture loses a fifth or more where it is cut to the shape that it is trained in.

    What it does
    Puts each picture into its bucket as the trainer does, and compares the areas. It is a note with `random_crop`,
    which shows other parts each time.

    Why is this bad
    What is cut off is never learned: heads and feet of tall pictures, without buckets the sides of wide ones.

    Bad
    ```json
    {"img_folder": "pics", "buckets": false, "train_resolution": 512}
    ```
    ```files
    pics/10_cat/a.png: 900x600
    ```

    Good
    ```json
    {"img_folder": "pics", "buckets": true, "train_resolution": 512}
    ```
    ```files
    pics/10_cat/a.png: 900x600
    ```
    """
    found = _those(view, lambda _, placement: _lost(placement) >= LOST)
    if found:
        seen, placement = max(found, key=lambda one: _lost(one[1]))
        message = (
            f"{len(found)} picture(s) lose a fifth or more when they are cut to shape, {seen.name} the most: "
            f"{_lost(placement):.0%} of {_sized(seen.size)}, trained at {_sized(placement.bucket)}"
        )
        keys = ("img_folder", "buckets" if not view.config.buckets else "train_resolution")
        yield Hit(message, keys, _against_cropping(view), severity="info" if view.config.random_crop else None)


def _against_cropping(view: View) -> str:
    """Return what keeps a picture whole."""
    if not view.config.buckets:
        return "set buckets to true, which keeps the shapes, or cut the pictures yourself"
    if view.config.bucket_no_upscale:
        return "cut them yourself, or lower bucket_reso_steps"
    return "cut them yourself, or widen min_bucket_resolution and max_bucket_resolution"


@rule(
    "LL635",
    "batches-not-full",
    "info",
    reads=(*_PLACED, "batch_size"),
    source="Σ ceil(n/batch) per bucket: sd-scripts library/train_util.py make_buckets; kohya_ss #2965",
    sees="disk",
)
def batches_not_full(view: View) -> Iterator[Hit]:
    """Many batches hold fewer pictures than `batch_size`, because the pictures are spread over many buckets.

    What it does
    Counts the batches of an epoch: in each bucket the pictures are divided by the batch size, rounded up. It speaks
    where that is a quarter more than without buckets.

    Why is this bad
    A batch holds pictures of one shape only. Smaller batches make an epoch longer and its steps noisier than the batch
    size says.

    Bad
    ```json
    {"img_folder": "pics", "batch_size": 4}
    ```
    ```files
    pics/2_cat/a.png: 512x512
    pics/2_cat/b.png: 512x768
    pics/2_cat/c.png: 768x512
    pics/2_cat/d.png: 1000x500
    ```

    Good
    ```json
    {"img_folder": "pics", "batch_size": 4}
    ```
    ```files
    pics/2_cat/a.png: 512x512
    pics/2_cat/b.png: 600x600
    pics/2_cat/c.png: 512x768
    pics/2_cat/d.png: 600x900
    ```
    """
    from lora_lab.config.buckets import count_batches  # noqa: PLC0415 -- only if there are pictures

    found, size = placed(view), view.config.batch_size
    uses = sum(found.uses.values()) if found else 0
    if found is None or uses < size:
        return
    batches, full = count_batches(found.uses.values(), size), -(-uses // size)
    if 4 * batches >= 5 * full and batches >= full + 2:
        message = (
            f"batches hold {uses / batches:.1f} pictures on average, not {size}: "
            f"{uses} uses an epoch in {len(found.uses)} shapes make {batches} batches, not {full}"
        )
        remedy = "use a smaller batch_size, more repeats, or fewer shapes (larger bucket_reso_steps)"
        yield Hit(message, ("batch_size", "img_folder"), remedy)


def _those(view: View, is_meant: "Callable[[Seen, Placement], bool]") -> "list[tuple[Seen, Placement]]":
    """Return the pictures with their placement that are meant."""
    found = placed(view)
    return [one for one in found.pictures if is_meant(*one)] if found else []


def _factor(seen: Seen, placement: "Placement") -> float:
    """Return how many times a picture's sides are enlarged."""
    return min(new / old for new, old in zip(placement.resized, seen.size, strict=True))


def _lost(placement: "Placement") -> float:
    """Return the part of the area that is cut off."""
    return round(1 - _area(placement.bucket) / _area(placement.resized), 6)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _sized(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
