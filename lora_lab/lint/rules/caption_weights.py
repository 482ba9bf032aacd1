"""LL234–LL236: `weighted_captions`, and the brackets that it reads."""

from collections.abc import Iterator

from lora_lab.lint.dataset import captions
from lora_lab.lint.finding import removed
from lora_lab.lint.rule import OURS, Hit, View, rule

_READS = ("img_folder", "caption_extension", "weighted_captions")
_PARSE = "sd-scripts library/strategy_base.py parse_prompt_attention"


@rule("LL234", "no-weights-in-captions", "info", reads=_READS, source=_PARSE, sees="disk", targets=OURS)
def no_weights_in_captions(view: View) -> Iterator[Hit]:
    """`weighted_captions` is on, and no caption has a weight.

    What it does
    Looks for words in brackets in the captions.

    Why is this bad
    It does nothing. Perhaps the captions with weights are elsewhere.

    Bad
    ```json
    {"img_folder": "pics", "weighted_captions": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, blue eyes
    ```

    Good
    ```json
    {"img_folder": "pics", "weighted_captions": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, (blue eyes:1.3)
    ```
    """
    from lora_lab.config.emphasis import read_emphasis  # noqa: PLC0415 -- only if there are captions

    texts = captions(view).texts if view.config.weighted_captions else {}
    if texts and not any(read_emphasis(text).weighted for text in texts.values()):
        message = "weighted_captions has no effect: no caption has a word in brackets"
        yield Hit(message, ("weighted_captions", "img_folder"), "leave it out", removed("weighted_captions"))


@rule("LL235", "bracket-without-partner", "warning", reads=_READS, source=_PARSE, sees="disk", targets=OURS)
def bracket_without_partner(view: View) -> Iterator[Hit]:
    """With `weighted_captions` a caption has a bracket that is never closed, or closes nothing.

    What it does
    Looks for such brackets in the captions. A smiley such as `:)` is written `:\\)`.

    Why is this bad
    A bracket that is never closed weights the rest of the caption; one that closes nothing is learned as a word.

    Bad
    ```json
    {"img_folder": "pics", "weighted_captions": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, (blue eyes, sitting
    ```

    Good
    ```json
    {"img_folder": "pics", "weighted_captions": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, (blue eyes), sitting
    ```
    """
    from lora_lab.config.emphasis import read_emphasis  # noqa: PLC0415 -- only if there are captions

    texts = captions(view).texts if view.config.weighted_captions else {}
    found = {name: read_emphasis(text) for name, text in texts.items()}
    wrong = [name for name, one in found.items() if one.unclosed or one.unopened]
    if wrong:
        what = "is never closed" if found[wrong[0]].unclosed else "closes nothing"
        message = f"{len(wrong)} caption(s) have a bracket without a partner: in {wrong[0]} one {what}"
        yield Hit(
            message, ("img_folder", "weighted_captions"), "mend it, or write \\\\( or \\\\) for one that is meant"
        )


@rule(
    "LL236",
    "weight-over-several-tags",
    "warning",
    reads=(*_READS, "shuffle_captions", "caption_tag_dropout_rate", "token_warmup_step"),
    source="sd-scripts library/custom_train_functions.py add_custom_train_arguments",
    sees="disk",
    targets=OURS,
)
def weight_over_several_tags(view: View) -> Iterator[Hit]:
    """A bracket holds several tags, and tags are shuffled or dropped.

    What it does
    Looks for a comma between the brackets of a weight where `shuffle_captions`, `caption_tag_dropout_rate` or
    `token_warmup_step` take captions apart at their commas.

    Why is this bad
    The bracket is torn apart: its weight then holds for other tags, and changes each time.

    Bad
    ```json
    {"img_folder": "pics", "weighted_captions": true, "shuffle_captions": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, (blue eyes, sitting:1.2), mat
    ```

    Good
    ```json
    {"img_folder": "pics", "weighted_captions": true, "shuffle_captions": true}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, (blue eyes:1.2), (sitting:1.2), mat
    ```
    """
    config = view.config
    moves = config.shuffle_captions or config.caption_tag_dropout_rate or config.token_warmup_step
    if not config.weighted_captions or not moves:
        return
    from lora_lab.config.emphasis import read_emphasis  # noqa: PLC0415 -- only if there are captions

    for name, text in captions(view).texts.items():
        torn = next((one for one in text.split(",") if any(read_emphasis(one)[1:])), None)
        if torn is not None and not any(read_emphasis(text)[1:]):
            message = f"a bracket in {name} holds several tags, which are moved or dropped one by one: {torn.strip()}"
            yield Hit(message, ("img_folder", "weighted_captions"), "give each tag brackets of its own")
            return
