"""LL14x: what the headers of the pictures say."""

from collections.abc import Callable, Iterator
from functools import partial

from lora_lab.lint.data_folder import SUFFIXES_OF
from lora_lab.lint.dataset import DATA_KEYS, Seen, both, pictures
from lora_lab.lint.rule import Hit, View, rule

_seen = partial(rule, reads=DATA_KEYS, sees="disk")

PILLOW_WARNS = 89_478_485
PILLOW_REFUSES = 2 * PILLOW_WARNS
"""Pixels at which Pillow takes a picture for a decompression bomb (PIL.Image.MAX_IMAGE_PIXELS)."""


@_seen("LL141", "unreadable-picture", "error", source="lora_lab.train.data.folder; kohya_ss #1087 and many like it")
def unreadable_picture(view: View) -> Iterator[Hit]:
    """A file that should be a picture is none.

    What it does
    Reads the first bytes of each picture: empty files, web pages and Git LFS pointers saved as .jpg, broken headers.

    Why is this bad
    The run stops when it reads the file.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png: (empty)
    pics/10_cat/c.jpg: <!DOCTYPE html><title>Not found</title>
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```
    """
    for key, bad in _which(view, lambda seen: bool(seen.header.problem)):
        message = f"{len(bad)} picture(s) can't be read, such as {bad[0].name}: {bad[0].header.problem}"
        yield Hit(message, (key,), "remove them, or put the real pictures there")


@_seen("LL142", "cut-off-picture", "error", source="PIL.ImageFile: image file is truncated")
def cut_off_picture(view: View) -> Iterator[Hit]:
    """A picture's end is missing, as after a broken download or a full disk.

    What it does
    Looks for the end of the file's format: the last chunk of a PNG, the end marker of a JPEG, the length of a WebP or
    BMP. The pixels are not decoded.

    Why is this bad
    The run stops when it decodes the picture, which can be hours after its start.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png: half of 512x512
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    ```
    """
    for key, bad in _which(view, lambda seen: seen.header.cut_off):
        message = f"{len(bad)} picture(s) are cut off, such as {bad[0].name}: its end is missing"
        yield Hit(message, (key,), "fetch them again, or remove them")


@_seen("LL143", "picture-of-other-format", "info", source="PIL.Image.open goes by content, others by the suffix")
def picture_of_other_format(view: View) -> Iterator[Hit]:
    """A picture's suffix names another format than the file has.

    What it does
    Compares the suffix with the first bytes of each picture.

    Why is this bad
    Here the content counts, and the picture is read. Programs that go by the suffix refuse it.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png: GIF89a\\x40\\0\\x40\\0\\0\\0\\0
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    ```
    """
    for key, bad in _which(view, _other_format):
        message = f"{len(bad)} picture(s) have another format than their suffix says, such as {bad[0].name}"
        yield Hit(f"{message}: it is {_article(bad[0].header.kind)}", (key,), "give them the suffix of their format")


@_seen("LL144", "animated-picture", "warning", source="lora_lab.train.data.pixels; PIL.Image.open")
def animated_picture(view: View) -> Iterator[Hit]:
    """A picture is an animation.

    What it does
    Looks for the marks of animated PNG and WebP files.

    Why is this bad
    The first frame alone is trained, which is often blank or fading in.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png: animated 512x512
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    ```
    """
    for key, moving in _which(view, lambda seen: seen.header.animated):
        message = f"{len(moving)} picture(s) are animated, such as {moving[0].name}: only the first frame is trained"
        yield Hit(message, (key,), "save the frames that are meant as pictures of their own")


@_seen("LL145", "huge-picture", "info", source="PIL.Image.MAX_IMAGE_PIXELS")
def huge_picture(view: View) -> Iterator[Hit]:
    """A picture has so many pixels that reading it is slow, or is refused.

    What it does
    Looks for pictures of more than 89 million pixels; above 179 million it is an error.

    Why is this bad
    Decoding one takes seconds and hundreds of megabytes, only to shrink it to some hundred pixels a side. What is twice
    as large is taken for an attack on memory and refused: the run can't start.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png: 12000x8000
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png: 6000x4000
    ```
    """
    for key, huge in _which(view, lambda seen: _pixels(seen) > PILLOW_WARNS):
        largest = max(huge, key=_pixels)
        size = f"{largest.name} with {largest.size[0]}x{largest.size[1]} pixels"
        if _pixels(largest) > PILLOW_REFUSES:
            yield Hit(f"{size} is too large to be read", (key,), "shrink it", severity="error")
        else:
            message = f"{len(huge)} picture(s) are huge, {size} most of all"
            yield Hit(message, (key,), "shrink them: more than some megapixels teaches nothing")


def _which(view: View, is_meant: Callable[[Seen], bool]) -> Iterator[tuple[str, list[Seen]]]:
    """Yield the key of a data folder with those of its pictures that are meant, where there are some."""
    for key, data in both(view):
        found = [seen for seen in pictures(view.disk, data) if is_meant(seen)]
        if found:
            yield key, found


def _other_format(seen: Seen) -> bool:
    kind = seen.header.kind
    return bool(kind) and not seen.name.lower().endswith(SUFFIXES_OF.get(kind, ("no suffix",)))


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "AVIF" else f"a {kind}"


def _pixels(seen: Seen) -> int:
    return seen.header.width * seen.header.height
