"""LL62x: cached latents and changed pictures."""

from collections.abc import Iterator

from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule

_ASSERTS = "https://github.com/bmaltais/kohya_ss/issues/1503"


def _conflict(view: View, key: str, what: str) -> Iterator[Hit]:
    """Yield that an augmentation needs the cache off."""
    default = "" if "cache_latents" in view.given else " (the default)"
    message = f"{key} {what}, which cache_latents{default} rules out"
    fix = set_to("cache_latents", False) if "cache_latents" not in view.given else set_to(key, False)
    yield Hit(message, (key, "cache_latents"), f"set {key} to false, or cache_latents to false (slower)", fix)


@rule("LL621", "color-aug-with-cached-latents", "error", reads=("color_aug", "cache_latents"), source=_ASSERTS)
def color_aug_with_cached_latents(view: View) -> Iterator[Hit]:
    """Colours are to be changed each time, but the latents are cached.

    What it does
    Looks for `color_aug` with `cache_latents`.

    Why is this bad
    Cached latents are always the same, so the two can't work together.

    Bad
    ```json
    {"color_aug": true, "cache_latents": true}
    ```

    Good
    ```json
    {"color_aug": true, "cache_latents": false}
    ```
    """
    if view.config.color_aug and view.config.cache_latents:
        yield from _conflict(view, "color_aug", "changes the colours each time")


@rule("LL622", "random-crop-with-cached-latents", "error", reads=("random_crop", "cache_latents"), source=_ASSERTS)
def random_crop_with_cached_latents(view: View) -> Iterator[Hit]:
    """Pictures are to be cropped at random, but the latents are cached.

    What it does
    Looks for `random_crop` with `cache_latents`.

    Why is this bad
    Cached latents are always the same, so the two can't work together. One old tool dropped `random_crop` silently.

    Bad
    ```json
    {"random_crop": true, "cache_latents": true}
    ```

    Good
    ```json
    {"random_crop": true, "cache_latents": false}
    ```
    """
    if view.config.random_crop and view.config.cache_latents:
        yield from _conflict(view, "random_crop", "crops elsewhere each time")


@rule("LL623", "mirrored-pictures", "info", reads=("flip_aug",), source="LoRA_Easy_Training_Scripts README")
def mirrored_pictures(view: View) -> Iterator[Hit]:
    """Pictures are mirrored, which unlearns what is left and right.

    What it does
    Looks for `flip_aug`.

    Why is this bad
    Good for symmetric subjects; partings, scars, badges and lettering come out mirrored half of the time.

    Bad
    ```json
    {"flip_aug": true}
    ```

    Good
    ```json
    {"flip_aug": false}
    ```
    """
    if view.config.flip_aug:
        message = "flip_aug mirrors half of the pictures: fine for symmetric subjects only"
        yield Hit(message, ("flip_aug",), "set it to false if left and right matter", set_to("flip_aug", False))


@rule(
    "LL624",
    "disk-cache-without-cache",
    "info",
    reads=("cache_latents", "cache_latents_to_disk"),
    source="sd-scripts library/train_util.py verify_training_args",
)
def disk_cache_without_cache(view: View) -> Iterator[Hit]:
    """Latents are to be kept on disk, but not to be cached.

    What it does
    Looks for `cache_latents_to_disk` with `cache_latents` false.

    Why is this bad
    The two contradict each other; sd-scripts turns the cache on.

    Bad
    ```json
    {"cache_latents": false, "cache_latents_to_disk": true}
    ```

    Good
    ```json
    {"cache_latents": true, "cache_latents_to_disk": true}
    ```
    """
    if view.config.cache_latents_to_disk and not view.config.cache_latents:
        message = "cache_latents_to_disk needs cache_latents"
        keys = ("cache_latents_to_disk", "cache_latents")
        yield Hit(message, keys, "set cache_latents to true", set_to("cache_latents", True))
