"""The noise that is added and the loss that is taken."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic, same


class NoiseLoss(Topic):
    """Noise and loss."""

    title: ClassVar[str] = "Noise and loss"

    noise_offset: Annotated[
        Annotated[float, Field(ge=0.0, le=1.0)] | None,
        About(
            row=69,
            meaning=(
                "Adds to the noise a random constant per picture and channel, of this strength, so that very dark "
                "and bright pictures can be learned."
            ),
            typical="null, or 0.05–0.1; 0.0357 suits SDXL, which was trained with it. 0 is off.",
            pitfalls=(
                Pitfall("Above 0.1 contrast and colours drift.", "crosslabs.org, Diffusion with Offset Noise"),
                Pitfall(
                    "Several LoRAs with it used together add up.",
                    "LoRA_Easy_Training_Scripts c2ffb64 (comment)",
                ),
            ),
            names=same("noise_offset"),
        ),
    ] = None
    min_snr_gamma: Annotated[
        Annotated[float, Field(ge=0.0)] | None,
        About(
            row=70,
            meaning=(
                "Weights the loss of a timestep with min(SNR, γ)/SNR, so that nearly clean pictures count less; 0 "
                "is off."
            ),
            typical="5 (the paper); 1–20 is sensible, lower is stronger.",
            pitfalls=(
                Pitfall(
                    "It changes the scale of the training loss: compare such runs by val_loss.",
                    "arXiv:2303.09556; sd-scripts library/custom_train_functions.py apply_snr_weight",
                ),
            ),
            since="2023-03",
            names=same("min_snr_gamma"),
        ),
    ] = None
    loss_type: Annotated[
        Literal["l2", "l1", "huber", "smooth_l1"],
        About(
            row=83,
            meaning=(
                "How the difference between predicted and true noise is measured: squared, absolute, or a mixture "
                "of both."
            ),
            typical="l2; huber or smooth_l1 where some pictures are flawed.",
            pitfalls=(
                Pitfall(
                    "Losses of different types do not compare; val_loss is always the mean square.",
                    "sd-scripts library/train_util.py conditional_loss",
                ),
            ),
            since="2024-04",
            names=same("loss_type"),
        ),
    ] = "l2"
