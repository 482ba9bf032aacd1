"""LL22x: what the captions say, against what is done with them."""

from collections import Counter
from collections.abc import Iterator

from lora_lab.lint.dataset import captions
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule

_READS = ("img_folder", "caption_extension")
_READ_CAPTION = "sd-scripts library/train_util.py read_caption"


@rule(
    "LL225",
    "trigger-shuffled",
    "info",
    reads=(*_READS, "shuffle_captions", "keep_tokens", "keep_tokens_separator"),
    source="sd-scripts library/train_util.py process_caption",
    sees="disk",
)
def trigger_shuffled(view: View) -> Iterator[Hit]:
    """Every caption starts with the same tag, and shuffling moves it.

    What it does
    Looks for a first tag that all captions share, with `shuffle_captions` and without `keep_tokens`.

    Why is this bad
    A trigger word works best where it always stands; far back in a long caption it can even be cut off.

    Bad
    ```json
    {"img_folder": "pictures", "shuffle_captions": true}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: sks, cat, chair
    pictures/10_cat/b.png
    pictures/10_cat/b.txt: sks, cat, grass
    ```

    Good
    ```json
    {"img_folder": "pictures", "shuffle_captions": true, "keep_tokens": 1}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: sks, cat, chair
    pictures/10_cat/b.png
    pictures/10_cat/b.txt: sks, cat, grass
    ```
    """
    if not view.config.shuffle_captions or view.config.keep_tokens or view.config.keep_tokens_separator:
        return
    tagged = [text for text in captions(view).texts.values() if "," in text]
    firsts = {text.split(",")[0].strip() for text in tagged}
    if len(tagged) > 1 and len(firsts) == 1 and len(tagged) == len(captions(view).texts):
        message = f'every caption starts with "{firsts.pop()[:40]}", and shuffle_captions moves it'
        keys = ("shuffle_captions", "keep_tokens")
        yield Hit(message, keys, "set keep_tokens to 1 to keep it in front", set_to("keep_tokens", 1))


@rule(
    "LL226",
    "sentences-shuffled",
    "warning",
    reads=(*_READS, "shuffle_captions"),
    source="sd-scripts library/train_util.py process_caption",
    sees="disk",
)
def sentences_shuffled(view: View) -> Iterator[Hit]:
    """The captions read like sentences, and their parts are shuffled.

    What it does
    Looks at the pieces between the commas: where they are long in most captions, the text is prose and not tags.

    Why is this bad
    A sentence is cut at its commas and put together in another order each time.

    Bad
    ```json
    {"img_folder": "pictures", "shuffle_captions": true}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: A black cat sits on an old wooden chair, looking out of the rainy window at birds.
    ```

    Good
    ```json
    {"img_folder": "pictures", "shuffle_captions": false}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: A black cat sits on an old wooden chair, looking out of the rainy window at birds.
    ```
    """
    if not view.config.shuffle_captions:
        return
    texts = [text for text in captions(view).texts.values() if "," in text]
    prose = sum(len(text.split()) >= 6 * (text.count(",") + 1) for text in texts)
    if texts and prose * 2 > len(texts):
        message = (
            f"{prose} of {len(texts)} captions with commas read like sentences, and shuffle_captions reorders them"
        )
        yield Hit(message, ("shuffle_captions",), "set it to false", set_to("shuffle_captions", False))


@rule(
    "LL227",
    "nothing-left-to-shuffle",
    "warning",
    reads=(*_READS, "shuffle_captions", "keep_tokens", "keep_tokens_separator"),
    source="sd-scripts library/train_util.py process_caption",
    sees="disk",
)
def nothing_left_to_shuffle(view: View) -> Iterator[Hit]:
    """`keep_tokens` covers whole captions, so nothing of them is shuffled.

    What it does
    Compares `keep_tokens` with the number of tags of the captions, where it covers at least half of them.

    Why is this bad
    Shuffling is on and does nothing for them.

    Bad
    ```json
    {"img_folder": "pictures", "shuffle_captions": true, "keep_tokens": 5}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: sks, cat, chair
    ```

    Good
    ```json
    {"img_folder": "pictures", "shuffle_captions": true, "keep_tokens": 1}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: sks, cat, chair
    ```
    """
    keep = view.config.keep_tokens
    if not view.config.shuffle_captions or not keep:
        return
    mark = view.config.keep_tokens_separator
    texts = [text for text in captions(view).texts.values() if text and not (mark and mark in text)]
    tags = Counter(text.count(",") + 1 for text in texts)
    covered = sum(count for size, count in tags.items() if size <= keep)
    if covered and covered * 2 >= tags.total():
        message = f"keep_tokens {keep} covers all tags of {covered} caption(s): nothing of them is shuffled"
        yield Hit(
            message,
            ("keep_tokens",),
            "use the number of leading tags that must stay, mostly 1",
            set_to("keep_tokens", 1),
        )
