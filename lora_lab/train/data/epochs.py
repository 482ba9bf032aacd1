"""Which pictures meet in which batch: the data set in buckets, and the plan of every epoch.

The order of the batches' buckets depends on the data set and the epoch only, so the adapters of a pack always meet in
the same latent shape; which pictures of the bucket an adapter sees depends on its own seed. Epochs count from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lora_lab.config.buckets import BucketOptions, Placement, Size, count_batches, make_resolutions, select
from lora_lab.failure import Failure
from lora_lab.train.data import folder
from lora_lab.train.data.folder import Picture
from lora_lab.train.draws import python_draws


class Entry(NamedTuple):
    """One use of a picture in an epoch: its index in the data set, and which of its repeats (from 0)."""

    picture: int
    repeat: int


class BatchPlan(NamedTuple):
    """`length` entries of bucket number `bucket`, from `start` in the order of the epoch."""

    bucket: int
    start: int
    length: int


@dataclass(frozen=True)
class Bucket:
    """A training size and the entries that are trained at it."""

    size: Size
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Arranged:
    """A data set ready for batches. `digest` names its content; `placements` belong to `pictures` one to one."""

    pictures: tuple[Picture, ...]
    placements: tuple[Placement, ...]
    buckets: tuple[Bucket, ...]
    batch_size: int
    digest: str

    @property
    def batches_per_epoch(self) -> int:
        """Σ ceil(n_bucket / batch size)."""
        return count_batches((len(bucket.entries) for bucket in self.buckets), self.batch_size)

    @property
    def uses_per_epoch(self) -> int:
        """Pictures with their repeats."""
        return sum(len(bucket.entries) for bucket in self.buckets)


def arrange(pictures: Sequence[Picture], options: BucketOptions, batch_size: int) -> Arranged:
    """Every picture in its bucket as often as its repeats say; buckets sorted by size.

    Raises Failure, naming the picture, if one fits no bucket, and ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    resolutions = make_resolutions(options)
    placements = tuple(_placed(picture, options, resolutions) for picture in pictures)
    entries: dict[Size, list[Entry]] = {}
    for index, (picture, placement) in enumerate(zip(pictures, placements, strict=True)):
        uses = (Entry(index, repeat) for repeat in range(picture.repeats))
        entries.setdefault(placement.bucket, []).extend(uses)
    buckets = tuple(Bucket(size, tuple(entries[size])) for size in sorted(entries) if entries[size])
    return Arranged(tuple(pictures), placements, buckets, batch_size, folder.digest(pictures))


def plan_epoch(data: Arranged, epoch: int) -> tuple[BatchPlan, ...]:
    """The batches of an epoch in their order; the last of a bucket may be smaller."""
    plans = [
        BatchPlan(number, start, min(data.batch_size, len(bucket.entries) - start))
        for number, bucket in enumerate(data.buckets)
        for start in range(0, len(bucket.entries), data.batch_size)
    ]
    python_draws(0, "bucket_order", epoch, data.digest).shuffle(plans)
    return tuple(plans)


def order_in_bucket(bucket: Bucket, seed: int, epoch: int) -> tuple[Entry, ...]:
    """The order in which the run with `seed` sees the bucket's entries in an epoch."""
    entries = list(bucket.entries)
    python_draws(seed, "order", epoch, *bucket.size).shuffle(entries)
    return tuple(entries)


def _placed(picture: Picture, options: BucketOptions, resolutions: tuple[Size, ...]) -> Placement:
    try:
        return select((picture.width, picture.height), options, resolutions)
    except Failure as failure:
        raise Failure(f"{picture.path}: {failure.what}", failure.remedy) from None
