"""The blocks of a U-Net: their numbers, their weights, their sizes, by the formulas of sd-scripts."""

import math
from typing import Any

import pytest

from lora_lab.config import TrainConfig
from lora_lab.config.blocks import Size, block_of, blocks_of, lr_weights, uses_blocks, wrong_counts


def config(**values: object) -> TrainConfig:
    """A config with a rank of 8 and an alpha of 4."""
    return TrainConfig(base_model="b", img_folder="i", output_folder="o", net_dim=8, alpha=4.0, **values)  # type: ignore[arg-type]


# sin(π/2 · i/11) and, from its end, sin(π/2 · i/8), which is what get_block_lr_weight computes
SD_SINE = [0.0, 0.142315, 0.281733, 0.415415, 0.540641, 0.654861, 0.75575, 0.841254, 0.909632, 0.959493, 0.989821, 1.0]
SDXL_COSINE = [1.0, 0.980785, 0.92388, 0.83147, 0.707107, 0.55557, 0.382683, 0.19509, 0.0]


def test_curves() -> None:
    """Named curves are those of sd-scripts; what is added comes on top of each, what is not named is 1."""
    found = lr_weights(config(down_lr_weight="sine", mid_lr_weight=0.5), "sd1")
    assert found == pytest.approx([*SD_SINE, 0.5, *[1.0] * 12], abs=1e-6)
    xl = lr_weights(config(up_lr_weight="cosine+0.25"), "sdxl")
    assert xl == pytest.approx([*[1.0] * 13, *(one + 0.25 for one in SDXL_COSINE), 1.0], abs=1e-6)
    linear = lr_weights(config(down_lr_weight="linear", up_lr_weight="reverse_linear"), "sd2")
    assert linear == pytest.approx(
        [*(place / 11 for place in range(12)), 1, *(place / 11 for place in range(11, -1, -1))]
    )
    assert lr_weights(config(down_lr_weight="zeros+0.5"), "sdxl")[1:10] == (0.5,) * 9


def test_threshold() -> None:
    """Weights that are not above the threshold are 0; blocks without a weight keep their 1."""
    found = lr_weights(config(down_lr_weight="linear", block_lr_zero_threshold=0.5), "sdxl")
    assert found == (1.0, 0, 0, 0, 0, 0, 0.625, 0.75, 0.875, 1.0, *[1.0] * 13)
    assert lr_weights(config(mid_lr_weight=1.0, block_lr_zero_threshold=1.0), "sd1")[12] == 0
    assert lr_weights(config(block_lr_zero_threshold=2.0), "sd1") == (1.0,) * 25


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in", 1),
        ("lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q", 2),
        ("lora_unet_down_blocks_0_downsamplers_0_conv", 3),
        ("lora_unet_down_blocks_3_resnets_1_conv1", 11),
        ("lora_unet_mid_block_attentions_0_proj_in", 12),
        ("lora_unet_mid_block_resnets_1_conv2", 12),
        ("lora_unet_up_blocks_0_resnets_0_conv1", 13),
        ("lora_unet_up_blocks_0_upsamplers_0_conv", 15),
        ("lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_2", 24),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 5),
        ("lora_unet_middle_block_1_transformer_blocks_9_attn2_to_v", 11),
        ("lora_unet_output_blocks_8_0_in_layers_2", 21),
    ],
)
def test_number_of_a_layers_block(name: str, number: int) -> None:
    """A layer's block is the one that sd-scripts' get_block_index gives."""
    assert block_of(name) == number


def test_a_layer_of_no_block() -> None:
    """What is in no block is refused."""
    with pytest.raises(ValueError, match="in no block"):
        block_of("lora_unet_conv_in")


def test_sizes() -> None:
    """Ranks and alphas by block; what is left out is net_dim and alpha, an alpha of 0 is the rank, 0 leaves out."""
    dims = [0, 2, *[4] * 23]
    blocks = blocks_of(config(block_dims=dims, block_alphas=",".join(["0"] * 25)), "sd1")
    assert blocks is not None
    assert blocks.narrow[:3] == (None, Size(2, 2.0), Size(4, 4.0))
    assert blocks.wide is None
    blocks = blocks_of(config(block_dims=dims), "sd1")
    assert blocks is not None
    assert blocks.narrow[1] == Size(2, 4.0)  # alpha stays what it is, as in sd-scripts
    weighted = blocks_of(config(up_lr_weight="zeros"), "sdxl")
    assert weighted is not None
    assert weighted.narrow == (*[Size(8, 4.0)] * 13, *[None] * 9, Size(8, 4.0))
    assert blocks_of(config(), "sd1") is None


@pytest.mark.parametrize(
    ("values", "alpha"),
    [
        ({"conv_block_alphas": [3.0] * 23}, 3.0),
        ({"conv_alpha": 1.0}, 1.0),
        ({"conv_alpha": 0.0}, 6.0),
        ({}, 3.0),
        ({"block_dims": [16] * 23}, 1.5),
        ({"block_dims": [0] * 23}, 3.0),
    ],
    ids=str,
)
def test_alpha_of_convolutions(values: dict[str, Any], alpha: float) -> None:
    """The convolutions' own alpha, else conv_alpha, else the strength of the block's other layers, else the common."""
    for convolutions in ({"conv_block_dims": [6] * 23}, {"conv_dim": 6}):
        blocks = blocks_of(config(**{"mid_lr_weight": [1, 1, 0], **values, **convolutions}), "sdxl")
        assert blocks is not None
        assert blocks.wide is not None
        assert (blocks.wide[0], blocks.wide[12]) == (Size(6, alpha), None)


def test_lengths() -> None:
    """Each family has its own number of blocks; of an unknown one both are right."""
    assert list(wrong_counts(config(down_lr_weight=[1] * 9), "sd1")) == [("down_lr_weight", 9, (12,))]
    assert not list(wrong_counts(config(down_lr_weight=[1] * 9, up_lr_weight="sine"), None))
    assert [key for key, *_ in wrong_counts(config(block_dims="1,2", mid_lr_weight=1), "sdxl")] == [
        "mid_lr_weight",
        "block_dims",
    ]
    with pytest.raises(ValueError, match="block_alphas has 23 numbers, and 25 are needed"):
        blocks_of(config(block_alphas=[1] * 23), "sd2")


def test_uses_blocks() -> None:
    """A threshold alone gives no block anything."""
    assert not uses_blocks(config(block_lr_zero_threshold=0.5))
    assert uses_blocks(config(mid_lr_weight=0))
    assert math.isclose(sum(lr_weights(config(mid_lr_weight=0), "sd1")), 24)
