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
    zero_terminal_snr: Annotated[
        bool,
        About(
            row=98,
            meaning=(
                "Rescales the noise schedule so that its last step is pure noise, without a rest of the picture in it."
            ),
            typical="true for v-prediction bases that were trained so (NoobAI-XL v-pred and its like), else false.",
            pitfalls=(
                Pitfall(
                    "It needs v-prediction: at pure noise, predicting the noise teaches nothing about the picture.",
                    "arXiv:2305.08891 section 3.2; sd-scripts library/train_util.py verify_training_args",
                ),
                Pitfall(
                    "A base that was trained without it learns the new schedule first, and only then your pictures.",
                    "arXiv:2305.08891 section 3.1",
                ),
            ),
            since="2023-07",
            names=same("zero_terminal_snr"),
        ),
    ] = False
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
    noise_offset_random_strength: Annotated[
        bool,
        About(
            row=84,
            meaning="Draws the strength of the noise offset anew for each step, from 0 to `noise_offset`.",
            typical="false.",
            pitfalls=(
                Pitfall(
                    "It has no effect without `noise_offset`.",
                    "sd-scripts library/train_util.py get_noise_noisy_latents_and_timesteps",
                ),
            ),
            since="2024-04",
            names=same("noise_offset_random_strength"),
        ),
    ] = False
    adaptive_noise_scale: Annotated[
        Annotated[float, Field(ge=-1.0, le=1.0)] | None,
        About(
            row=85,
            meaning=(
                "Adds to the strength of the noise offset this number times the mean of the picture's latents, per "
                "channel and without sign."
            ),
            typical="null, or a tenth of `noise_offset`, such as 0.00357.",
            pitfalls=(
                Pitfall(
                    "It needs `noise_offset`; sd-scripts stops without it, here it has no effect.",
                    "sd-scripts library/train_util.py verify_training_args",
                ),
                Pitfall("A negative number can switch the offset off.", "sd-scripts apply_noise_offset"),
            ),
            since="2023-03",
            names=same("adaptive_noise_scale"),
        ),
    ] = None
    multires_noise_iterations: Annotated[
        Annotated[int, Field(ge=0, le=100)] | None,
        About(
            row=86,
            unit="levels",
            meaning=(
                "Adds noise of lower and lower resolution to the noise, at most so many levels, so that large areas of "
                "light and dark can be learned."
            ),
            typical="null, or 6–10; 0 is off. It ends by itself when a level is one latent wide.",
            pitfalls=(
                Pitfall(
                    "It does what `noise_offset` does, and with both it is done twice.",
                    "sd-scripts library/train_util.py get_noise_noisy_latents_and_timesteps",
                ),
                Pitfall(
                    "How strong it is, `multires_noise_discount` says.",
                    "wandb.ai johnowhitaker, Multi-Resolution Noise for Diffusion Model Training",
                ),
            ),
            since="2023-05",
            names=same("multires_noise_iterations"),
        ),
    ] = None
    multires_noise_discount: Annotated[
        Annotated[float, Field(ge=0.0, le=1.0)],
        About(
            row=87,
            meaning=(
                "Strength of each level of `multires_noise_iterations` compared with the one above: the n-th counts "
                "discount^n."
            ),
            typical="0.1–0.4.",
            pitfalls=(
                Pitfall(
                    "It has no effect without `multires_noise_iterations`.",
                    "sd-scripts library/custom_train_functions.py pyramid_noise_like",
                ),
                Pitfall(
                    "Near 1 hardly any fine noise is left, and the pictures blur.",
                    "wandb.ai johnowhitaker, Multi-Resolution Noise for Diffusion Model Training",
                ),
            ),
            since="2023-05",
            names=same("multires_noise_discount"),
        ),
    ] = 0.3
    ip_noise_gamma: Annotated[
        Annotated[float, Field(ge=0.0, le=1.0)] | None,
        About(
            row=88,
            meaning=(
                "Adds to the noisy picture some more noise, of this strength, that the model is not asked to predict: "
                "it learns to cope with its own mistakes."
            ),
            typical="null, or 0.1 (the paper); 0 is off.",
            pitfalls=(Pitfall("Above 0.1 the pictures lose detail.", "arXiv:2301.11706"),),
            misread="Often taken for a setting of image prompts (IP-Adapter); IP is input perturbation.",
            since="2023-09",
            names=same("ip_noise_gamma"),
        ),
    ] = None
    ip_noise_gamma_random_strength: Annotated[
        bool,
        About(
            row=89,
            meaning="Draws the strength of the input perturbation anew for each step, from 0 to `ip_noise_gamma`.",
            typical="false.",
            pitfalls=(
                Pitfall(
                    "It has no effect without `ip_noise_gamma`.",
                    "sd-scripts library/train_util.py get_noise_noisy_latents_and_timesteps",
                ),
            ),
            since="2024-04",
            names=same("ip_noise_gamma_random_strength"),
        ),
    ] = False
    debiased_estimation_loss: Annotated[
        bool,
        About(
            row=90,
            meaning="Weights the loss of a timestep with 1/√SNR, so that very noisy pictures count more.",
            typical="false; instead of `min_snr_gamma`, never beside it.",
            pitfalls=(
                Pitfall(
                    "The noisiest timesteps count up to 14.6 times as much: lower the learning rate.",
                    "sd-scripts library/custom_train_functions.py apply_debiased_estimation",
                ),
                Pitfall(
                    "Together with `min_snr_gamma` both weights are multiplied.",
                    "sd-scripts train_network.py post_process_loss",
                ),
            ),
            since="2023-10",
            names=same("debiased_estimation_loss"),
        ),
    ] = False
    scale_v_pred_loss_like_noise_pred: Annotated[
        bool,
        About(
            row=91,
            meaning=(
                "Weights the loss of a model that predicts velocity with SNR/(SNR+1), as if it predicted the noise."
            ),
            typical="false; true only with `v_parameterization`.",
            pitfalls=(
                Pitfall(
                    "Without `v_parameterization` it is refused.",
                    "sd-scripts library/train_util.py verify_training_args",
                ),
            ),
            since="2023-06",
            names=same("scale_v_pred_loss_like_noise_pred"),
        ),
    ] = False
    v_pred_like_loss: Annotated[
        Annotated[float, Field(ge=0.0)] | None,
        About(
            row=92,
            meaning=(
                "Adds to the loss of a model that predicts noise this share of the loss that predicting velocity "
                "would have."
            ),
            typical="null, or 0.5; 0 is off.",
            pitfalls=(
                Pitfall(
                    "With 0.5 the noisiest timestep counts 108 times as much, and training gets unstable.",
                    "sd-scripts library/custom_train_functions.py add_v_prediction_like_loss",
                ),
                Pitfall(
                    "With `v_parameterization` it is refused.", "sd-scripts library/train_util.py verify_training_args"
                ),
            ),
            since="2023-07",
            names=same("v_pred_like_loss"),
        ),
    ] = None
    huber_schedule: Annotated[
        Literal["snr", "exponential", "constant"],
        About(
            row=93,
            meaning=(
                "How the threshold of the losses huber and smooth_l1, where they turn from square to absolute, depends "
                "on the timestep."
            ),
            typical="snr: the less noise, the higher the threshold.",
            pitfalls=(
                Pitfall(
                    "It has no effect with another `loss_type`.",
                    "sd-scripts library/train_util.py get_huber_threshold_if_needed",
                ),
            ),
            since="2024-04",
            names=same("huber_schedule"),
        ),
    ] = "snr"
    huber_c: Annotated[
        Annotated[float, Field(gt=0.0, le=1.0)],
        About(
            row=94,
            meaning="Threshold of the losses huber and smooth_l1 for the noisiest pictures.",
            typical="0.1; smaller forgives flawed pictures more.",
            pitfalls=(
                Pitfall(
                    "It has no effect with another `loss_type`.",
                    "sd-scripts library/train_util.py get_huber_threshold_if_needed",
                ),
                Pitfall("With the loss huber a small one makes the loss, and so the steps, small.", "arXiv:2403.16728"),
            ),
            since="2024-04",
            names=same("huber_c"),
        ),
    ] = 0.1
    huber_scale: Annotated[
        Annotated[float, Field(gt=0.0)],
        About(
            row=95,
            meaning="Factor on the threshold of huber and smooth_l1 with `huber_schedule` exponential or constant.",
            typical="1.",
            pitfalls=(
                Pitfall(
                    "With the default schedule, snr, it has no effect.",
                    "sd-scripts library/train_util.py get_huber_threshold_if_needed",
                ),
            ),
            since="2024-12",
            names=same("huber_scale"),
        ),
    ] = 1.0
    min_timestep: Annotated[
        Annotated[int, Field(ge=0, le=999)],
        About(
            row=96,
            meaning="Smallest timestep that is trained; 0 is the clean picture.",
            typical="0.",
            pitfalls=(
                Pitfall("It must lie below `max_timestep`.", "sd-scripts library/train_util.py get_timesteps"),
                Pitfall(
                    "What is not trained stays as the base model draws it: fine detail comes from small timesteps.",
                    "sd-scripts docs/train_network_advanced.md",
                ),
            ),
            since="2023-07",
            names=same("min_timestep"),
        ),
    ] = 0
    max_timestep: Annotated[
        Annotated[int, Field(ge=1, le=1000)],
        About(
            row=97,
            meaning="First timestep that is no longer trained; 1000 is pure noise.",
            typical="1000.",
            pitfalls=(
                Pitfall(
                    "Composition is decided at large timesteps: with a low limit it is not learned.",
                    "sd-scripts docs/train_network_advanced.md",
                ),
            ),
            since="2023-07",
            names=same("max_timestep"),
        ),
    ] = 1000
