"""LL2xx: what captions say."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from lora_lab.lint.caption_survey import MOST_CAPTIONS
from lora_lab.lint.dataset import captions, is_data_alone, training
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule

SHORTEST: Final = 75
LONGEST: Final = 225
"""Tokens of one pass of the text encoder, and the most that `max_clip_token_length` allows."""

_NETWORK_TAG = r"<(?:lora|lyco|hypernet):[^>]+>"
_EMPHASIS = rf"\([^()]+:\d(?:\.\d+)?\)|{_NETWORK_TAG}"


@rule(
    "LL228",
    "nameless-folder-without-captions",
    "warning",
    reads=("img_folder", "caption_extension"),
    source="sd-scripts library/config_util.py extract_dreambooth_params",
    sees="disk",
)
def nameless_folder_without_captions(view: View) -> Iterator[Hit]:
    """Pictures have no caption, and their folder's name has no words to stand in for it.

    What it does
    Looks for pictures without a caption file in folders that are called `10` and not `10_cat`.

    Why is this bad
    They are trained with an empty caption: what they show goes into every picture, not into a word.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10/a.png
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    ```
    """
    missing = captions(view).missing
    for subset in training(view).used:
        mine = [name for name in missing if name.startswith(f"{subset.name}/")]
        if subset.name.strip("0123456789_") == "" and mine:
            message = f"{len(mine)} picture(s) in folder {subset.name} have no caption, and it has no name to use"
            yield Hit(message, ("img_folder",), f"rename it to {subset.name.rstrip('_')}_WORDS, or write captions")


@rule(
    "LL229",
    "emphasis-is-literal",
    "warning",
    reads=("img_folder", "caption_extension", "weighted_captions"),
    source="sd-scripts library/strategy_base.py parse_prompt_attention",
    sees="disk",
)
def emphasis_is_literal(view: View) -> Iterator[Hit]:
    """A caption has the weights of a prompt, such as `(blue hair:1.3)` or `<lora:name:1>`.

    What it does
    Looks for them in the captions.

    Why is this bad
    They are syntax of image generators. In training the brackets and numbers are words like any other, and are learned.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, (blue eyes:1.3)
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, blue eyes, saber (fate)
    ```
    """
    texts = captions(view).texts
    weighted = view.config.weighted_captions
    syntax = _NETWORK_TAG if weighted else _EMPHASIS
    found = ((name, match.group()) for name, text in texts.items() if (match := re.search(syntax, text)))
    for name, weight in islice(found, 1):
        message = f"{name} has {weight}, which is a prompt's syntax: in training it is taken literally"
        remedy = "write the words alone" if weighted else "write the words alone, or set weighted_captions"
        yield Hit(message, ("img_folder",), remedy)


@rule(
    "LL230",
    "caption-too-long",
    "warning",
    reads=("img_folder", "caption_extension", "max_clip_token_length", "shuffle_captions", "weighted_captions"),
    source="CLIP's tokenizer, https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py",
    sees="disk",
)
def caption_too_long(view: View) -> Iterator[Hit]:
    """A caption has more tokens than the text encoder reads.

    What it does
    Counts the tokens that CLIP's tokenizer makes of each caption and compares them with `max_clip_token_length`. It
    shows the end of the longest caption, which is not read.

    Why is this bad
    The end of the caption is cut off without a word; where tags are shuffled, other ones each time.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: 0123456789012345678901234567890123456789012345678901234567890123456789 a, b, c, d
    ```

    Good
    ```json
    {"img_folder": "pics", "max_clip_token_length": 150}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: 0123456789012345678901234567890123456789012345678901234567890123456789 a, b, c, d
    ```
    """
    from lora_lab.lint.clip_tokens import beyond, count_tokens, most_tokens  # noqa: PLC0415 -- only if there are captions

    limit = LONGEST if is_data_alone(view) else view.config.max_clip_token_length
    texts = _read_texts(view)
    counts = {name: count_tokens(text) for name, text in texts.items() if most_tokens(text) > limit}
    long = {name: count for name, count in counts.items() if count > limit}
    if long:
        longest = max(long, key=lambda name: long[name])
        lost = beyond(texts[longest], limit)
        shown = lost if len(lost) <= 60 else f"{lost[:60].rstrip()} …"
        message = (
            f"{len(long)} caption(s) have more than {limit} tokens and are cut: {longest} has {long[longest]} "
            f'and loses "{shown}"'
        )
        if view.config.shuffle_captions:
            message += ", or other tags when they are shuffled"
        keys = ("img_folder",) if is_data_alone(view) else ("max_clip_token_length", "img_folder")
        enough = min((step for step in (150, LONGEST) if step >= long[longest]), default=LONGEST)
        more = f"shorten them, or raise max_clip_token_length to {enough}"
        yield Hit(message, keys, "shorten them" if limit == LONGEST else more)


@rule(
    "LL231",
    "room-for-longer-captions",
    "info",
    reads=("img_folder", "caption_extension", "max_clip_token_length", "weighted_captions"),
    source="sd-scripts library/strategy_sd.py encode_tokens",
    sees="disk",
)
def room_for_longer_captions(view: View) -> Iterator[Hit]:
    """`max_clip_token_length` makes room for captions that are longer than any that is there.

    What it does
    Counts the tokens of every caption, where the limit is above 75.

    Why is this bad
    Each step runs the text encoder two or three times, the second and third time on padding.

    Bad
    ```json
    {"img_folder": "pics", "max_clip_token_length": 225}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, blue eyes
    ```

    Good
    ```json
    {"img_folder": "pics", "max_clip_token_length": 75}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, blue eyes
    ```
    """
    limit, texts = view.config.max_clip_token_length, _read_texts(view)
    if limit == SHORTEST or not texts or len(texts) >= MOST_CAPTIONS:
        return
    from lora_lab.lint.clip_tokens import count_tokens  # noqa: PLC0415 -- only if there are captions

    most = max(map(count_tokens, texts.values()))
    enough = -(-max(most, 1) // SHORTEST) * SHORTEST
    if enough < limit:
        message = f"max_clip_token_length {limit} is for longer captions: the longest has {most} tokens"
        fix = set_to("max_clip_token_length", enough)
        yield Hit(message, ("max_clip_token_length", "img_folder"), f"{enough} is enough", fix)


def _read_texts(view: View) -> Mapping[str, str]:
    """Return the captions as the tokenizer gets them: with `weighted_captions`, without brackets and weights."""
    texts = captions(view).texts
    if not view.config.weighted_captions:
        return texts
    from lora_lab.config.emphasis import read_emphasis  # noqa: PLC0415 -- only if captions are weighted

    return {name: read_emphasis(text).text for name, text in texts.items()}
