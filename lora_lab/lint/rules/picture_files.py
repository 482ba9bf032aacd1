"""LL1xx: picture files that training does not see."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath

from lora_lab.lint.dataset import regularisation, training
from lora_lab.lint.rule import Hit, View, rule

OTHER_PICTURES = frozenset({".gif", ".avif", ".jxl", ".heic", ".heif", ".tif", ".tiff", ".jfif", ".psd", ".tga"})
"""Suffixes of pictures that the trainer does not read."""


@rule(
    "LL114",
    "pictures-of-other-kind",
    "warning",
    reads=("img_folder",),
    source="sd-scripts library/train_util.py IMAGE_EXTENSIONS",
    sees="disk",
)
def pictures_of_other_kind(view: View) -> Iterator[Hit]:
    """Some pictures are in a format that is not read.

    What it does
    Counts files such as .gif, .avif, .heic and .tif in the folders of pictures.

    Why is this bad
    They are passed over without a word. PNG, JPEG, WebP and BMP are read.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.heic
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.jpg
    ```
    """
    found = Counter(
        suffix
        for subset in training(view).used
        for name in subset.listing.files
        if (suffix := PurePath(name).suffix.lower()) in OTHER_PICTURES
    )
    if found:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common())
        message = f"pictures in formats that are not read: {kinds}"
        yield Hit(message, ("img_folder",), "convert them to PNG or JPEG")


@rule(
    "LL115",
    "nested-pictures",
    "warning",
    reads=("img_folder",),
    source="sd-scripts library/train_util.py load_dreambooth_dir",
    sees="disk",
)
def nested_pictures(view: View) -> Iterator[Hit]:
    """Pictures lie in a folder inside an `N_name` folder.

    What it does
    Looks one level deeper than the trainer does.

    Why is this bad
    Only the pictures directly in `N_name` are used; those of folders in it are passed over.

    Bad
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/more/b.png
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_more_cat/b.png
    ```
    """
    for subset in training(view).used:
        deeper = [name for name in subset.listing.folders if view.disk.listing(subset.path / name).pictures]
        if subset.listing.pictures and deeper:
            number = sum(len(view.disk.listing(subset.path / name).pictures) for name in deeper)
            message = f"{number} picture(s) in {subset.name}/{deeper[0]} are not used: they lie too deep"
            yield Hit(message, ("img_folder",), "move them up, or make an N_name folder of their own of them")


@rule(
    "LL125",
    "regularisation-left-over",
    "info",
    reads=("img_folder", "reg_img_folder"),
    source="sd-scripts library/train_util.py DreamBoothDataset",
    sees="disk",
)
def regularisation_left_over(view: View) -> Iterator[Hit]:
    """There are more regularisation pictures than are used.

    What it does
    Counts both kinds with their repeats.

    Why is this bad
    As many are shown as training pictures; the rest, the last ones by name, are never seen.

    Bad
    ```json
    {"img_folder": "pics", "reg_img_folder": "reg"}
    ```
    ```files
    pics/1_cat/a.png
    reg/1_animal/a.png
    reg/1_animal/b.png
    ```

    Good
    ```json
    {"img_folder": "pics", "reg_img_folder": "reg"}
    ```
    ```files
    pics/2_cat/a.png
    reg/1_animal/a.png
    reg/1_animal/b.png
    ```
    """
    data = regularisation(view)
    if data is None:
        return
    from lora_lab.config.buckets import balanced_repeats  # noqa: PLC0415 -- only if there are pictures

    wanted = training(view).samples
    own = [subset.repeats or 0 for subset in data.used for _ in subset.listing.pictures]
    left = len(own) - len(balanced_repeats(own, wanted))
    if wanted and left:
        message = f"{left} regularisation picture(s) are never shown: the training pictures count {wanted}"
        yield Hit(message, ("reg_img_folder", "img_folder"), "lower the repeats of the regularisation folders")
