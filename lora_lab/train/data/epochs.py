"""Which pictures meet in which batch: the data set in buckets, and the plan of every epoch.

The order of the batches' buckets depends on the data set and the epoch only, so the adapters of a pack always meet in
the same latent shape; which pictures of the bucket an adapter sees depends on its own seed. Epochs count from 1.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """A training size and the entries that are trained at it, `batch_size` at a time; `data_set` is its number."""

    size: Size
    entries: tuple[Entry, ...]
    batch_size: int
    data_set: int = 0

    @property
    def batches(self) -> int:
        """ceil(n / batch size)."""
        return count_batches([len(self.entries)], self.batch_size)


@dataclass(frozen=True)
class Arranged:
    """Data sets ready for batches. `digest` names their content; `placements` belong to `pictures` one to one."""

    pictures: tuple[Picture, ...]
    placements: tuple[Placement, ...]
    buckets: tuple[Bucket, ...]
    digest: str

    @property
    def batches_per_epoch(self) -> int:
        """Σ ceil(n_bucket / batch size)."""
        return sum(bucket.batches for bucket in self.buckets)

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
    buckets = tuple(Bucket(size, tuple(entries[size]), batch_size) for size in sorted(entries) if entries[size])
    return Arranged(tuple(pictures), placements, buckets, folder.digest(pictures))


def joined(parts: Sequence[Arranged]) -> Arranged:
    """Several data sets as one: their buckets stay apart, even where they have one size."""
    if len(parts) == 1:
        return parts[0]
    pictures = tuple(picture for part in parts for picture in part.pictures)
    starts = [sum(len(part.pictures) for part in parts[:number]) for number in range(len(parts))]
    buckets = tuple(
        replace(bucket, data_set=number, entries=tuple(Entry(start + index, use) for index, use in bucket.entries))
        for number, (start, part) in enumerate(zip(starts, parts, strict=True))
        for bucket in part.buckets
    )
    placements = tuple(placement for part in parts for placement in part.placements)
    sizes = [[bucket.data_set, *bucket.size, bucket.batch_size] for bucket in buckets]
    content = json.dumps([[part.digest for part in parts], sizes])
    return Arranged(pictures, placements, buckets, hashlib.sha256(content.encode()).hexdigest())


def plan_epoch(data: Arranged, epoch: int) -> tuple[BatchPlan, ...]:
    """The batches of an epoch in their order; the last of a bucket may be smaller."""
    plans = [
        BatchPlan(number, start, min(bucket.batch_size, len(bucket.entries) - start))
        for number, bucket in enumerate(data.buckets)
        for start in range(0, len(bucket.entries), bucket.batch_size)
    ]
    python_draws(0, "bucket_order", epoch, data.digest).shuffle(plans)
    return tuple(plans)


def order_in_bucket(bucket: Bucket, seed: int, epoch: int) -> tuple[Entry, ...]:
    """The order in which the run with `seed` sees the bucket's entries in an epoch."""
    entries = list(bucket.entries)
    which = [bucket.data_set] if bucket.data_set else []  # the first's order is that of a run without the others
    python_draws(seed, "order", epoch, *bucket.size, *which).shuffle(entries)
    return tuple(entries)


def _placed(picture: Picture, options: BucketOptions, resolutions: tuple[Size, ...]) -> Placement:
    try:
        return select((picture.width, picture.height), options, resolutions)
    except Failure as failure:
        raise Failure(f"{picture.path}: {failure.what}", failure.remedy) from None
