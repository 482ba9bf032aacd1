"""LL209–LL216, LL233: marks, prefixes, wildcards, warm-up and encoded captions."""

import re
from collections.abc import Iterator
from itertools import islice

from lora_lab.config import TrainConfig
from lora_lab.lint.dataset import captions
from lora_lab.lint.finding import removed
from lora_lab.lint.rule import OURS, Hit, View, rule

_PROCESS = "sd-scripts library/train_util.py process_caption"
_WILDCARD = re.compile(r"\{[^{}|]+\|[^{}]+\}")


def _moves(config: TrainConfig) -> bool:
    """Say whether tags are shuffled, dropped or shown little by little."""
    return bool(config.shuffle_captions or config.caption_tag_dropout_rate or config.token_warmup_step)


@rule(
    "LL209",
    "separator-without-effect",
    "info",
    reads=("keep_tokens_separator", "shuffle_captions", "caption_tag_dropout_rate", "token_warmup_step"),
    source=_PROCESS,
    targets=OURS,
)
def separator_without_effect(view: View) -> Iterator[Hit]:
    """A mark says which tags stay in place, but nothing would move or drop them.

    What it does
    Looks for `keep_tokens_separator` without shuffling, tag dropout and token warm-up.

    Why is this bad
    All that happens is that the mark is taken out of the captions. sd-scripts does not even do that, and trains it as
    text.

    Bad
    ```json
    {"keep_tokens_separator": "|||"}
    ```

    Good
    ```json
    {"keep_tokens_separator": "|||", "shuffle_captions": true}
    ```
    """
    if view.config.keep_tokens_separator and not _moves(view.config):
        message = "keep_tokens_separator keeps nothing in place: the tags are neither shuffled nor dropped"
        yield Hit(message, ("keep_tokens_separator",), "set shuffle_captions to true if the captions are tags")


@rule(
    "LL210",
    "keep-tokens-beside-separator",
    "info",
    reads=("keep_tokens_separator", "keep_tokens"),
    source=_PROCESS,
)
def keep_tokens_beside_separator(view: View) -> Iterator[Hit]:
    """Kept tags are counted and marked at once.

    What it does
    Looks for `keep_tokens` together with `keep_tokens_separator`.

    Why is this bad
    The mark wins: the number counts only in captions without it.

    Bad
    ```json
    {"keep_tokens_separator": "|||", "keep_tokens": 2, "shuffle_captions": true}
    ```

    Good
    ```json
    {"keep_tokens_separator": "|||", "shuffle_captions": true}
    ```
    """
    if view.config.keep_tokens_separator and view.config.keep_tokens:
        message = "keep_tokens counts only in captions without keep_tokens_separator"
        yield Hit(message, ("keep_tokens", "keep_tokens_separator"), "leave it out if all captions have the mark")


@rule(
    "LL211",
    "token-warmup-min-without-effect",
    "info",
    reads=("token_warmup_step", "token_warmup_min"),
    source=_PROCESS,
    idle=("token_warmup_min",),
)
def token_warmup_min_without_effect(view: View) -> Iterator[Hit]:
    """A number of tags to begin with is set, and all tags are shown from the beginning.

    What it does
    Looks for `token_warmup_min` without `token_warmup_step`.

    Why is this bad
    It has no effect.

    Bad
    ```json
    {"token_warmup_min": 3}
    ```

    Good
    ```json
    {"token_warmup_min": 3, "token_warmup_step": 500}
    ```
    """
    if not view.config.token_warmup_step and view.config.token_warmup_min != 1:
        message = "token_warmup_min has no effect without token_warmup_step"
        yield Hit(message, ("token_warmup_min",), "set token_warmup_step too", removed("token_warmup_min"))


@rule(
    "LL212",
    "prefix-not-kept",
    "warning",
    reads=(
        *("caption_prefix", "keep_tokens", "keep_tokens_separator"),
        *("shuffle_captions", "caption_tag_dropout_rate", "token_warmup_step"),
    ),
    source="sd-scripts docs/config_README-en.md; train_util.py process_caption",
)
def prefix_not_kept(view: View) -> Iterator[Hit]:
    """Text is put before every caption, and then shuffled or dropped with its tags.

    What it does
    Compares `keep_tokens` with the tags of `caption_prefix`, where tags are shuffled or dropped.

    Why is this bad
    A prefix is a trigger word mostly, and does not stay in front: its tags count like the caption's own.

    Bad
    ```json
    {"caption_prefix": "lumi,", "shuffle_captions": true}
    ```

    Good
    ```json
    {"caption_prefix": "lumi,", "shuffle_captions": true, "keep_tokens": 1}
    ```
    """
    config = view.config
    if not config.caption_prefix or config.keep_tokens_separator or not _moves(config):
        return
    tags = config.caption_prefix.rstrip(", ").count(",") + 1
    if config.keep_tokens < tags:
        message = (
            f"caption_prefix has {tags} tag(s), and keep_tokens keeps {config.keep_tokens}: it moves with the rest"
        )
        yield Hit(message, ("caption_prefix", "keep_tokens"), f"set keep_tokens to {tags} or more")


