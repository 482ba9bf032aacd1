"""LL609–LL611: masks of the pictures."""

from collections.abc import Iterator

from lora_lab.lint.finding import removed
from lora_lab.lint.rule import OURS, Hit, View, rule

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
