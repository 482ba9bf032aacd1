"""LL609–LL613: masks of the pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.lint.data_folder import PICTURE_SUFFIXES, Listing, Subset, suffix_of
from lora_lab.lint.dataset import training
from lora_lab.lint.finding import removed
from lora_lab.lint.rule import OURS, Hit, View, rule

if TYPE_CHECKING:
    from lora_lab.lint.picture_header import PictureHeader

_APPLY = "sd-scripts library/custom_train_functions.py apply_masked_loss"


@rule(
    "LL609",
    "masked-loss-without-masks",
    "error",
    reads=("masked_loss", "mask_folder", "alpha_mask"),
    source=_APPLY,
    targets=OURS,
)
def masked_loss_without_masks(view: View) -> Iterator[Hit]:
    """The loss is to be masked, and there are no masks.

    What it does
    Looks for `masked_loss` without `mask_folder` and `alpha_mask`.

    Why is this bad
    The run ends at its start. sd-scripts trains whole pictures then, and says nothing.

    Bad
    ```json
    {"masked_loss": true}
    ```

    Good
    ```json
    {"masked_loss": true, "alpha_mask": true}
    ```
    """
    if view.config.masked_loss and not view.config.mask_folder and not view.config.alpha_mask:
        yield Hit("masked_loss has no masks", ("masked_loss",), "name mask_folder, or set alpha_mask to true")


@rule(
    "LL610",
    "masks-without-effect",
    "warning",
    reads=("masked_loss", "mask_folder"),
    source=_APPLY,
    targets=OURS,
    idle=("mask_folder",),
)
def masks_without_effect(view: View) -> Iterator[Hit]:
    """A folder of masks is named, and the loss is not masked.

    What it does
    Looks for `mask_folder` without `masked_loss`.

    Why is this bad
    The masks are not looked at: whole pictures are learned.

    Bad
    ```json
    {"mask_folder": "a/masks"}
    ```

    Good
    ```json
    {"mask_folder": "a/masks", "masked_loss": true}
    ```
    """
    alone = view.document.origin is not None and view.document.origin.partial == "dataset"
    if view.config.mask_folder and not view.config.masked_loss and not alone:
        message = "mask_folder has no effect without masked_loss"
        yield Hit(message, ("mask_folder",), "set masked_loss to true", removed("mask_folder"))


@rule(
    "LL611",
    "alpha-mask-overridden",
    "info",
    reads=("masked_loss", "mask_folder", "alpha_mask", "reg_img_folder"),
    source=_APPLY,
    idle=("alpha_mask",),
)
def alpha_mask_overridden(view: View) -> Iterator[Hit]:
    """Masks come from a folder and from the alpha channel.

    What it does
    Looks for `alpha_mask` beside `mask_folder` and `masked_loss`.

    Why is this bad
    The folder wins for every training picture.

    Bad
    ```json
    {"alpha_mask": true, "masked_loss": true, "mask_folder": "a/masks"}
    ```

    Good
    ```json
    {"masked_loss": true, "mask_folder": "a/masks"}
    ```
    """
    config = view.config
    if config.alpha_mask and config.masked_loss and config.mask_folder and not config.reg_img_folder:
        message = "alpha_mask has no effect: every picture has its mask in mask_folder"
        yield Hit(message, ("alpha_mask", "mask_folder"), "leave it out", removed("alpha_mask"))


_ON_DISK = ("masked_loss", "mask_folder", "img_folder")


@rule("LL612", "mask-does-not-fit", "error", reads=_ON_DISK, source="lora_lab/train/data/masks.py", sees="disk")
def mask_does_not_fit(view: View) -> Iterator[Hit]:
    """A picture has no mask in the folder of masks, or one of another size.

    What it does
    Looks for a mask for each training picture, in `mask_folder/10_name` and in `mask_folder`, and compares the sizes
    that their headers tell.

    Why is this bad
    The run ends at its start: it can't be known what is to be learned of that picture. sd-scripts stops, too.

    Bad
    ```json
    {"img_folder": "pics", "mask_folder": "masks", "masked_loss": true}
    ```
    ```files
    pics/10_cat/a.png: 512x512
    pics/10_cat/b.png: 512x512
    masks/a.png: 256x256
    ```

    Good
    ```json
    {"img_folder": "pics", "mask_folder": "masks", "masked_loss": true}
    ```
    ```files
    pics/10_cat/a.png: 512x512
    pics/10_cat/b.png: 512x512
    masks/a.png: 512x512
    masks/10_cat/b.png: 512x512
    ```
    """
    if not view.config.masked_loss or not view.config.mask_folder:
        return
    folder = view.disk.resolve(view.config.mask_folder)
    if not view.disk.is_folder(folder):
        yield Hit(f"there is no folder of masks {folder}", ("mask_folder",), "name the folder that holds them")
        return
    missing: list[str] = []
    other: list[str] = []
    for subset in training(view).used:
        for name, header in view.disk.headers(subset).items():
            mask = _mask_of(view, folder, subset, name)
            if mask is None:
                missing.append(f"{subset.name}/{name}")
            elif (size := _size_of(view, mask)) and header.sized and size != (header.width, header.height):
                wrong = f"{mask.name} is {size[0]}x{size[1]}, its picture {header.width}x{header.height}"
                other.append(wrong)
    if missing:
        message = f"{len(missing)} picture(s) have no mask in {view.config.mask_folder}, such as {missing[0]}"
        yield Hit(message, ("mask_folder", "masked_loss"), "put one there: white is learned, black is not")
    if other:
        message = f"{len(other)} mask(s) have another size than their pictures: {other[0]}"
        yield Hit(message, ("mask_folder", "masked_loss"), "save them in the size of the pictures")


@rule("LL613", "mask-all-black", "warning", reads=_ON_DISK, source="lora_lab/train/step.py", sees="disk")
def mask_all_black(view: View) -> Iterator[Hit]:
    """A mask is black all over.

    What it does
    Looks into the masks that are small PNG files, as black ones are.

    Why is this bad
    Nothing of the picture is learned, and each of its uses costs as much as any other. Often black and white were
    mistaken for each other.

    Bad
    ```json
    {"img_folder": "pics", "mask_folder": "masks", "masked_loss": true}
    ```
    ```files
    pics/10_cat/a.png: 512x512
    masks/a.png: 512x512
    ```

    Good
    ```json
    {"img_folder": "pics", "masked_loss": true, "alpha_mask": true}
    ```
    ```files
    pics/10_cat/a.png: 512x512
    ```
    """
    if not view.config.masked_loss or not view.config.mask_folder:
        return
    from lora_lab.lint.black import is_black  # noqa: PLC0415 -- only if there are masks

    folder, black = view.disk.resolve(view.config.mask_folder), []
    for subset in training(view).used:
        for name in subset.listing.pictures:
            mask = _mask_of(view, folder, subset, name)
            if mask is not None and view.disk.kept(("black", str(mask)), lambda: is_black(mask)):  # noqa: B023
                black.append(mask.name)
    if black:
        message = f"{len(black)} mask(s) are black all over, such as {black[0]}: nothing of their pictures is learned"
        yield Hit(message, ("mask_folder", "masked_loss"), "white is learned: invert them, or take the pictures out")


def _mask_of(view: View, folder: Path, subset: Subset, picture: str) -> Path | None:
    """Return where the mask of a picture lies, None where there is none."""
    stem = picture.rpartition(".")[0]
    for place in (folder / subset.path.name, folder):
        name = _by_stem(view, place).get(stem)
        if name is not None:
            return place / name
    return None


def _by_stem(view: View, folder: Path) -> dict[str, str]:
    """Return the pictures of a folder by their names without the ending."""

    def read() -> dict[str, str]:
        listing: Listing = view.disk.listing(folder)
        return {name.rpartition(".")[0]: name for name in listing.files if suffix_of(name) in PICTURE_SUFFIXES}

    return view.disk.kept(("masks", str(folder)), read)


def _size_of(view: View, mask: Path) -> tuple[int, int] | None:
    """Return width and height of a mask, None where its header does not tell."""
    from lora_lab.lint.picture_header import read_picture_header  # noqa: PLC0415 -- only if there are masks

    header: PictureHeader | None = view.disk.kept(("mask", str(mask)), lambda: read_picture_header(mask))
    return (header.width, header.height) if header is not None and header.sized else None
