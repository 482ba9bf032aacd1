"""Aspect-ratio buckets: which size each picture is trained at. The rules are those of sd-scripts of 2026-02.

Sizes are (width, height) in pixels. Nothing here looks at a pixel. The trainer and the linter both ask here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lora_lab.config.train_config import TrainConfig
from lora_lab.failure import Failure

Size = tuple[int, int]


class Placement(NamedTuple):
    """How a picture gets into its bucket: resized to `resized`, then `bucket` cut out at `crop` (left, top)."""

    bucket: Size
    resized: Size
    crop: tuple[int, int]


@dataclass(frozen=True)
class BucketOptions:
    """The bucket settings of a run. `resolution` is an area budget with buckets, the exact size without."""

    resolution: Size = (512, 512)
    enabled: bool = True
    minimum: int = 256
    maximum: int = 1024
    step: int = 64
    no_upscale: bool = False


def bucket_options(config: TrainConfig) -> BucketOptions:
    """The bucket settings that `config` names."""
    return BucketOptions(
        resolution=config.resolution,
        enabled=config.buckets,
        minimum=config.min_bucket_resolution,
        maximum=config.max_bucket_resolution,
        step=config.bucket_reso_steps,
        no_upscale=config.bucket_no_upscale,
    )


def make_resolutions(options: BucketOptions) -> tuple[Size, ...]:
    """The predefined buckets, sorted: the square, and every w × h within the area and the limits.

    `minimum` is rounded down and `maximum` up to a multiple of `step` first. With buckets off the one bucket is the
    resolution; with `no_upscale` the pictures make the buckets and there is none. Raises Failure where no bucket is
    possible. Formula: sd-scripts `model_util.make_bucket_resolutions`.
    """
    if not options.enabled:
        return (options.resolution,)
    _check(options)
    if options.no_upscale:
        return ()
    step = options.step
    minimum, maximum = options.minimum // step * step, -(-options.maximum // step) * step
    area = options.resolution[0] * options.resolution[1]
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)}
    for width in range(max(minimum, step), maximum + 1, step):
        height = min(maximum, area // width // step * step)
        if height >= max(minimum, step):
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def select(size: Size, options: BucketOptions, resolutions: tuple[Size, ...]) -> Placement:
    """The placement, with a centred crop, of a picture of `size`; `resolutions` comes from `make_resolutions`.

    Raises Failure with `no_upscale` for a picture with a side smaller than a step. Formula: sd-scripts
    `train_util.BucketManager.select_bucket`.
    """
    if options.enabled and options.no_upscale:
        resized = _shrunk(size, options)
        bucket = (_floor(resized[0], options.step), _floor(resized[1], options.step))
        if 0 in bucket:
            raise Failure(
                f"a picture of {size[0]}x{size[1]} is too small for buckets in steps of {options.step}",
                "remove it, lower bucket_reso_steps or set bucket_no_upscale to false",
            )
    else:
        bucket = _nearest(size, resolutions)
        resized = _covering(size, bucket)
    crop = ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2)
    return Placement(bucket, resized, crop)


def count_batches(uses: Iterable[int], batch_size: int) -> int:
    """Return the batches of an epoch: Σ ceil(uses of a bucket / batch size); the last of each bucket may be smaller."""
    return sum(-(-count // batch_size) for count in uses)


def balanced_repeats(own: Sequence[int], wanted: int) -> tuple[int, ...]:
    """Return the repeats of the regularisation pictures that are used, in their order, from their own ones.

    As in sd-scripts: each is registered once with its own repeats until `wanted`, the training pictures' count with
    repeats, is reached (what is left over stays unused); while it is not, repeats grow by one in turn.
    """
    repeats: list[int] = []
    for count in own:
        if sum(repeats) >= wanted:
            break
        repeats.append(count)
    if not repeats:
        return ()
    rounds, rest = divmod(max(0, wanted - sum(repeats)), len(repeats))
    return tuple(count + rounds + (index < rest) for index, count in enumerate(repeats))


def _check(options: BucketOptions) -> None:
    (width, height), step = options.resolution, options.step
    minimum, maximum = options.minimum // step * step, -(-options.maximum // step) * step
    if min(width, height) < step:
        raise Failure(
            f"no bucket is possible: the resolution {width}x{height} has a side below bucket_reso_steps {step}",
            "raise train_resolution or lower bucket_reso_steps",
        )
    if options.no_upscale:
        return  # the limits are not used then
    if minimum > min(width, height):
        raise Failure(
            f"no bucket is possible: min_bucket_resolution {options.minimum} is above the resolution {width}x{height}",
            "lower min_bucket_resolution",
        )
    if maximum < max(width, height):
        raise Failure(
            f"no bucket is possible: max_bucket_resolution {options.maximum} is below the resolution {width}x{height}",
            "raise max_bucket_resolution",
        )


def _floor(length: int, step: int) -> int:
    return length // step * step


def _half_up(length: float) -> int:
    return int(length + 0.5)


def _nearest(size: Size, resolutions: tuple[Size, ...]) -> Size:
    """The exact size if it is a bucket, else the nearest aspect ratio; of equals the first."""
    if size in resolutions:
        return size
    aspect = size[0] / size[1]
    return min(resolutions, key=lambda bucket: abs(bucket[0] / bucket[1] - aspect))


def _covering(size: Size, bucket: Size) -> Size:
    """`size` scaled, aspect ratio kept, to the smallest that covers `bucket`."""
    wider = size[0] / size[1] > bucket[0] / bucket[1]
    scale = bucket[1] / size[1] if wider else bucket[0] / size[0]
    width, height = _half_up(size[0] * scale), _half_up(size[1] * scale)
    return max(width, bucket[0]), max(height, bucket[1])


def _shrunk(size: Size, options: BucketOptions) -> Size:
    """`size` if it is within the area, else shrunk to it with one side on a step: that which keeps the aspect best."""
    area, aspect, step = options.resolution[0] * options.resolution[1], size[0] / size[1], options.step
    if size[0] * size[1] <= area:
        return size
    width = _floor(_half_up(math.sqrt(area * aspect)), step)
    height = _floor(_half_up(area / math.sqrt(area * aspect)), step)
    if not width or not height:
        return 0, 0  # a strip so narrow that no bucket holds it: the caller says so
    height_at_width = _floor(_half_up(width / aspect), step)
    width_at_height = _floor(_half_up(height * aspect), step)
    error_at_width = abs(width / height_at_width - aspect) if height_at_width else math.inf
    if error_at_width < abs(width_at_height / height - aspect):
        return width, _half_up(width / aspect)
    return _half_up(height * aspect), height
