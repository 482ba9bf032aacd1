"""Learning rates, their schedule and the optimizer."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lora_lab.config.about import MANY, About, Pitfall, Topic, same
from lora_lab.config.shapes import OptimizerArguments, OptimizerName

Rate = Annotated[float, Field(gt=0.0)]


class Optimizer(Topic):
    """How the weights move."""

    title: ClassVar[str] = "Optimizer and learning rate"

    scheduler: Annotated[
        Literal[
            "linear",
            "cosine",
            "cosine_with_restarts",
            "polynomial",
            "constant",
            "constant_with_warmup",
            "step",
            "plateau",
        ],
        About(
            row=15,
            meaning=(
                "Course of the learning rate over the run; `step` multiplies it by 0.1 after each third, "
                "`plateau` halves it when val_loss (without one, the loss of the epoch) stops falling."
            ),
            typical="cosine, constant or constant_with_warmup.",
            pitfalls=(
                Pitfall(
                    (
                        "linear, cosine and polynomial reach about 0 at the planned last step: a run that is "
                        "stopped early or made longer has another curve."
                    ),
                    "diffusers optimization.py",
                ),
                Pitfall(
                    "`step` and `plateau` exist here but not in sd-scripts, which refuses them.",
                    "sd-scripts library/train_util.py get_scheduler_fix",
                ),
            ),
            misread="Often explained as a choice of step, cosine and plateau only; all eight names here work.",
            names=same("lr_scheduler"),
        ),
    ] = "cosine"
    cosine_restarts: Annotated[
        Annotated[int, Field(ge=1, le=MANY)],
        About(
            row=16,
            unit="cycles",
            meaning=(
                "Number of cosine cycles of `cosine_with_restarts`: at the start of each the learning rate jumps "
                "back to its full height."
            ),
            typical="1–5, a cycle no shorter than about an epoch.",
            pitfalls=(
                Pitfall("1 is the same curve as `cosine`.", "diffusers optimization.py"),
                Pitfall(
                    "A file saved just after a restart is noisy; save near the end of a cycle.",
                    "diffusers optimization.py",
                ),
                Pitfall("Other schedulers ignore it.", "diffusers optimization.py"),
            ),
            names=same("lr_scheduler_num_cycles"),
        ),
    ] = 1
    scheduler_power: Annotated[
        Annotated[float, Field(gt=0.0)],
        About(
            row=17,
            meaning="Exponent p of the `polynomial` schedule, whose learning rate falls as (1 − progress)^p.",
            typical="0.5–3; 1 is a straight line.",
            pitfalls=(Pitfall("Other schedulers ignore it.", "diffusers optimization.py"),),
            misread="Often explained as slower decay for larger numbers; larger falls faster at the start.",
            names=same("lr_scheduler_power"),
        ),
    ] = 1.0
    warmup_lr_ratio: Annotated[
        Annotated[float, Field(ge=0.0, lt=1.0)] | None,
        About(
            row=18,
            meaning="Part of all optimizer steps over which the learning rate climbs from 0 to its full height.",
            typical="0–0.1. `lr_warmup_steps` gives the same as a number of steps.",
            pitfalls=(
                Pitfall(
                    "The kohya GUI's `lr_warmup` is a percentage: its 10 is 0.1 here.",
                    "bmaltais/kohya_ss lora_gui",
                ),
                Pitfall(
                    "The schedule `constant` has no warm-up; use constant_with_warmup.", "diffusers optimization.py"
                ),
            ),
            misread=(
                "Often explained as the ratio of the first learning rate to the highest; it is a part of the steps."
            ),
            names={"kohya_gui": "lr_warmup", "easy_ui": "warmup_ratio"},
        ),
    ] = None
    lr_warmup_steps: Annotated[
        Annotated[int, Field(ge=0, le=MANY)] | None,
        About(
            row=82,
            unit="optimizer steps",
            meaning=(
                "Number of optimizer steps over which the learning rate climbs from 0; it wins over `warmup_lr_ratio`."
            ),
            typical="null, 0, or up to a tenth of all steps.",
            pitfalls=(
                Pitfall(
                    "As many as all steps, and the full learning rate is never reached.", "diffusers optimization.py"
                ),
                Pitfall(
                    "sd-scripts reads a number below 1 here as a ratio; that is `warmup_lr_ratio`.",
                    "sd-scripts library/train_util.py int_or_float",
                ),
            ),
            names={"sd-scripts": "lr_warmup_steps"},
        ),
    ] = None
    learning_rate: Annotated[
        Rate,
        About(
            row=19,
            meaning="Learning rate of every part that has none of its own.",
            typical="AdamW 5e-5–3e-4, up to 1e-3 with alpha 1; Lion 3 to 10 times lower; Prodigy and D-Adaptation 1.0.",
            pitfalls=(
                Pitfall(
                    "Only its product with alpha/net_dim compares: another alpha needs another learning rate.",
                    "sd-scripts docs/train_network.md",
                ),
                Pitfall(
                    "It has no effect when both `unet_lr` and `text_encoder_lr` are set.",
                    "sd-scripts networks/lora.py prepare_optimizer_params",
                ),
            ),
            names=same("learning_rate"),
        ),
    ] = 1e-4
    text_encoder_lr: Annotated[
        Rate | None,
        About(
            row=20,
            meaning="Learning rate of the text encoder's LoRA; null takes `learning_rate`.",
            typical="1e-5 to 5e-5, a half to a tenth of the U-Net's: the text encoder over-fits first.",
            pitfalls=(
                Pitfall(
                    (
                        "0 is refused: LoRA_Easy_Training_Scripts trained with `learning_rate` then, sd-scripts "
                        "saves a LoRA of zeros. To leave the text encoder out use `unet_only`."
                    ),
                    "LoRA_Easy_Training_Scripts d14b240; sd-scripts networks/lora.py",
                ),
                Pitfall("It has no effect with `unet_only`.", "sd-scripts train_network.py"),
            ),
            misread="Often said to over-fit when it differs from the U-Net's; a lower one is what most people use.",
            names=same("text_encoder_lr"),
        ),
    ] = None
    unet_lr: Annotated[
        Rate | None,
        About(
            row=21,
            meaning="Learning rate of the U-Net's LoRA; null takes `learning_rate`.",
            typical="5e-5 to 3e-4 with AdamW.",
            pitfalls=(
                Pitfall("0 is refused; to leave the U-Net out use `text_only`.", "LoRA_Easy_Training_Scripts d14b240"),
                Pitfall(
                    "Prodigy and D-Adaptation scale all parts by one estimate: give both parts 1.0.",
                    "sd-scripts library/train_util.py get_optimizer",
                ),
            ),
            misread="Often said to over-fit when it differs from the text encoder's; it is usually the higher one.",
            names=same("unet_lr"),
        ),
    ] = None
    use_8bit_adam: Annotated[
        bool,
        About(
            row=54,
            meaning="AdamW with its two moments kept in 8 bits (bitsandbytes); the same as optimizer_type AdamW8bit.",
            typical="true on an NVIDIA card that is short of memory; a LoRA's optimizer is small, so the gain is too.",
            pitfalls=(
                Pitfall(
                    "It needs the package bitsandbytes and a card that it supports.",
                    "sd-scripts library/train_util.py get_optimizer",
                ),
                Pitfall(
                    "It contradicts any `optimizer_type` except AdamW and AdamW8bit.",
                    "sd-scripts library/train_util.py get_optimizer",
                ),
            ),
            misread="Often said to be slower; what it does is save optimizer memory.",
            names=same("use_8bit_adam"),
        ),
    ] = False
    optimizer_type: Annotated[
        OptimizerName,
        About(
            row=66,
            meaning="The optimizer: a known name in any case, or `module.Class` of an installed package.",
            typical="AdamW to begin with; AdamW8bit saves memory; Prodigy finds its own learning rate.",
            pitfalls=(
                Pitfall(
                    "Each has its own scale of learning rate: 1.0 is right for Prodigy and ruins AdamW.",
                    "sd-scripts library/train_util.py get_optimizer",
                ),
                Pitfall(
                    (
                        "Adafactor with relative_step (its default) sets the learning rate itself and overrides "
                        "the scheduler."
                    ),
                    "sd-scripts library/train_util.py get_optimizer",
                ),
            ),
            type_text="name of an optimizer, or module.Class",
            names={"sd-scripts": "optimizer_type", "kohya_gui": "optimizer"},
        ),
    ] = "AdamW"
    optimizer_args: Annotated[
        OptimizerArguments | None,
        About(
            row=67,
            meaning='Further arguments of the optimizer, as a list of "key=value" or as an object.',
            typical='null, or for AdamW ["weight_decay=0.1", "betas=0.9,0.99"].',
            pitfalls=(
                Pitfall(
                    "sd-scripts wants Python's words: `True`, not `true`; here both work.",
                    "sd-scripts library/train_util.py get_optimizer",
                ),
                Pitfall(
                    "A name that the optimizer does not know ends the run at its start.",
                    "torch.optim",
                ),
            ),
            type_text='list of "key=value", or an object',
            names=same("optimizer_args"),
        ),
    ] = None
    max_grad_norm: Annotated[
        Annotated[float, Field(ge=0.0)],
        About(
            row=68,
            meaning="Gradients whose common norm exceeds this number are scaled back to it; 0 switches that off.",
            typical="1.0; 0 with Adafactor at a fixed learning rate.",
            pitfalls=(
                Pitfall(
                    "LoRA_Easy_Training_Scripts turned 0 into 1.0.",
                    "LoRA_Easy_Training_Scripts c2ffb64 Parser.create_args",
                ),
            ),
            names=same("max_grad_norm"),
        ),
    ] = 1.0
    ema_decay: Annotated[
        Annotated[float, Field(gt=0.0, lt=1.0)] | None,
        About(
            row=108,
            meaning=(
                "Average the LoRA's weights over the steps (EMA) and validate, draw and save the average: after each "
                "step so much of the average stays, and the rest comes from the new weights."
            ),
            typical=(
                "null, or 0.99 for runs of some hundred to some thousand steps; the average reaches back about "
                "1 / (1 - ema_decay) steps."
            ),
            pitfalls=(
                Pitfall(
                    "At first less stays, (1 + n) / (10 + n) after n steps: 0.999 is reached after 9,000 steps only.",
                    "diffusers training_utils.EMAModel.get_decay; TensorFlow ExponentialMovingAverage num_updates",
                ),
                Pitfall(
                    "One more 32-bit copy of the LoRA lies in memory, and in every saved state.",
                    "lora_lab/train/average.py",
                ),
                Pitfall(
                    "The average lags behind: where the loss still falls at the end, it is the worse one.",
                    "Morales-Brotons et al. 2024, Exponential Moving Average of Weights in Deep Learning",
                ),
            ),
            since="2026",
        ),
    ] = None
