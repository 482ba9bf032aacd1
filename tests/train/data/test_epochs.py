"""Plans of epochs: every use once, buckets never mixed, packs always in the same shape."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.config.buckets import BucketOptions
from lora_lab.failure import Failure
from lora_lab.train.data.epochs import Arranged, arrange, order_in_bucket, plan_epoch
from lora_lab.train.data.folder import Picture

OPTIONS = BucketOptions((512, 512), True, 256, 1024, 64)
SIZES = [(512, 512), (600, 800), (800, 600), (1000, 300)]


def _data(shapes: list[int], repeats: int = 1, batch_size: int = 3) -> Arranged:
    pictures = [
        Picture(Path(f"{n}.png"), *SIZES[shape], "c", repeats, False, f"{repeats}_a", f"{n}")
        for n, shape in enumerate(shapes)
    ]
    return arrange(pictures, OPTIONS, batch_size)


def test_batches_per_epoch_by_hand() -> None:
    """5 pictures × 2 repeats of one shape and 2 × 2 of another: ceil(10/3) + ceil(4/3) = 6 batches."""
    data = _data([0, 0, 0, 0, 0, 1, 1], repeats=2)
    assert data.batches_per_epoch == 6
    assert data.uses_per_epoch == 14
    assert sorted(plan.length for plan in plan_epoch(data, 1)) == [1, 1, 3, 3, 3, 3]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 50),
    st.integers(0, 2**32 - 1),
)
def test_an_epoch_uses_every_entry_once(shapes: list[int], repeats: int, batch: int, epoch: int, seed: int) -> None:
    """Whatever the data: each picture exactly `repeats` times, one shape per batch, no batch beyond its size."""
    data = _data(shapes, repeats, batch)
    plans = plan_epoch(data, epoch)
    assert len(plans) == data.batches_per_epoch
    used: Counter[int] = Counter()
    for plan in plans:
        bucket = data.buckets[plan.bucket]
        entries = order_in_bucket(bucket, seed, epoch)[plan.start : plan.start + plan.length]
        assert 0 < len(entries) == plan.length <= batch
        assert all(data.placements[entry.picture].bucket == bucket.size for entry in entries)
        used.update(entry.picture for entry in entries)
    assert used == dict.fromkeys(range(len(shapes)), repeats)


def test_order_of_batches_changes_with_epoch_and_data_only() -> None:
    """Epochs differ, buckets are interleaved, and another data set has another order."""
    shapes = [0] * 12 + [1] * 12
    plans = [plan_epoch(_data(shapes), epoch) for epoch in range(1, 6)]
    assert len(set(plans)) == 5
    assert plan_epoch(_data(shapes), 1) == plans[0]
    assert any([plan.bucket for plan in plan] != sorted(plan.bucket for plan in plan) for plan in plans)
    assert plan_epoch(replace(_data(shapes), digest="another"), 1) != plans[0]


def test_order_of_pictures_changes_with_seed_and_epoch() -> None:
    """Two seeds, and two epochs of one seed, see the bucket in different orders; the same twice is the same."""
    bucket = _data([0] * 20).buckets[0]
    orders = [order_in_bucket(bucket, seed, epoch) for seed in (1, 2) for epoch in (1, 2)]
    assert len(set(orders)) == 4
    assert order_in_bucket(bucket, 1, 1) == orders[0]


def test_a_picture_without_a_bucket_is_named() -> None:
    """The failure of a too small picture says which it is."""
    tiny = Picture(Path("some/tiny.png"), 30, 200, "c", 1, False, "1_a", "x")
    options = BucketOptions((512, 512), True, 256, 1024, 64, no_upscale=True)
    with pytest.raises(Failure, match=r"tiny\.png: a picture of 30x200"):
        arrange([tiny], options, 1)


def test_batch_size_must_be_positive() -> None:
    """0 is refused rather than looping for ever."""
    with pytest.raises(ValueError, match="0"):
        _data([0], batch_size=0)
