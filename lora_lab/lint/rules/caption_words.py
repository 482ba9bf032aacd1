"""LL2xx: what captions say."""

import re
from collections.abc import Iterator
from itertools import islice

from lora_lab.lint.rule import Hit, View, rule

_EMPHASIS = r"\([^()]+:\d(?:\.\d+)?\)|<(?:lora|lyco|hypernet):[^>]+>"


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
    folder = view.disk.resolve(view.config.img_folder)
    missing = view.disk.captions(folder, view.config.caption_extension).missing
    for subset in view.disk.data_folder(folder).subsets:
        mine = [name for name in missing if name.startswith(f"{subset.name}/")]
        if subset.used and subset.name.strip("0123456789_") == "" and mine:
            message = f"{len(mine)} picture(s) in folder {subset.name} have no caption, and it has no name to use"
            yield Hit(message, ("img_folder",), f"rename it to {subset.name.rstrip('_')}_WORDS, or write captions")


@rule(
    "LL229",
    "emphasis-is-literal",
    "warning",
    reads=("img_folder", "caption_extension"),
    source="sd-scripts weighted_captions (off by default; lora_lab has none)",
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
    captions = view.disk.captions(view.disk.resolve(view.config.img_folder), view.config.caption_extension)
    found = ((name, match.group()) for name, text in captions.texts.items() if (match := re.search(_EMPHASIS, text)))
    for name, weight in islice(found, 1):
        message = f"{name} has {weight}, which is a prompt's syntax: in training it is taken literally"
        yield Hit(message, ("img_folder",), "write the words alone")


@rule(
    "LL230",
    "caption-too-long",
    "warning",
    reads=("img_folder", "caption_extension", "max_clip_token_length"),
    source="CLIP's tokenizer, https://github.com/openai/CLIP/blob/main/clip/simple_tokenizer.py",
    sees="disk",
)
def caption_too_long(view: View) -> Iterator[Hit]:
    """A caption has more words than the text encoder reads.

    What it does
    Counts words, digits and punctuation, each of which is at least one token, and compares them with
    `max_clip_token_length`. What it reports is certainly cut; a caption a little shorter may be too, since rare words
    are several tokens.

    Why is this bad
    The end of the caption is cut off without a word.

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
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/a.txt: cat, blue eyes
    ```
    """
    limit = view.config.max_clip_token_length
    captions = view.disk.captions(view.disk.resolve(view.config.img_folder), view.config.caption_extension)
    long = [name for name, text in captions.texts.items() if len(text) > limit and _least_tokens(text) > limit]
    if long:
        message = f"{len(long)} caption(s) have more than {limit} tokens and are cut, {long[0]} among them"
        remedy = "shorten them" if limit == 225 else "shorten them, or raise max_clip_token_length to 225"
        yield Hit(message, ("max_clip_token_length", "img_folder"), remedy)


def _least_tokens(text: str) -> int:
    """Return how many tokens a text has at least: the pieces that CLIP's tokenizer never joins."""
    return len(re.findall(r"[^\W\d_]+|\d|(?:[^\s\w]|_)+", text))
