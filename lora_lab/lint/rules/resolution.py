"""LL6xx: size, buckets, caching, augmentation."""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rule import OURS, Hit, View, rule
from lora_lab.lint.rules.base_model import base_header

_BUCKETS = "sd-scripts library/train_util.py adjust_min_max_bucket_reso_by_steps"
_USUAL = {
    "min_bucket_resolution": (256, 320),
    "max_bucket_resolution": (1024, 960, 2048),
    "bucket_reso_steps": (64,),
    "bucket_no_upscale": (False,),
}
"""Our defaults and those that old tools write into every file: nobody chose them."""


@rule(
    "LL601",
    "max-bucket-below-resolution",
    "error",
    reads=("buckets", "bucket_no_upscale", "bucket_reso_steps", "max_bucket_resolution", "train_resolution"),
    source="https://github.com/bmaltais/kohya_ss/issues/581",
)
def max_bucket_below_resolution(view: View) -> Iterator[Hit]:
    """The largest bucket is smaller than the resolution.

    What it does
    Compares `max_bucket_resolution`, rounded up to a multiple of `bucket_reso_steps`, with `train_resolution`.

    Why is this bad
    No bucket is possible, and the run stops. The 960 that old files carry does that to every training at 1024.

    Bad
    ```json
    {"train_resolution": 1024, "max_bucket_resolution": 960}
    ```

    Good
    ```json
    {"train_resolution": 1024, "max_bucket_resolution": 2048}
    ```
    """
    config = view.config
    highest = -(-config.max_bucket_resolution // config.bucket_reso_steps) * config.bucket_reso_steps
    side = max(config.resolution)
    if config.buckets and not config.bucket_no_upscale and highest < side:
        default = "" if "max_bucket_resolution" in view.given else " (the default)"
        message = f"max_bucket_resolution {config.max_bucket_resolution}{default} is below train_resolution {side}"
        fix = set_to("max_bucket_resolution", 2 * side)
        yield Hit(message, ("max_bucket_resolution", "train_resolution"), f"{2 * side} is usual", fix)


@rule(
    "LL602",
    "min-bucket-above-resolution",
    "error",
    reads=("buckets", "bucket_no_upscale", "bucket_reso_steps", "min_bucket_resolution", "train_resolution"),
    source=_BUCKETS,
)
def min_bucket_above_resolution(view: View) -> Iterator[Hit]:
    """The smallest side of a bucket is larger than the resolution.

    What it does
    Compares `min_bucket_resolution`, rounded down to a multiple of `bucket_reso_steps`, with `train_resolution`.

    Why is this bad
    No bucket is possible, and the run stops.

    Bad
    ```json
    {"train_resolution": 512, "min_bucket_resolution": 768}
    ```

    Good
    ```json
    {"train_resolution": 512, "min_bucket_resolution": 256}
    ```
    """
    config = view.config
    lowest = config.min_bucket_resolution // config.bucket_reso_steps * config.bucket_reso_steps
    side = min(config.resolution)
    if config.buckets and not config.bucket_no_upscale and lowest > side:
        default = "" if "min_bucket_resolution" in view.given else " (the default)"
        message = f"min_bucket_resolution {config.min_bucket_resolution}{default} is above train_resolution {side}"
        fix = set_to("min_bucket_resolution", max(side // 2, 64))
        yield Hit(message, ("min_bucket_resolution", "train_resolution"), f"{max(side // 2, 64)} is usual", fix)


@rule(
    "LL603",
    "resolution-below-bucket-steps",
    "error",
    reads=("buckets", "bucket_reso_steps", "train_resolution"),
    source=_BUCKETS,
)
def resolution_below_bucket_steps(view: View) -> Iterator[Hit]:
    """The resolution is smaller than the grid of the buckets.

    What it does
    Compares the sides of `train_resolution` with `bucket_reso_steps`.

    Why is this bad
    No bucket is possible, and the run stops.

    Bad
    ```json
    {"train_resolution": 128, "min_bucket_resolution": 64, "bucket_reso_steps": 256}
    ```

    Good
    ```json
    {"train_resolution": 128, "min_bucket_resolution": 64, "bucket_reso_steps": 64}
    ```
    """
    side, step = min(view.config.resolution), view.config.bucket_reso_steps
    if view.config.buckets and side < step:
        message = f"bucket_reso_steps {step} is above train_resolution {side}"
        yield Hit(message, ("bucket_reso_steps", "train_resolution"), "64 is usual", set_to("bucket_reso_steps", 64))


@rule(
    "LL604",
    "bucket-steps-not-64",
    "warning",
    reads=("buckets", "bucket_reso_steps", "train_resolution", "base_model"),
    source="https://github.com/kohya-ss/sd-scripts/issues/1763; sdxl_train_network.py assert_extra_args",
    targets=OURS,
)
def bucket_steps_not_64(view: View) -> Iterator[Hit]:
    """The grid of the buckets does not fit the U-Net.

    What it does
    Looks for `bucket_reso_steps` that is no multiple of 64, or of 32 where the base's header says SDXL, at resolutions
    from 256 on.

    Why is this bad
    The U-Net halves the latents, an eighth of the picture, three times, SDXL's twice: other sizes are padded inside and
    give worse results, and there are many small buckets. sd-scripts refuses them.

    Bad
    ```json
    {"bucket_reso_steps": 8}
    ```

    Good
    ```json
    {"bucket_reso_steps": 64}
    ```
    """
    step = view.config.bucket_reso_steps
    if not (view.config.buckets and step % 64 and min(view.config.resolution) >= 256):
        return
    header = base_header(view) if view.disk_view else None
    grid, family = (32, "SDXL") if header and header.family == "sdxl" else (64, "SD 1.x and 2.x")
    if step % grid:
        message = f"bucket_reso_steps {step} is no multiple of {grid}, which the U-Net of {family} is made for"
        yield Hit(message, ("bucket_reso_steps",), "use 64", set_to("bucket_reso_steps", 64))


@rule(
    "LL605",
    "resolution-off-grid",
    "warning",
    reads=("buckets", "bucket_reso_steps", "train_resolution"),
    source="sd-scripts library/model_util.py make_bucket_resolutions",
)
def resolution_off_grid(view: View) -> Iterator[Hit]:
    """The resolution is no multiple of the bucket grid, or of 8 without buckets.

    What it does
    Looks at the sides of `train_resolution`.

    Why is this bad
    With buckets the square bucket comes out smaller than asked: 500 becomes 448. Without them the latents, an eighth of
    the picture, don't fit.

    Bad
    ```json
    {"train_resolution": 500}
    ```

    Good
    ```json
    {"train_resolution": 512}
    ```
    """
    config = view.config
    step = config.bucket_reso_steps if config.buckets else 8
    off = [side for side in config.resolution if side % step and side >= step]
    if off and config.buckets:
        square = int((config.resolution[0] * config.resolution[1]) ** 0.5 // step) * step
        message = f"train_resolution {off[0]} is no multiple of {step}: the square bucket is {square}x{square}"
        yield Hit(message, ("train_resolution",), f"use {off[0] // step * step} or {(off[0] // step + 1) * step}")
    elif off:
        ours = view.document.origin is None and view.target == "lora_lab"
        message = f"train_resolution {off[0]} is no multiple of 8, as the latents need"
        if not ours:
            message = f"train_resolution {off[0]} is no multiple of 8: the latents hold {off[0] // 8 * 8} of it"
        remedy = f"use {off[0] // 64 * 64} or {(off[0] // 64 + 1) * 64}"
        yield Hit(message, ("train_resolution",), remedy, severity="error" if ours else "warning")


@rule(
    "LL606",
    "bucket-settings-without-buckets",
    "warning",
    reads=("buckets", *_USUAL),
    source="sd-scripts library/train_util.py",
    idle=("min_bucket_resolution", "max_bucket_resolution", "bucket_reso_steps", "bucket_no_upscale"),
)
def bucket_settings_without_buckets(view: View) -> Iterator[Hit]:
    """Buckets are off, and something about them is set.

    What it does
    Looks for the bucket settings, where they differ from what every file carries, with `buckets` false.

    Why is this bad
    They have no effect: every picture is cut to the shape of `train_resolution`.

    Bad
    ```json
    {"buckets": false, "max_bucket_resolution": 768}
    ```

    Good
    ```json
    {"buckets": true, "max_bucket_resolution": 768}
    ```
    """
    if view.config.buckets:
        return
    for key, usual in _USUAL.items():
        if key in view.given and getattr(view.config, key) not in usual:
            yield Hit(f"{key} has no effect: buckets is false", (key, "buckets"), "set buckets to true", removed(key))


@rule(
    "LL607",
    "bucket-limits-without-effect",
    "info",
    reads=("buckets", "bucket_no_upscale", "min_bucket_resolution", "max_bucket_resolution"),
    source="sd-scripts library/train_util.py",
    idle=("min_bucket_resolution", "max_bucket_resolution"),
)
def bucket_limits_without_effect(view: View) -> Iterator[Hit]:
    """Limits of the buckets are set, and `bucket_no_upscale` does not use them.

    What it does
    Looks for `min_bucket_resolution` and `max_bucket_resolution`, where they differ from what every file carries.

    Why is this bad
    They have no effect: without enlarging, the pictures themselves make the buckets.

    Bad
    ```json
    {"bucket_no_upscale": true, "max_bucket_resolution": 768}
    ```

    Good
    ```json
    {"bucket_no_upscale": true}
    ```
    """
    for key in ("min_bucket_resolution", "max_bucket_resolution"):
        chosen = key in view.given and getattr(view.config, key) not in _USUAL[key]
        if view.config.buckets and view.config.bucket_no_upscale and chosen:
            yield Hit(
                f"{key} has no effect with bucket_no_upscale", (key, "bucket_no_upscale"), "leave it out", removed(key)
            )