@rule("LL213", "token-warmup-not-over", "warning", reads=("token_warmup_step", "max_steps"), source=_PROCESS)
def token_warmup_not_over(view: View) -> Iterator[Hit]:
    """Tags are shown little by little, and never all of them.

    What it does
    Compares `token_warmup_step` with `max_steps`.

    Why is this bad
    The last tags of long captions are never learned.

    Bad
    ```json
    {"token_warmup_step": 2000, "max_steps": 1500}
    ```

    Good
    ```json
    {"token_warmup_step": 500, "max_steps": 1500}
    ```
    """
    warmup, steps = view.config.token_warmup_step, view.config.max_steps
    if steps is not None and warmup >= max(steps, 1):
        message = f"token_warmup_step {warmup:g} is not over in {steps} steps: captions are never shown whole"
        yield Hit(message, ("token_warmup_step", "max_steps"), "use a smaller number, such as 0.3 of the run")


@rule(
    "LL214",
    "text-cache-without-effect",
    "warning",
    reads=("cache_text_encoder_outputs", "unet_only"),
    source="sd-scripts sdxl_train_network.py assert_extra_args",
    targets=OURS,
    idle=("cache_text_encoder_outputs",),
)
def text_cache_without_effect(view: View) -> Iterator[Hit]:
    """The text encoder's outputs are to be kept, and it is trained.

    What it does
    Looks for `cache_text_encoder_outputs` without `unet_only`.

    Why is this bad
    What a trained encoder says changes with every step, so nothing is kept.

    Bad
    ```json
    {"cache_text_encoder_outputs": true}
    ```

    Good
    ```json
    {"cache_text_encoder_outputs": true, "unet_only": true}
    ```
    """
    if view.config.cache_text_encoder_outputs and not view.config.unet_only:
        message = "cache_text_encoder_outputs has no effect: the text encoder is trained"
        keys = ("cache_text_encoder_outputs", "unet_only")
        yield Hit(message, keys, "set unet_only to true, or leave it out", removed("cache_text_encoder_outputs"))


@rule(
    "LL215",
    "text-cache-of-changing-captions",
    "info",
    reads=(
        *("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "unet_only", "enable_wildcard"),
        *("shuffle_captions", "caption_tag_dropout_rate", "token_warmup_step"),
    ),
    source="lora_lab/train/text_cache.py",
    targets=OURS,
)
def text_cache_of_changing_captions(view: View) -> Iterator[Hit]:
    """The text encoder's outputs are kept, and hardly any text comes twice.

    What it does
    Looks for `cache_text_encoder_outputs` with shuffling, tag dropout, token warm-up or wildcards.

    Why is this bad
    It is right, since each text has an output of its own, but saves little: every order of the tags is encoded once and
    kept, up to a gigabyte of memory, and without end on disk.

    Bad
    ```json
    {"cache_text_encoder_outputs": true, "unet_only": true, "shuffle_captions": true}
    ```

    Good
    ```json
    {"cache_text_encoder_outputs": true, "unet_only": true}
    ```
    """
    config = view.config
    if not config.cache_text_encoder_outputs or not config.unet_only:
        return
    changing = ("shuffle_captions", "caption_tag_dropout_rate", "token_warmup_step", "enable_wildcard")
    key = next((key for key in changing if getattr(config, key)), None)
    if key is not None:
        where = "fills the disk" if config.cache_text_encoder_outputs_to_disk else "takes up to 1 GB of memory"
        message = f"{key} makes another text nearly each time: the cache saves little and {where}"
        yield Hit(message, ("cache_text_encoder_outputs", key), "leave the cache out, or the captions as they are")


@rule(
    "LL216",
    "text-on-disk-without-cache",
    "warning",
    reads=("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"),
    source="lora_lab/train/step.py",
    targets=OURS,
    idle=("cache_text_encoder_outputs_to_disk",),
)
def text_on_disk_without_cache(view: View) -> Iterator[Hit]:
    """The text encoder's outputs are to be kept on disk, but not to be kept.

    What it does
    Looks for `cache_text_encoder_outputs_to_disk` without `cache_text_encoder_outputs`.

    Why is this bad
    It has no effect; sd-scripts turns the cache on.

    Bad
    ```json
    {"cache_text_encoder_outputs_to_disk": true}
    ```

    Good
    ```json
    {"cache_text_encoder_outputs_to_disk": true, "cache_text_encoder_outputs": true, "unet_only": true}
    ```
    """
    config, key = view.config, "cache_text_encoder_outputs_to_disk"
    if config.cache_text_encoder_outputs_to_disk and not config.cache_text_encoder_outputs:
        yield Hit(
            f"{key} has no effect without cache_text_encoder_outputs",
            (key,),
            "set cache_text_encoder_outputs too",
            removed(key),
        )


@rule(
    "LL233",
    "wildcard-is-literal",
    "warning",
    reads=("img_folder", "caption_extension", "enable_wildcard"),
    source=_PROCESS,
    sees="disk",
)
def wildcard_is_literal(view: View) -> Iterator[Hit]:
    """A caption has a choice such as `{red|blue}`, and wildcards are off.

    What it does
    Looks for brackets with a bar between them in the captions, without `enable_wildcard`.

    Why is this bad
    Brackets, bars and all the choices are learned as text.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: a {small|little} cat
    ```

    Good
    ```json
    {"img_folder": "pics", "enable_wildcard": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: a {small|little} cat
    ```
    """
    if view.config.enable_wildcard:
        return
    texts = captions(view).texts
    found = ((name, match.group()) for name, text in texts.items() if (match := _WILDCARD.search(text)))
    for name, choice in islice(found, 1):
        message = f"{name} has {choice[:40]}, of which nothing is chosen: it is taken literally"
        yield Hit(message, ("img_folder",), "set enable_wildcard to true, or write the words alone")
