"""LL06x: sd-scripts' `--dataset_config`, whose reader takes no key that it does not know."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from lora_lab.lint.rule import SD_SCRIPTS, Hit, View, rule
from lora_lab.lint.theirs import Setting

_theirs = partial(rule, reads=(), sees="theirs", targets=SD_SCRIPTS)
_SOURCE = "sd-scripts config_util.py ConfigSanitizer"

_EVERYWHERE: Final = frozenset(
    [
        *("color_aug", "face_crop_aug_range", "flip_aug", "num_repeats", "random_crop", "shuffle_caption"),
        *("keep_tokens", "keep_tokens_separator", "secondary_separator", "caption_separator", "enable_wildcard"),
        *("token_warmup_min", "token_warmup_step", "caption_prefix", "caption_suffix", "custom_attributes"),
        *("caption_dropout_every_n_epochs", "caption_dropout_rate", "caption_tag_dropout_rate"),
        *("caption_extension", "class_tokens", "cache_info", "resize_interpolation"),
    ]
)
"""Keys that may stand at any of the three levels."""

_SUBSET: Final = frozenset(["image_dir", "is_reg", "alpha_mask", "metadata_file", "conditioning_data_dir"])
_DATASET: Final = frozenset(
    [
        *("batch_size", "bucket_no_upscale", "bucket_reso_steps", "enable_bucket", "max_bucket_reso"),
        *("min_bucket_reso", "validation_seed", "validation_split", "resolution", "network_multiplier"),
        "skip_image_resolution",
    ]
)
_ELSEWHERE: Final = {
    "train_batch_size": "it is called batch_size here",
    "image_directory": "that is musubi-tuner's name; it is called image_dir here",
    "cache_directory": "that is musubi-tuner's",
    "repeats": "it is called num_repeats here",
    "dataset_repeats": "it is called num_repeats here",
    "train_data_dir": "name leaf folders as image_dir",
}
_MOVED: Final = "it belongs to the training settings"


def _level(one: Setting) -> str:
    """Return where in the file a setting stands."""
    if "subsets" in one.place[:-1]:
        return "subset"
    return "dataset" if one.place[0] == "datasets" else "general"


@_theirs("LL060", "not-a-dataset-setting", "error", source=f"{_SOURCE}; sd-scripts #1311, kohya_ss #2596")
def not_a_dataset_setting(view: View) -> Iterator[Hit]:
    """A key can't stand where it does in a `--dataset_config`.

    What it does
    Compares each key with those that `[general]`, `[[datasets]]` and `[[datasets.subsets]]` may hold.

    Why is this bad
    The reader refuses the whole file: `extra keys not allowed @ data['datasets'][0]`.

    Bad
    ```toml
    [[datasets]]
    resolution = 512
    network_dim = 16
    [[datasets.subsets]]
    image_dir = "a/cat"
    ```

    Good
    ```toml
    [[datasets]]
    resolution = 512
    [[datasets.subsets]]
    image_dir = "a/cat"
    ```
    """
    if view.theirs.dialect != "dataset" or any(
        one.key in ("image_directory", "control_directory") for one in view.theirs.every
    ):
        return
    for one in view.theirs.every:
        level = _level(one)
        allowed = _EVERYWHERE | (_SUBSET if level == "subset" else _DATASET)
        if "custom_attributes" in one.place or one.key in allowed or one.key == "subsets":
            continue
        where = {"subset": "a subset", "dataset": "[[datasets]]", "general": "[general]"}[level]
        if one.key in _SUBSET:
            remedy = "move it into [[datasets.subsets]]"
        elif one.key in _DATASET:
            remedy = "move it into [[datasets]] or [general]"
        else:
            remedy = _ELSEWHERE.get(one.key, _MOVED)
        yield Hit(f"{one.key} is not allowed in {where}: the file is refused", (one.key,), remedy, span=one.key_span)


_WHOLE: Final = frozenset(
    [
        *("num_repeats", "keep_tokens", "token_warmup_min", "caption_dropout_every_n_epochs", "batch_size"),
        *("bucket_reso_steps", "max_bucket_reso", "min_bucket_reso", "validation_seed"),
    ]
)
_FRACTIONS: Final = frozenset(["validation_split"])
_SWITCHES: Final = frozenset(
    [
        *("color_aug", "flip_aug", "random_crop", "shuffle_caption", "enable_wildcard", "cache_info", "is_reg"),
        *("alpha_mask", "bucket_no_upscale", "enable_bucket"),
    ]
)


@_theirs("LL061", "dataset-value-refused", "error", source=_SOURCE)
def dataset_value_refused(view: View) -> Iterator[Hit]:
    """A value of a `--dataset_config` has a type that its reader refuses.

    What it does
    Looks for numbers and switches in quotes, 1 where 1.0 is wanted, 2.0 where 2 is wanted, a `resolution` in quotes.

    Why is this bad
    The reader is strict: the file is refused before training starts.

    Bad
    ```toml
    [[datasets]]
    resolution = "512,512"
    [[datasets.subsets]]
    image_dir = "a/cat"
    ```

    Good
    ```toml
    [[datasets]]
    resolution = [512, 512]
    [[datasets.subsets]]
    image_dir = "a/cat"
    ```
    """
    if view.theirs.dialect != "dataset":
        return
    for one in view.theirs.every:
        wanted = _wanted(one)
        if wanted:
            message = f"{one.key} is {one.value!r}, and the reader wants {wanted}: the file is refused"
            yield Hit(message, (one.key,), f"write {wanted}", span=one.value_span)


def _wanted(one: Setting) -> str:
    """Return what a value should be; "" where it is that, or where only the run decides it."""
    value = one.value
    if isinstance(value, str) and re.search(r"[${<_]", value):
        return ""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if one.key in _WHOLE and not whole:
        return "a whole number"
    if one.key in _SWITCHES and not isinstance(value, bool):
        return "true or false"
    if one.key == "resolution" and not whole and not isinstance(value, list):
        return "a number or a list of two"
    return "a number with a point" if one.key in _FRACTIONS and not isinstance(value, float) else ""


@_theirs("LL062", "repeats-in-the-name", "warning", source="sd-scripts docs/config_README-en.md")
def repeats_in_the_name(view: View) -> Iterator[Hit]:
    """A folder of a `--dataset_config` is called `N_name`, and no repeats are set.

    What it does
    Looks for an `image_dir` whose name starts with a number, in a data set without `num_repeats`.

    Why is this bad
    Here the number is not read, as it is in folders of `train_data_dir`: each picture is shown once an epoch.

    Bad
    ```toml
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "a/10_cat"
    ```

    Good
    ```toml
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "a/10_cat"
    num_repeats = 10
    ```
    """
    if view.theirs.dialect not in ("dataset", "mixed"):
        return
    said = {one.place[:-1] for one in view.theirs.every if one.key == "num_repeats"}
    for one in view.theirs.every:
        match = re.match(r"([0-9]+)_.", PurePosixPath(str(one.value).replace("\\", "/")).name)
        around = {one.place[: at + 1] for at in range(-1, len(one.place))} | {("general",)}
        if one.key == "image_dir" and match and int(match[1]) > 1 and not said & around:
            message = f"the {match[1]} in the folder's name is not read in a --dataset_config: its pictures count once"
            yield Hit(message, (one.key,), f"write num_repeats = {match[1]} below it", span=one.value_span)


@_theirs("LL063", "many-repeats", "warning", source="hollowstrawberry/kohya-colab #109; kohya_ss #2312")
def many_repeats(view: View) -> Iterator[Hit]:
    """Pictures are repeated a hundred times and more in each epoch.

    What it does
    Looks for `num_repeats` of 100 and more in a `--dataset_config`.

    Why is this bad
    One epoch is then so long that no file of it can be compared with one before it, and the pictures are learned by
    heart.

    Bad
    ```toml
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "a/cat"
    num_repeats = 300
    ```

    Good
    ```toml
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "a/cat"
    num_repeats = 10
    ```
    """
    for one in view.theirs.every:
        if one.key == "num_repeats" and isinstance(one.value, int) and one.value >= 100:
            message = f"each picture is shown {one.value} times in an epoch"
            yield Hit(message, (one.key,), "use fewer repeats and more epochs", span=one.value_span)
