"""LL20x–LL21x: what the config says about captions. The caption files themselves are in `caption_files`."""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rule import Hit, View, rule

_PROCESS = "sd-scripts library/train_util.py process_caption"


@rule(
    "LL201",
    "caption-extension-without-dot",
    "error",
    reads=("caption_extension",),
    source="https://github.com/bmaltais/kohya_ss/issues/988",
    sees="raw",
)
def caption_extension_without_dot(view: View) -> Iterator[Hit]:
    """The extension of the caption files lacks its dot, or is empty.

    What it does
    Looks at the text of `caption_extension`.

    Why is this bad
    `txt` is not what the names end with: older tools find no caption then and take the folder's name for each. An empty
    one means `.caption` to sd-scripts and is the commonest silent failure of all.

    Bad
    ```json
    {"caption_extension": "txt"}
    ```

    Good
    ```json
    {"caption_extension": ".txt"}
    ```
    """
    value = view.values.get("caption_extension")
    if not isinstance(value, str) or value.startswith(".") or not value.isprintable():
        return
    if not value:
        message = "caption_extension is empty: sd-scripts takes that for .caption, while most captions are .txt"
        yield Hit(message, ("caption_extension",), "write what the files have", set_to("caption_extension", ".txt"))
    elif value.isalnum():
        fix = set_to("caption_extension", f".{value}")
        yield Hit(f'caption_extension "{value}" lacks its dot', ("caption_extension",), f'write ".{value}"', fix)


@rule(
    "LL202",
    "keep-tokens-without-effect",
    "warning",
    reads=("keep_tokens", "shuffle_captions", "caption_tag_dropout_rate", "token_warmup_step"),
    source=_PROCESS,
    idle=("keep_tokens",),
)
def keep_tokens_without_effect(view: View) -> Iterator[Hit]:
    """Tags are kept in place, but nothing would move or drop them.

    What it does
    Looks for `keep_tokens` without `shuffle_captions`, `caption_tag_dropout_rate` and `token_warmup_step`.

    Why is this bad
    The setting has no effect: the captions are used as they are.

    Bad
    ```json
    {"keep_tokens": 1, "shuffle_captions": false}
    ```

    Good
    ```json
    {"keep_tokens": 1, "shuffle_captions": true}
    ```
    """
    config = view.config
    moves = config.shuffle_captions or config.caption_tag_dropout_rate or config.token_warmup_step
    if 0 < config.keep_tokens < 1000 and not moves:
        message = "keep_tokens has no effect: the tags are neither shuffled nor dropped"
        remedy = "set shuffle_captions to true if the captions are tags, or leave keep_tokens out"
        yield Hit(message, ("keep_tokens",), remedy, removed("keep_tokens"))


@rule(
    "LL203",
    "trigger-dropped",
    "warning",
    reads=("keep_tokens", "caption_tag_dropout_rate", "keep_tokens_separator"),
    source=_PROCESS,
)
def trigger_dropped(view: View) -> Iterator[Hit]:
    """Tags are dropped at random, the trigger word among them.

    What it does
    Looks for `caption_tag_dropout_rate` with `keep_tokens` 0.

    Why is this bad
    The word that is to call the LoRA is missing from part of the captions, so it binds more weakly.

    Bad
    ```json
    {"caption_tag_dropout_rate": 0.1, "keep_tokens": 0}
    ```

    Good
    ```json
    {"caption_tag_dropout_rate": 0.1, "keep_tokens": 1}
    ```
    """
    kept = view.config.keep_tokens or view.config.keep_tokens_separator
    if 0 < view.config.caption_tag_dropout_rate < 1 and not kept:
        message = "caption_tag_dropout_rate drops the trigger word too"
        keys = ("caption_tag_dropout_rate", "keep_tokens")
        yield Hit(message, keys, "set keep_tokens to the number of leading tags to keep", set_to("keep_tokens", 1))


@rule(
    "LL204",
    "captions-always-empty",
    "error",
    reads=("caption_dropout_rate", "caption_dropout_every_n_epochs"),
    source=_PROCESS,
)
def captions_always_empty(view: View) -> Iterator[Hit]:
    """Every caption is dropped.

    What it does
    Looks for `caption_dropout_rate` 1 and for `caption_dropout_every_n_epochs` 1, which empties the captions of each
    epoch: the lower that number, the more is dropped.

    Why is this bad
    The LoRA is trained without a word, so no prompt can call it.

    Bad
    ```json
    {"caption_dropout_every_n_epochs": 1}
    ```

    Good
    ```json
    {"caption_dropout_every_n_epochs": 5, "num_epochs": 10}
    ```
    """
    if view.config.caption_dropout_rate >= 1:
        remedy = "use 0.05 to 0.1, or leave it out"
        yield Hit("caption_dropout_rate 1 drops every caption", ("caption_dropout_rate",), remedy)
    if view.config.caption_dropout_every_n_epochs == 1:
        key = "caption_dropout_every_n_epochs"
        message = f"{key} 1 empties the captions of every epoch"
        yield Hit(message, (key,), "use 3 or more, or leave it out", removed(key, safe=False))


