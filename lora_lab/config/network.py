"""The LoRA itself: its size, its strength, what it adapts and what it starts from."""

from typing import Annotated, ClassVar

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic, same
from lora_lab.config.files import Text


class Network(Topic):
    """The trained tensors."""

    title: ClassVar[str] = "Network"

    net_dim: Annotated[
        Annotated[int, Field(ge=1, le=100_000)],
        About(
            row=13,
            meaning=(
                "Rank of the LoRA: each adapted layer gets a correction up·down that passes through this many channels."
            ),
            typical=(
                "4–128, for SD 1.x mostly 8–32. In fp16 one rank costs about 1.2 MB in SD 1.x, 1.7 MB in SD 2.x, "
                "7.1 MB in SDXL."
            ),
            pitfalls=(
                Pitfall(
                    (
                        "A higher rank over-fits sooner and costs memory and disk; above 320 (SD 1/2) or 640 "
                        "(SDXL) it exceeds the narrowest layer."
                    ),
                    "sd-scripts networks/lora.py, layer widths",
                ),
                Pitfall(
                    (
                        "With `alpha` left alone another rank is also another effective learning rate: keep "
                        "alpha/net_dim when comparing ranks."
                    ),
                    "sd-scripts networks/lora.py LoRAModule.scale",
                ),
            ),
            misread="Often explained as the number of hidden units; it is the rank of a low-rank correction.",
            names=same("network_dim"),
        ),
    ] = 32
    alpha: Annotated[
        Annotated[float, Field(ge=0.0)],
        About(
            row=14,
            meaning=(
                "Strength of the LoRA: its correction is multiplied by alpha / net_dim, in training and wherever "
                "the file is used."
            ),
            typical="net_dim/2 to net_dim, or 1 with a higher learning rate. 0 and null mean equal to net_dim.",
            pitfalls=(
                Pitfall(
                    "It works like a factor on the learning rate: compare runs only at the same alpha/net_dim.",
                    "sd-scripts networks/lora.py LoRAModule.scale",
                ),
                Pitfall(
                    (
                        "alpha as large as net_dim makes the stored weights small; saved as fp16 some of them can "
                        "become zero."
                    ),
                    "kohya-ss/sd-webui-additional-networks #49",
                ),
                Pitfall(
                    (
                        "Left out it is 1 in sd-scripts, 16 to 128 in versions of LoRA_Easy_Training_Scripts: "
                        "write it down."
                    ),
                    "sd-scripts docs/train_network.md",
                ),
            ),
            misread="Often explained as the learning capacity; it is a scale.",
            names=same("network_alpha"),
            null_means=0.0,
        ),
    ] = 16.0
    lora_model_for_resume: Annotated[
        Text | None,
        About(
            row=35,
            meaning="A LoRA file whose weights are the starting point; optimizer and steps start afresh.",
            typical="null, or a LoRA of the same net_dim, alpha and family.",
            pitfalls=(
                Pitfall(
                    "Its rank must be net_dim.",
                    "sd-scripts networks/lora.py load_weights",
                ),
                Pitfall(
                    "If its alpha differs from `alpha`, the LoRA starts with another strength than it had.",
                    "sd-scripts networks/lora.py, FIXME in train_network.py",
                ),
            ),
            misread=(
                "Often explained as resuming a checkpoint; to go on with optimizer and schedule use "
                "`load_previous_save_state`."
            ),
            path_kind="file",
            names={"sd-scripts": "network_weights", "kohya_gui": "lora_network_weights"},
        ),
    ] = None
    unet_only: Annotated[
        bool,
        About(
            row=39,
            meaning="Train a LoRA for the U-Net alone; the text encoder gets none.",
            typical="true for styles, above all on SDXL; false where a new trigger word must be learned well.",
            pitfalls=(
                Pitfall("`text_encoder_lr` has no effect then.", "sd-scripts train_network.py"),
                Pitfall(
                    "New trigger words are learned less well.", "sd-scripts networks/lora.py (no text encoder modules)"
                ),
            ),
            names={"sd-scripts": "network_train_unet_only"},
        ),
    ] = False
    text_only: Annotated[
        bool,
        About(
            row=40,
            meaning="Train a LoRA for the text encoder alone; the U-Net gets none but is still run.",
            typical="false: almost nobody needs it.",
            pitfalls=(
                Pitfall(
                    "Together with `unet_only` nothing is left to train.",
                    "sd-scripts train_network.py",
                ),
                Pitfall("`unet_lr` has no effect then.", "sd-scripts train_network.py"),
            ),
            misread="Often explained as fast training without pictures; pictures and U-Net are used all the same.",
            names={"sd-scripts": "network_train_text_encoder_only"},
        ),
    ] = False
    scale_weight_norms: Annotated[
        Annotated[float, Field(ge=0.0)] | None,
        About(
            row=80,
            meaning="After each step every LoRA layer whose norm exceeds this number is scaled back to it.",
            typical="null, or 1 to begin with, up to 5. 0 is off.",
            pitfalls=(
                Pitfall(
                    "Too low a limit stops the learning: watch how many layers it holds back.",
                    "sd-scripts networks/lora.py apply_max_norm_regularization",
                ),
            ),
            since="2023-06",
            names=same("scale_weight_norms"),
        ),
    ] = None
    network_dropout: Annotated[
        Annotated[float, Field(ge=0.0, lt=1.0)] | None,
        About(
            row=81,
            meaning=(
                "Probability with which each inner value of the LoRA, between down and up, is dropped while training."
            ),
            typical="null, or 0.1–0.3 against over-fitting.",
            pitfalls=(
                Pitfall(
                    "Near 1 hardly anything is learned, and the loss gets noisier.",
                    "sd-scripts networks/lora.py LoRAModule.forward",
                ),
            ),
            since="2023-06",
            names=same("network_dropout"),
        ),
    ] = None
    conv_dim: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None,
        About(
            row=99,
            meaning=(
                "Rank of the LoRA at the 3 × 3 convolutions; with it the U-Net's ResNet, down- and upsampling blocks "
                "are adapted too, which is called LoCon or C3Lier."
            ),
            typical="null, or 1–32 and not above `net_dim`.",
            pitfalls=(
                Pitfall(
                    "The file grows by about half, and each step takes longer.",
                    "sd-scripts networks/lora.py, 86 layers more",
                ),
                Pitfall(
                    "Old user interfaces read the file only with an extension for LoCon.",
                    "KohakuBlueleaf/a1111-sd-webui-lycoris",
                ),
            ),
            since="2023-02",
            names={"kohya_gui": "conv_dim"},
        ),
    ] = None
    conv_alpha: Annotated[
        Annotated[float, Field(ge=0.0)] | None,
        About(
            row=100,
            meaning="Strength of the LoRA at the 3 × 3 convolutions: it is multiplied by conv_alpha / conv_dim there.",
            typical="null, which gives them the strength of the other layers; 0 means equal to `conv_dim`.",
            pitfalls=(
                Pitfall(
                    "Left out it is 1 in sd-scripts, which hardly trains them.",
                    "sd-scripts networks/lora.py create_network",
                ),
                Pitfall("It has no effect without `conv_dim`.", "sd-scripts networks/lora.py create_network"),
            ),
            since="2023-02",
            names={"kohya_gui": "conv_alpha"},
        ),
    ] = None
    rank_dropout: Annotated[
        Annotated[float, Field(ge=0.0, lt=1.0)] | None,
        About(
            row=101,
            meaning="Probability with which each rank of each layer is left out for a whole picture while training.",
            typical="null, or 0.1 against over-fitting.",
            pitfalls=(
                Pitfall(
                    "What is left is made stronger to make up for it: near 1 the loss gets very noisy.",
                    "sd-scripts networks/lora.py LoRAModule.forward",
                ),
            ),
            since="2023-06",
            names={"kohya_gui": "rank_dropout"},
        ),
    ] = None
    module_dropout: Annotated[
        Annotated[float, Field(ge=0.0, lt=1.0)] | None,
        About(
            row=102,
            meaning="Probability with which the LoRA of a whole layer is left out of a training step.",
            typical="null, or 0.1 against over-fitting.",
            pitfalls=(
                Pitfall(
                    "Unlike the other dropouts nothing makes up for it: the LoRA trains as if it were weaker.",
                    "sd-scripts networks/lora.py LoRAModule.forward",
                ),
            ),
            since="2023-06",
            names={"kohya_gui": "module_dropout"},
        ),
    ] = None
    loraplus_lr_ratio: Annotated[
        Annotated[float, Field(gt=0.0)] | None,
        About(
            row=103,
            meaning="LoRA+: how many times as fast as its first matrices (down) a LoRA's second ones (up) learn.",
            typical="null, or 2–16; the paper uses 16.",
            pitfalls=(
                Pitfall("With it the learning rate has to be lower than without.", "arXiv:2402.12354"),
                Pitfall(
                    "Prodigy and D-Adaptation have one rate for all, so they refuse it.", "sd-scripts networks/lora.py"
                ),
            ),
            since="2024-04",
            names={"kohya_gui": "loraplus_lr_ratio"},
        ),
    ] = None
    loraplus_unet_lr_ratio: Annotated[
        Annotated[float, Field(gt=0.0)] | None,
        About(
            row=104,
            meaning="How many times as fast the U-Net's second matrices learn, over `loraplus_lr_ratio`.",
            typical="null.",
            pitfalls=(Pitfall("It has no effect with `text_only`.", "sd-scripts networks/lora.py"),),
            since="2024-04",
            names={"kohya_gui": "loraplus_unet_lr_ratio"},
        ),
    ] = None
    loraplus_text_encoder_lr_ratio: Annotated[
        Annotated[float, Field(gt=0.0)] | None,
        About(
            row=105,
            meaning="How many times as fast the text encoder's second matrices learn, over `loraplus_lr_ratio`.",
            typical="null.",
            pitfalls=(Pitfall("It has no effect with `unet_only`.", "sd-scripts networks/lora.py"),),
            since="2024-04",
            names={"kohya_gui": "loraplus_text_encoder_lr_ratio"},
        ),
    ] = None
    dim_from_weights: Annotated[
        bool,
        About(
            row=106,
            meaning="Take rank and alpha of every layer from the file `lora_model_for_resume`.",
            typical="false; true to train a LoRA on whose rank is not known or differs between layers.",
            pitfalls=(
                Pitfall(
                    "`net_dim`, `alpha`, `conv_dim` and `conv_alpha` have no effect then.",
                    "sd-scripts networks/lora.py create_network_from_weights",
                ),
                Pitfall(
                    "Without `lora_model_for_resume` there is nothing to take it from.",
                    "sd-scripts networks/lora.py create_network_from_weights",
                ),
            ),
            since="2023-05",
            names=same("dim_from_weights"),
        ),
    ] = False
