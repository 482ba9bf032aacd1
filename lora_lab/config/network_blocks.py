"""What single blocks of the U-Net are given: their learning rates, ranks and alphas."""

from typing import Annotated, ClassVar

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic
from lora_lab.config.number_lists import BlockAlphas, BlockDims, BlockWeights, NumberOrNumbers

_WEIGHTS = "sd-scripts networks/lora.py get_block_lr_weight"
_SIZES = "sd-scripts networks/lora.py get_block_dims_and_alphas"
_TWO_RATES = Pitfall(
    "Prodigy, D-Adaptation and AdaFactor with relative_step have one rate for all, so they refuse it.", "prodigyopt"
)
_WEIGHTS_TEXT = "list of numbers, text with commas, or one of cosine, sine, linear, reverse_linear, zeros with or "
_WEIGHTS_TEXT += "without +number"


class NetworkBlocks(Topic):
    """The U-Net's blocks from its input to its output, each with something of its own."""

    title: ClassVar[str] = "Network block by block"

    down_lr_weight: Annotated[
        BlockWeights | None,
        About(
            row=125,
            meaning=(
                "By how much the learning rate is multiplied in each block on the U-Net's way down: 12 numbers for "
                "SD 1 and 2, 9 for SDXL, or the name of a curve over them."
            ),
            typical='null; "cosine+0.25" to change details more than composition, "zeros" to leave the way down alone.',
            pitfalls=(
                Pitfall("Blocks with 0 get no LoRA at all, and are not in the file.", _WEIGHTS),
                Pitfall(
                    "In sd-scripts a short list is filled with 1 and a long one cut; here it is an error.", _WEIGHTS
                ),
                _TWO_RATES,
            ),
            since="2023-04",
            type_text=_WEIGHTS_TEXT,
            names={"kohya_gui": "down_lr_weight"},
        ),
    ] = None
    mid_lr_weight: Annotated[
        NumberOrNumbers | None,
        About(
            row=126,
            meaning=(
                "By how much the learning rate is multiplied in the U-Net's middle: one number for SD 1 and 2, 3 for "
                "SDXL."
            ),
            typical="null; 0 to leave the middle alone.",
            pitfalls=(Pitfall("With 0 the middle gets no LoRA at all.", _WEIGHTS), _TWO_RATES),
            since="2023-04",
            type_text="number, list of numbers, or text with commas",
            names={"kohya_gui": "mid_lr_weight"},
        ),
    ] = None
    up_lr_weight: Annotated[
        BlockWeights | None,
        About(
            row=127,
            meaning=(
                "By how much the learning rate is multiplied in each block on the U-Net's way up: 12 numbers for SD 1 "
                "and 2, 9 for SDXL, or the name of a curve over them."
            ),
            typical='null; "sine" for the surface of things, "cosine" for their shapes, "zeros" for nothing of it.',
            pitfalls=(
                Pitfall("Blocks with 0 get no LoRA at all, and are not in the file.", _WEIGHTS),
                _TWO_RATES,
            ),
            since="2023-04",
            type_text=_WEIGHTS_TEXT,
            names={"kohya_gui": "up_lr_weight"},
        ),
    ] = None
    block_lr_zero_threshold: Annotated[
        Annotated[float, Field(ge=0.0, le=1_000_000.0)],
        About(
            row=128,
            meaning="Weights of blocks that are not above this number count as 0: such a block gets no LoRA.",
            typical="0; 0.1 with a curve to leave its lower end out.",
            pitfalls=(Pitfall("It has no effect on blocks that no weight is given for.", _WEIGHTS),),
            since="2023-04",
            names={"kohya_gui": "block_lr_zero_threshold"},
        ),
    ] = 0.0
    block_dims: Annotated[
        BlockDims | None,
        About(
            row=129,
            meaning=(
                "Rank of the LoRA in each block of the U-Net, from input to output: 25 numbers for SD 1 and 2, 23 for "
                "SDXL; 0 leaves a block out."
            ),
            typical="null, which is `net_dim` everywhere.",
            pitfalls=(
                Pitfall("The text encoder keeps `net_dim`.", _SIZES),
                Pitfall(
                    "Without `block_alphas` every block has `alpha`, so that blocks of a lower rank are stronger.",
                    _SIZES,
                ),
                Pitfall("Another number of blocks than the base has ends the run.", _SIZES),
            ),
            since="2023-04",
            type_text="list of whole numbers, or text with commas",
            names={"kohya_gui": "block_dims"},
        ),
    ] = None
    block_alphas: Annotated[
        BlockAlphas | None,
        About(
            row=130,
            meaning="Alpha in each block of the U-Net, as many as in `block_dims`; 0 is as large as the block's rank.",
            typical="null, which is `alpha` everywhere.",
            pitfalls=(
                Pitfall(
                    "In sd-scripts it has no effect without `block_dims` or a weight of blocks; here it has.", _SIZES
                ),
            ),
            since="2023-04",
            type_text="list of numbers, or text with commas",
            names={"kohya_gui": "block_alphas"},
        ),
    ] = None
    conv_block_dims: Annotated[
        BlockDims | None,
        About(
            row=131,
            meaning=(
                "Rank at the 3 × 3 convolutions in each block of the U-Net, as many numbers as in `block_dims`; with "
                "it the convolutions are adapted as with `conv_dim`."
            ),
            typical="null, which is `conv_dim` everywhere.",
            pitfalls=(Pitfall("`conv_dim` has no effect beside it.", _SIZES),),
            since="2023-04",
            type_text="list of whole numbers, or text with commas",
            names={"kohya_gui": "conv_block_dims"},
        ),
    ] = None
    conv_block_alphas: Annotated[
        BlockAlphas | None,
        About(
            row=132,
            meaning="Alpha at the 3 × 3 convolutions in each block of the U-Net; 0 is as large as the rank there.",
            typical="null, which is `conv_alpha`, or without that the strength of the block's other layers.",
            pitfalls=(
                Pitfall("It has no effect without `conv_block_dims` or `conv_dim`.", _SIZES),
                Pitfall("In sd-scripts it has no effect without `conv_block_dims`.", _SIZES),
            ),
            since="2023-04",
            type_text="list of numbers, or text with commas",
            names={"kohya_gui": "conv_block_alphas"},
        ),
    ] = None
