"""LL22x: the caption files beside the pictures."""

from collections.abc import Iterator

from lora_lab.lint.dataset import both, captions, extension, extension_is_open
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule

_READS = ("img_folder", "caption_extension")
_READ_CAPTION = "sd-scripts library/train_util.py read_caption"


@rule(
    "LL220",
    "captions-have-other-extension",
    "error",
    reads=_READS,
    source="https://github.com/bmaltais/kohya_ss/issues/988",
    sees="disk",
)
def captions_have_other_extension(view: View) -> Iterator[Hit]:
    """No caption has the extension that the config names, but captions with another one are there.

    What it does
    Looks for `.txt`, `.caption`, `.tags` and `.cap` files beside the pictures.

    Why is this bad
    The folder's name then stands in for every caption, and the LoRA learns one word. The tools say so in one line of a
    long log, if at all.

    Bad
    ```json
    {"img_folder": "pictures", "caption_extension": ".caption"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat
    ```

    Good
    ```json
    {"img_folder": "pictures", "caption_extension": ".txt"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat
    ```
    """
    if extension_is_open(view):
        yield from _extension_left_out(view)
        return
    found = captions(view)
    if found.texts or not found.other_suffixes:
        return
    suffix, count = found.other_suffixes[0]
    message = f"no caption ends in {view.config.caption_extension}, but {count} end(s) in {suffix}"
    fix = set_to("caption_extension", suffix)
    yield Hit(message, ("caption_extension", "img_folder"), f'set caption_extension to "{suffix}"', fix)


def _extension_left_out(view: View) -> Iterator[Hit]:
    """Judge a data set file of sd-scripts that says no extension: then it is .caption, or the command line says it."""
    suffix = extension(view)
    count = len(captions(view).texts)
    if suffix != ".caption" and count:
        message = (
            f"no caption_extension is given, so .caption files are looked for, and {count} caption(s) end in {suffix}"
        )
        remedy = f'set caption_extension to "{suffix}" (or --caption_extension on the command line)'
        yield Hit(message, ("img_folder",), remedy, severity="warning")


@rule("LL221", "pictures-without-caption", "warning", reads=_READS, source=_READ_CAPTION, sees="disk")
def pictures_without_caption(view: View) -> Iterator[Hit]:
    """Some pictures have a caption file and some have none.

    What it does
    Counts the pictures without one, where others have one. (A data set without any caption file is a way of working:
    the folder's name is the caption.)

    Why is this bad
    The folder's name is their caption, which was hardly meant for a few of many.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat on a chair
    pictures/10_cat/b.png
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat on a chair
    ```
    """
    found = captions(view)
    if found.missing and found.texts:
        count = len(found.missing)
        message = f"{count} picture(s) have no {extension(view)} file, such as {found.missing[0]}"
        remedy = "write captions for them: until then the folder's name is used"
        if found.other_suffixes:
            other, number = found.other_suffixes[0]
            remedy += f"; {number} caption(s) end in {other}, which is not read"
        yield Hit(message, ("img_folder",), remedy)


@rule("LL222", "empty-caption", "warning", reads=(*_READS, "enable_wildcard"), source=_READ_CAPTION, sees="disk")
def empty_caption(view: View) -> Iterator[Hit]:
    """A caption file is empty.

    What it does
    Looks for caption files without a letter in them, or whose first line is blank: only that line is read.

    Why is this bad
    The picture is trained without words. sd-scripts stops at a file of 0 bytes.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt:
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat
    ```
    """
    found = captions(view)
    blank_start = tuple(name for name in found.more_lines if not found.texts.get(name))
    empty = found.empty + (() if view.config.enable_wildcard else blank_start)
    if empty:
        message = f"{len(empty)} caption(s) are empty or begin with a blank line, such as {empty[0]}"
        yield Hit(message, ("img_folder",), "write the caption into the first line, or remove the file")


@rule("LL223", "caption-not-utf8", "error", reads=(*_READS, "reg_img_folder"), source=_READ_CAPTION, sees="disk")
def caption_not_utf8(view: View) -> Iterator[Hit]:
    """A caption file is not UTF-8.

    What it does
    Decodes every caption file, those of the regularisation pictures too, and guesses what the text is instead.

    Why is this bad
    The run stops when it reads the file.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: \\xff\\xfea
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat
    ```
    """
    for key, data in both(view):
        bad = view.disk.captions(data, extension(view)).not_utf8
        if bad:
            name, looks_like = bad[0]
            message = f"{len(bad)} caption(s) are not UTF-8, such as {name}: it looks like {looks_like}"
            yield Hit(message, (key,), "save them as UTF-8")


@rule(
    "LL224", "caption-lines-ignored", "warning", reads=(*_READS, "enable_wildcard"), source=_READ_CAPTION, sees="disk"
)
def caption_lines_ignored(view: View) -> Iterator[Hit]:
    """A caption has more than one line, and only the first is read.

    What it does
    Looks for text after the first line of each caption file.

    Why is this bad
    What stands there is never learned.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat\\non a chair
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat, on a chair
    ```
    """
    names = captions(view).more_lines
    if names and not view.config.enable_wildcard:
        message = f"{len(names)} caption(s) have several lines, of which the first is read, such as {names[0]}"
        yield Hit(
            message, ("img_folder",), "put the caption into one line, or set enable_wildcard to draw one each time"
        )


@rule("LL232", "caption-named-after-whole-file", "warning", reads=_READS, source=_READ_CAPTION, sees="disk")
def caption_named_after_whole_file(view: View) -> Iterator[Hit]:
    """A caption is called `a.png.txt`, where `a.txt` is looked for.

    What it does
    Looks for captions whose name holds the picture's suffix too, beside pictures without a caption.

    Why is this bad
    The caption is never read: the folder's name stands in for it.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.png.txt: a cat
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.txt: a cat
    ```
    """
    lost = captions(view).lost
    if lost:
        message = f"{len(lost)} caption(s) carry the picture's suffix in their name and are not read, such as {lost[0]}"
        yield Hit(message, ("img_folder",), "take the picture's suffix out of the names")
