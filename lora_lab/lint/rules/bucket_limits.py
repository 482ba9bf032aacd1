"""LL6xx: the limits of the buckets."""

from collections.abc import Iterator

from lora_lab.lint.finding import Edit, Fix
from lora_lab.lint.rule import Hit, View, rule

_KEYS = ("min_bucket_resolution", "max_bucket_resolution")


@rule(
    "LL608",
    "bucket-limit-off-grid",
    "info",
    reads=(*_KEYS, "bucket_reso_steps", "buckets", "bucket_no_upscale"),
    source="sd-scripts library/train_util.py adjust_min_max_bucket_reso_by_steps",
    idle=_KEYS,
)
def bucket_limit_off_grid(view: View) -> Iterator[Hit]:
    """A limit of the buckets is no multiple of their grid.

    What it does
    Compares `min_bucket_resolution` and `max_bucket_resolution` with `bucket_reso_steps`.

    Why is this bad
    The lower limit is rounded down and the upper one up, so the file does not say what is done.

    Bad
    ```json
    {"min_bucket_resolution": 300}
    ```

    Good
    ```json
    {"min_bucket_resolution": 256}
    ```
    """
    config = view.config
    if not config.buckets or config.bucket_no_upscale:
        return
    step = config.bucket_reso_steps
    low, high = config.min_bucket_resolution // step * step, -(-config.max_bucket_resolution // step) * step
    for key, value, used in zip(
        _KEYS, (config.min_bucket_resolution, config.max_bucket_resolution), (low, high), strict=True
    ):
        if value != used and 64 <= used <= 8192 and key in view.given:
            message = f"{key} {value} is no multiple of bucket_reso_steps {step}: {used} is used"
            yield Hit(message, (key, "bucket_reso_steps"), f"write {used}", Fix((Edit(key, "set", used),), safe=True))
