"""Buckets agree with sd-scripts: the lists with facts from running it, the placement with its rules by hand."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lora_lab.config.buckets import BucketOptions, make_resolutions, select
from lora_lab.failure import Failure

FACTS: dict[str, list[list[int]]] = json.loads((Path(__file__).parent / "facts" / "buckets_head.json").read_text())


def _options(arguments: str) -> BucketOptions:
    resolution, minimum, maximum, step = ast.literal_eval(arguments)
    return BucketOptions(resolution, True, minimum, maximum, step)


def test_there_are_facts() -> None:
    """The fact file is not empty."""
    assert len(FACTS) == 8


@pytest.mark.parametrize("arguments", FACTS)
def test_lists_are_those_of_sd_scripts(arguments: str) -> None:
    """For eight settings the list of buckets is what sd-scripts' own code printed."""
    assert [list(size) for size in make_resolutions(_options(arguments))] == FACTS[arguments]


def test_limits_are_rounded_to_steps_first() -> None:
    """The minimum is rounded down and the maximum up to a multiple of the step."""
    rounded = make_resolutions(BucketOptions((512, 512), True, 320, 960, 64))
    assert make_resolutions(BucketOptions((512, 512), True, 350, 910, 64)) == rounded


def test_resolution_off_the_grid_gets_a_smaller_square() -> None:
    """500 is not a multiple of 64, so its square bucket is 448."""
    sizes = make_resolutions(BucketOptions((500, 500), True, 256, 1024, 64))
    assert (448, 448) in sizes
    assert all(width * height <= 500 * 500 for width, height in sizes)


@pytest.mark.parametrize(
    ("size", "bucket", "resized", "crop"),
    [
        ((512, 512), (512, 512), (512, 512), (0, 0)),
        ((640, 384), (640, 384), (640, 384), (0, 0)),  # an exact bucket is used as it is
        ((1000, 1000), (512, 512), (512, 512), (0, 0)),
        ((100, 100), (512, 512), (512, 512), (0, 0)),  # enlarged
        ((600, 800), (448, 576), (448, 597), (0, 10)),  # 0.75 against 0.7778 and 0.6: width decides
        ((800, 600), (576, 448), (597, 448), (10, 0)),
        ((3000, 500), (768, 320), (1920, 320), (576, 0)),  # the reference's panorama
    ],
)
def test_placement(
    size: tuple[int, int], bucket: tuple[int, int], resized: tuple[int, int], crop: tuple[int, int]
) -> None:
    """Nearest aspect ratio, scaled to cover, centred."""
    options = BucketOptions((512, 512), True, 320, 960, 64)
    assert select(size, options, make_resolutions(options)) == (bucket, resized, crop)


