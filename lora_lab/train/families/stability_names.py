"""Where the layers of diffusers' U-Net lie in Stability AI's: SDXL's LoRA files name them so."""

import re
from collections.abc import Callable
from typing import Any

from torch import nn

_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def stability_names(unet: nn.Module) -> Callable[[str], str]:
    """Return a function: the path of a layer in diffusers' U-Net → its path in Stability AI's generative-models.

    The original numbers all blocks in one row: of each level its layers, then the change of size. Source:
    `sgm/modules/diffusionmodules/openaimodel.py` of generative-models; sd-scripts' `make_unet_conversion_map`.
    """
    model: Any = unet
    row = model.config.layers_per_block + 1
    attended = [hasattr(block, "attentions") for block in model.up_blocks]

    def rename(path: str) -> str:
        if found := _MIDDLE.fullmatch(path):
            part, number, inner = found.groups()
            return f"middle_block.{_middle_place(part, int(number))}.{_inner(part, inner)}"
        found = _BLOCK.fullmatch(path)
        assert found, path
        way, level, part, number, inner = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if way == "down":
            if part == "downsamplers":
                return f"input_blocks.{row * (level + 1)}.0.op"
            return f"input_blocks.{row * level + number + 1}.{int(part == 'attentions')}.{_inner(part, inner)}"
        if part == "upsamplers":  # after the attention, where the level has one
            return f"output_blocks.{row * level + row - 1}.{1 + attended[level]}.{inner}"
        return f"output_blocks.{row * level + number}.{int(part == 'attentions')}.{_inner(part, inner)}"

    return rename


def _middle_place(part: str, number: int) -> int:
    return 1 if part == "attentions" else 2 * number


def _inner(part: str, inner: str) -> str:
    return _RESNET[inner] if part == "resnets" else inner
