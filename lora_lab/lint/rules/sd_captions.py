"""LL25x: captions as sd-scripts reads and caches them."""

from collections.abc import Iterator
from functools import partial

from lora_lab.lint.rule import SD_SCRIPTS, THEIRS, Hit, View, rule
from lora_lab.lint.rules.sd_length import trains_text_encoder
from lora_lab.lint.theirs import Theirs

_theirs = partial(rule, reads=(), sees="theirs", targets=THEIRS)
_ASSERT = "sd-scripts sdxl_train_network.py assert_extra_args"


def _caches_text(theirs: Theirs) -> str:
    """Return the setting by which text encoder outputs are cached, "" where they are not."""
    names = ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")
    return next((name for name in names if theirs.get(name) is True), "")


@_theirs("LL250", "default-caption-extension", "warning", targets=SD_SCRIPTS, source="sd-scripts; kohya_ss #988, #927")
def default_caption_extension(view: View) -> Iterator[Hit]:
    """The extension of the caption files is left out, and it is `.caption` then.

    What it does
    Looks for a run with `train_data_dir` and no `caption_extension`, or an empty one.

    Why is this bad
    Captions are `.txt` files nearly always. sd-scripts says `No caption file found` among many lines and trains all
    pictures with the name of their folder.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    max_train_epochs = 10
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    max_train_epochs = 10
    caption_extension = ".txt"
    ```
    """
    theirs = view.theirs
    if theirs.dialect in ("own", "easy-toml") or theirs.get("caption_extension"):
        return
    if not theirs.whole and not (theirs.gui and theirs.has("caption_extension")):
        return
    if theirs.gui and not theirs.has("caption_extension"):
        return
    if any(theirs.has(name) for name in ("in_json", "dataset_config")) and theirs.on("in_json"):
        return
    what = (
        f'{theirs.key("caption_extension")} "" is' if theirs.has("caption_extension") else "captions are looked for as"
    )
    message = f"{what} .caption: .txt files are not read"
    yield theirs.hit(message, ("caption_extension",), 'write caption_extension ".txt" if that is what they are')


@_theirs("LL251", "cached-text-with-trained-encoder", "error", source=f"{_ASSERT}; kohya_ss #1210, #2701")
def cached_text_with_trained_encoder(view: View) -> Iterator[Hit]:
    """The text encoder's outputs are cached, and it is trained.

    What it does
    Looks for `cache_text_encoder_outputs` without `network_train_unet_only`.

    Why is this bad
    sd-scripts stops: `network for Text Encoder cannot be trained with caching Text Encoder outputs`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    cache_text_encoder_outputs = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    cache_text_encoder_outputs = true
    network_train_unet_only = true
    ```
    """
    theirs = view.theirs
    name = _caches_text(theirs)
    if not name or not trains_text_encoder(theirs) or theirs.family == "other" or theirs.has("config_file"):
        return
    if theirs.gui and theirs.family != "sdxl":
        return
    rate = theirs.number("text_encoder_lr")
    if rate == 0 and theirs.has("text_encoder_lr") and theirs.gui:
        return  # the GUI turns a rate of 0 into network_train_unet_only
    message = f"{theirs.key(name)} while the text encoder is trained: sd-scripts stops"
    yield theirs.hit(message, (name,), "set network_train_unet_only, or leave the cache out")


_STOPS = ("shuffle_caption", "caption_dropout_rate", "caption_tag_dropout_rate", "token_warmup_step")
_IGNORED = (
    *("caption_prefix", "caption_suffix", "enable_wildcard", "secondary_separator"),
    "caption_dropout_every_n_epochs",
)


