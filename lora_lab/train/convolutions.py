"""The layers beside the transformer blocks, which a LoRA adapts when it has a `conv_dim` ("LoCon", "C3Lier")."""

from collections.abc import Callable

from torch import nn

BLOCKS = ("ResnetBlock2D", "Downsample2D", "Upsample2D")


def convolution_layers(unet: nn.Module, rename: Callable[[str], str] = str) -> dict[str, tuple[nn.Module, str]]:
    """Every Linear and convolution of a U-Net's ResNet, down- and upsampling blocks, by its name in a LoRA file.

    As sd-scripts' networks.lora with conv_dim: 86 layers of SD 1.x and 2.x beside the 192 of the transformer blocks,
    66 of SDXL beside 722. The name is that of the layer's path, or of what `rename` makes of it.
    """
    found: dict[str, tuple[nn.Module, str]] = {}
    for path, owner in unet.named_modules():
        if type(owner).__name__ in BLOCKS:
            for inner, layer in owner.named_children():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    found[f"lora_unet.{rename(f'{path}.{inner}')}".replace(".", "_")] = (owner, inner)
    return found