@given(
    st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    st.sampled_from(sorted(FACTS)),
)
def test_resized_picture_always_covers_its_bucket(size: tuple[int, int], arguments: str) -> None:
    """Whatever the picture, the crop lies inside it and at most one side overshoots by more than rounding."""
    options = _options(arguments)
    bucket, resized, crop = select(size, options, make_resolutions(options))
    over = (resized[0] - bucket[0], resized[1] - bucket[1])
    assert min(over) == 0
    assert crop == (over[0] // 2, over[1] // 2)


NO_UPSCALE = BucketOptions((512, 512), True, 256, 1024, 64, no_upscale=True)


@pytest.mark.parametrize(
    ("size", "bucket", "resized"),
    [
        ((300, 200), (256, 192), (300, 200)),  # kept, the bucket floored to steps
        ((512, 512), (512, 512), (512, 512)),
        ((64, 64), (64, 64), (64, 64)),
        ((1024, 1024), (512, 512), (512, 512)),
        # 800×600 shrinks to 591×443: width 576 → height 384 (error 0.167), 384 → width 512 (error 0): height wins
        ((800, 600), (512, 384), (512, 384)),
        # 1000×500 shrinks to 724×362: width 704 → height 320 (error 0.2), height 320 → width 640 (error 0): height wins
        ((1000, 500), (640, 320), (640, 320)),
        # 600×1000 shrinks to 397×661: width 384 → height 640 (error 0), height 640 → width 384 (error 0): a tie, height
        ((600, 1000), (384, 640), (384, 640)),
        # 900×640 shrinks to 607×432: width 576 → 384 (error 0.094), height 384 → 512 (error 0.073): height wins
        ((900, 640), (512, 384), (540, 384)),
        # 2000×700 shrinks to 865×303: width 832 → 256 (error 0.393), height 256 → 704 (error 0.107): height wins
        ((2000, 700), (704, 256), (731, 256)),
        # 960×300 shrinks to 916×286: width 896 → 256 (error 0.3), height 256 → 768 (error 0.2)
        ((960, 300), (768, 256), (819, 256)),
        # 6390×100 shrinks to 4093×64: width 4032 → height 63, no bucket; height 64 → width 4032
        ((6390, 100), (4032, 64), (4090, 64)),
        # 700×1500 shrinks to 350×750: width 320 → 640 (error 0.033), height 704 → 320 (error 0.012): height wins
        ((700, 1500), (320, 704), (329, 704)),
        # 800×760 shrinks to 525×499: width 512 → 448 (error 0.09), height 448 → 448 (error 0.053): height wins
        ((800, 760), (448, 448), (472, 448)),
        # 760×800: width 448 → 448 (error 0.05), height 512 → 448 (error 0.075): width wins
        ((760, 800), (448, 448), (448, 472)),
    ],
)
def test_no_upscale(size: tuple[int, int], bucket: tuple[int, int], resized: tuple[int, int]) -> None:
    """Without upscaling a picture keeps its size if its area fits, else one side lands on a step."""
    assert make_resolutions(NO_UPSCALE) == ()
    placement = select(size, NO_UPSCALE, ())
    assert placement[:2] == (bucket, resized)


@given(st.tuples(st.integers(64, 4000), st.integers(64, 4000)))
def test_no_upscale_never_enlarges_and_stays_near_the_area(size: tuple[int, int]) -> None:
    """No side grows by more than rounding, sides are multiples of the step, and the bucket's area is within budget."""
    assume(max(size) / min(size) < 16)
    bucket, resized, _ = select(size, NO_UPSCALE, ())
    assert bucket[0] % 64 == bucket[1] % 64 == 0
    assert 0 < bucket[0] <= resized[0] <= size[0]
    assert 0 < bucket[1] <= resized[1] <= size[1]
    assert bucket[0] * bucket[1] <= 512 * 512


def test_no_upscale_ignores_the_limits() -> None:
    """min_bucket_resolution and max_bucket_resolution have no effect, so they can't be wrong either."""
    assert make_resolutions(BucketOptions((512, 512), True, 600, 500, 64, no_upscale=True)) == ()


@pytest.mark.parametrize("size", [(63, 400), (400, 63), (20000, 64)])
def test_no_upscale_refuses_pictures_smaller_than_a_step(size: tuple[int, int]) -> None:
    """A bucket with side 0 is a clear failure, not a division by zero."""
    with pytest.raises(Failure, match=f"{size[0]}x{size[1]}"):
        select(size, NO_UPSCALE, ())


def test_buckets_off_crop_to_the_resolution() -> None:
    """With buckets off every picture is covered by and cropped to the resolution, whatever the limits say."""
    options = BucketOptions((512, 384), False, 9999, 1, 64)
    resolutions = make_resolutions(options)
    assert resolutions == ((512, 384),)
    assert select((1000, 1000), options, resolutions) == ((512, 384), (512, 512), (0, 64))
    assert select((100, 50), options, resolutions) == ((512, 384), (768, 384), (128, 0))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (BucketOptions((32, 512), True, 0, 1024, 64), "bucket_reso_steps"),
        (BucketOptions((128, 128), True, 256, 1024, 64), "min_bucket_resolution"),
        (BucketOptions((1024, 1024), True, 320, 960, 64), "max_bucket_resolution"),
    ],
)
def test_impossible_settings_fail_with_the_key_to_change(options: BucketOptions, key: str) -> None:
    """Where no bucket is possible the failure names the setting."""
    with pytest.raises(Failure) as failure:
        make_resolutions(options)
    assert key in str(failure.value)
    assert failure.value.remedy
