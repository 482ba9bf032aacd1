"""Masks: which places of the pictures the loss looks at."""

from typing import Annotated, ClassVar

from lora_lab.config.about import About, Pitfall, Topic, same
from lora_lab.config.files import Text


class Masks(Topic):
    """Parts of pictures that are not learned."""

    title: ClassVar[str] = "Pictures"

    masked_loss: Annotated[
        bool,
        About(
            row=116,
            meaning=(
                "Multiply the loss at each place by a mask, from 0 (black) to 1 (white): that of `mask_folder`, or of "
                "the alpha channel."
            ),
            typical="false; true to leave backgrounds, lettering or other people out.",
            pitfalls=(
                Pitfall(
                    "It needs `mask_folder` or `alpha_mask`; sd-scripts trains without a mask then, and says nothing.",
                    "sd-scripts library/custom_train_functions.py apply_masked_loss",
                ),
                Pitfall(
                    "The loss is not divided by what the mask leaves: a small subject is learned more slowly.",
                    "sd-scripts library/custom_train_functions.py apply_masked_loss",
                ),
                Pitfall(
                    "The model still sees the masked places around what it learns; they are not painted over.",
                    "lora_lab/train/step.py",
                ),
                Pitfall(
                    "`val_loss` goes by whole pictures, so that it stays comparable.", "lora_lab/train/validate.py"
                ),
            ),
            since="2024-02",
            names=same("masked_loss"),
        ),
    ] = False
    mask_folder: Annotated[
        Text | None,
        About(
            row=117,
            meaning=(
                "The folder with a mask for each training picture, of the same name and size, in sub-folders like "
                "those of `img_folder` or without."
            ),
            typical="null; grey pictures, white where it is learned.",
            pitfalls=(
                Pitfall(
                    "It does nothing without `masked_loss`.",
                    "sd-scripts library/config_util.py",
                ),
                Pitfall(
                    "Of a coloured mask only the red channel counts.",
                    "sd-scripts library/custom_train_functions.py apply_masked_loss",
                ),
            ),
            path_kind="folder",
            since="2024-02",
            names=same("conditioning_data_dir"),
        ),
    ] = None
    alpha_mask: Annotated[
        bool,
        About(
            row=118,
            meaning="Take the alpha channel of pictures as their mask: what is transparent is not learned.",
            typical="false; true for cut-out pictures.",
            pitfalls=(
                Pitfall(
                    "Without it transparency is dropped, and whatever colour lies below it is learned.",
                    "sd-scripts library/train_util.py load_image",
                ),
                Pitfall(
                    "sd-scripts goes on using masks that its cache files hold after it is switched off; here it ends.",
                    "sd-scripts library/strategy_base.py; train_network.py process_batch",
                ),
                Pitfall("Pictures without an alpha channel are learned whole.", "lora_lab/train/data/masks.py"),
            ),
            since="2024-05",
            names=same("alpha_mask"),
        ),
    ] = False
