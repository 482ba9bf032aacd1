"""LL13x: the paths of the data, and how many pictures they lead to."""

from collections.abc import Iterator
from typing import Final

from lora_lab.lint.dataset import training
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule

_PATHS: Final = ("base_model", "img_folder", "output_folder", "reg_img_folder", "vae", "lora_model_for_resume")
FEW: Final = 5


@rule(
    "LL131",
    "space-around-path",
    "warning",
    reads=(),
    source="https://github.com/kijai/ComfyUI-FluxTrainer/issues/108",
    sees="raw",
)
def space_around_path(view: View) -> Iterator[Hit]:
    """A path begins or ends with a space.

    What it does
    Looks at the texts of the paths, those of a data set file's folders too.

    Why is this bad
    The space is taken for a part of the name, so the folder is not found, or another one is made.

    Bad
    ```json
    {"img_folder": "pictures "}
    ```

    Good
    ```json
    {"img_folder": "my pictures"}
    ```
    """
    for key in _PATHS:
        value = view.values.get(key)
        if isinstance(value, str) and value.strip() and value != value.strip():
            fix = set_to(key, value.strip())
            yield Hit(f'{key} "{value}" has a space at its end or beginning', (key,), "take it out", fix)
    for named in view.document.origin.image_dirs if view.document.origin else ():
        if named.key not in view.values and named.path != named.path.strip():
            message = f'the path "{named.path}" has a space at its end or beginning'
            yield Hit(message, (named.key,), "take it out", span=named.span)


@rule(
    "LL132",
    "folder-named-twice",
    "warning",
    reads=(),
    source="sd-scripts library/train_util.py DreamBoothDataset: subset with the same image_dir is ignored",
)
def folder_named_twice(view: View) -> Iterator[Hit]:
    """One data set names a folder of pictures twice.

    What it does
    Compares the folders of each `[[datasets]]`; two of them may share a folder, as for two resolutions.

    Why is this bad
    The second is ignored, with its repeats and all.

    Bad
    ```toml
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "cats"
    num_repeats = 2
    [[datasets.subsets]]
    image_dir = "cats"
    num_repeats = 8
    ```

    Good
    ```toml
    [[datasets]]
    [[datasets.subsets]]
    image_dir = "cats"
    num_repeats = 10
    ```
    """
    seen: set[tuple[int, str]] = set()
    for named in view.document.origin.image_dirs if view.document.origin else ():
        place = (named.dataset, named.path.rstrip("/\\"))
        if place in seen:
            message = f'the folder "{named.path}" is named before in this data set: here it is ignored'
            yield Hit(message, (named.key,), "name it once, with the repeats that are meant", span=named.span)
        seen.add(place)


@rule("LL133", "few-pictures", "info", reads=("img_folder",), source="DreamBooth, arXiv:2208.12242: 3–5", sees="disk")
def few_pictures(view: View) -> Iterator[Hit]:
    """There are fewer than five pictures to learn from.

    What it does
    Counts the different pictures.

    Why is this bad
    What all of them share is learned, the pose and the background too.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    pics/10_cat/c.png
    pics/10_cat/d.png
    pics/10_cat/e.png
    ```
    """
    count = training(view).pictures
    if 0 < count < FEW:
        message = f"there are only {count} different picture(s) to learn from"
        yield Hit(message, ("img_folder",), "use 10 to 50 varied ones if you can")