@rule("LL205", "all-tags-dropped", "error", reads=("caption_tag_dropout_rate",), source=_PROCESS)
def all_tags_dropped(view: View) -> Iterator[Hit]:
    """Every tag is dropped.

    What it does
    Looks for `caption_tag_dropout_rate` 1.

    Why is this bad
    Only the tags of `keep_tokens` are ever seen, mostly none.

    Bad
    ```json
    {"caption_tag_dropout_rate": 1.0}
    ```

    Good
    ```json
    {"caption_tag_dropout_rate": 0.1, "keep_tokens": 1}
    ```
    """
    if view.config.caption_tag_dropout_rate >= 1:
        message = "caption_tag_dropout_rate 1 drops every tag that keep_tokens does not protect"
        yield Hit(message, ("caption_tag_dropout_rate",), "use 0.05 to 0.2")


@rule(
    "LL206",
    "caption-dropout-never",
    "warning",
    reads=("caption_dropout_every_n_epochs", "num_epochs", "max_steps"),
    source=_PROCESS,
    idle=("caption_dropout_every_n_epochs",),
)
def caption_dropout_never(view: View) -> Iterator[Hit]:
    """The epoch whose captions are to be empty never comes.

    What it does
    Compares `caption_dropout_every_n_epochs` with `num_epochs`, where the epochs decide the length of the run.

    Why is this bad
    The setting has no effect.

    Bad
    ```json
    {"caption_dropout_every_n_epochs": 20, "num_epochs": 10}
    ```

    Good
    ```json
    {"caption_dropout_every_n_epochs": 5, "num_epochs": 10}
    ```
    """
    every = view.config.caption_dropout_every_n_epochs
    if every and view.config.max_steps is None and every > view.config.num_epochs:
        key = "caption_dropout_every_n_epochs"
        message = f"{key} {every} never comes: the run has {view.config.num_epochs} epoch(s)"
        yield Hit(message, (key, "num_epochs"), "leave it out, or use a smaller number", removed(key))


@rule("LL207", "caption-dropout-high", "warning", reads=("caption_dropout_rate",), source=_PROCESS)
def caption_dropout_high(view: View) -> Iterator[Hit]:
    """More than half of the captions are dropped.

    What it does
    Looks for `caption_dropout_rate` above 0.5; 0.05 to 0.1 is what people use.

    Why is this bad
    Most steps train the picture without words, so the LoRA comes out weakly bound to its trigger and leaks into every
    prompt.

    Bad
    ```json
    {"caption_dropout_rate": 0.7}
    ```

    Good
    ```json
    {"caption_dropout_rate": 0.1}
    ```
    """
    if 0.5 < view.config.caption_dropout_rate < 1:
        message = f"caption_dropout_rate {view.config.caption_dropout_rate:g} drops most captions"
        yield Hit(message, ("caption_dropout_rate",), "use 0.05 to 0.1")


@rule(
    "LL208",
    "report-order-without-report",
    "info",
    reads=("tag_occurrence_txt_file", "sort_tag_occurrence_alphabetically"),
    source="LoRA_Easy_Training_Scripts d14b240 get_occurrence_of_tags",
    idle=("sort_tag_occurrence_alphabetically",),
)
def report_order_without_report(view: View) -> Iterator[Hit]:
    """The tag report is to be sorted, but none is written.

    What it does
    Looks for `sort_tag_occurrence_alphabetically` without `tag_occurrence_txt_file`.

    Why is this bad
    It has no effect.

    Bad
    ```json
    {"sort_tag_occurrence_alphabetically": true}
    ```

    Good
    ```json
    {"sort_tag_occurrence_alphabetically": true, "tag_occurrence_txt_file": true}
    ```
    """
    if view.config.sort_tag_occurrence_alphabetically and not view.config.tag_occurrence_txt_file:
        key = "sort_tag_occurrence_alphabetically"
        message = f"{key} has no effect without tag_occurrence_txt_file"
        yield Hit(message, (key,), "set tag_occurrence_txt_file to true, or leave it out", removed(key))