@_theirs("LL252", "cached-text-that-changes", "error", source=f"{_ASSERT}; sd-scripts #1543")
def cached_text_that_changes(view: View) -> Iterator[Hit]:
    """The text encoder's outputs are cached, and captions are to change from step to step.

    What it does
    Looks for `cache_text_encoder_outputs` with shuffling, dropout or token warm-up; and with prefixes, suffixes and
    wildcards, which are then left out in silence.

    Why is this bad
    sd-scripts stops at the former; the latter never get into a caption.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    cache_text_encoder_outputs = true
    network_train_unet_only = true
    shuffle_caption = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    cache_text_encoder_outputs = true
    network_train_unet_only = true
    ```
    """
    theirs = view.theirs
    cache = _caches_text(theirs)
    if not cache or (theirs.gui and theirs.family == "sd"):
        return
    for name in _STOPS:
        if theirs.on(name):
            message = f"{theirs.key(name)} with {theirs.key(cache)}: sd-scripts stops, since captions can't change"
            yield theirs.hit(message, (name, cache), "take one of the two out")
    for name in _IGNORED:
        if theirs.on(name):
            message = f"{theirs.key(name)} is ignored with {theirs.key(cache)}: captions are encoded as they stand"
            yield theirs.hit(message, (name, cache), "write it into the captions, or leave the cache out", "warning")


@_theirs("LL253", "separator-stays", "warning", source="sd-scripts train_util.py process_caption")
def separator_stays(view: View) -> Iterator[Hit]:
    """`keep_tokens_separator` is set, and nothing would be shuffled or dropped.

    What it does
    Looks for it without shuffling, tag dropout and token warm-up.

    Why is this bad
    Captions are then used as they stand, with the separator among the words.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    keep_tokens_separator = "|||"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    keep_tokens_separator = "|||"
    shuffle_caption = true
    ```
    """
    theirs = view.theirs
    moves = ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step")
    if theirs.on("keep_tokens_separator") and not theirs.part.startswith("t"):
        every = {one.key for one in theirs.every if one.value not in (None, False, 0, "")}
        if not every & set(moves):
            message = "keep_tokens_separator stays in the captions as text: nothing is shuffled or dropped"
            yield theirs.hit(message, ("keep_tokens_separator",), "turn shuffle_caption on, or clean the captions")


@_theirs("LL254", "weights-shuffled", "warning", source="sd-scripts custom_train_functions.py")
def weights_shuffled(view: View) -> Iterator[Hit]:
    """Captions with weights, `(blue hair, long hair:1.2)`, are shuffled.

    What it does
    Looks for `weighted_captions` with `shuffle_caption`.

    Why is this bad
    Captions are cut at their commas, brackets or not, so the weights fall apart.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    weighted_captions = true
    shuffle_caption = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    weighted_captions = true
    ```
    """
    theirs = view.theirs
    if theirs.on("weighted_captions") and theirs.on("shuffle_caption"):
        message = f"{theirs.key('shuffle_caption')} takes weighted captions apart at their commas"
        yield theirs.hit(message, ("weighted_captions", "shuffle_caption"), "use one of the two")


@_theirs("LL255", "token-length-rounded", "warning", source="sd-scripts strategy_base.py _get_input_ids")
def token_length_rounded(view: View) -> Iterator[Hit]:
    """`max_token_length` is neither 75, 150 nor 225.

    What it does
    Looks for another number. On a command line 75 is one too: it is the flag left out.

    Why is this bad
    The command line refuses it; from a file it is rounded down to a multiple of 75, in silence.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    max_token_length = 100
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    max_token_length = 150
    ```
    """
    theirs = view.theirs
    length = theirs.number("max_token_length")
    if not length or theirs.dialect == "own" or (theirs.gui and length == 75):
        return
    name = theirs.key("max_token_length")
    if theirs.dialect == "sd-scripts-command" and length not in (150, 225):
        message = f"--{name} takes 150 or 225: the script stops at {length:g}"
        remedy = "leave it out" if length <= 77 else f"write {225 if length > 150 else 150}"
        yield theirs.hit(message, ("max_token_length",), remedy, "error")
    elif length % 75 or length > 225:
        taken = int(length // 75 * 75)
        message = f"{name} {length:g} is taken as {taken or 'no tokens at all'}"
        yield theirs.hit(message, ("max_token_length",), "write 150 or 225")
