"""LL72x: what the base model's own files say about it."""

import re
from collections.abc import Iterator

from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule
from lora_lab.lint.rules.base_model import NAMES, base_header

_FAMILY = "diffusers unet/config.json cross_attention_dim"
_MADE_AT = {"sd1": 512, "sdxl": 1024}
"""Pixels of a side; Stable Diffusion 2 exists in two sizes, 512 and 768."""

_V_IN_NAME = re.compile(r"v[-_ ]?pred", re.IGNORECASE)


@rule("LL721", "v2-mismatch", "error", reads=("base_model", "v2"), source=_FAMILY, sees="disk")
def v2_mismatch(view: View) -> Iterator[Hit]:
    """`v2` does not say what the base model is.

    What it does
    Reads the width of the text features from the base model's header or folder: 768 for SD 1.x, 1024 for SD 2.x, 2048
    for SDXL.

    Why is this bad
    The model is loaded as another family, which fails.

    Bad
    ```json
    {"base_model": "sd15", "v2": true}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```

    Good
    ```json
    {"base_model": "sd15", "v2": false}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    """
    header = base_header(view)
    family = header.family if header else None
    right = family == "sd2"
    if family in ("sd1", "sd2", "sdxl") and view.config.v2 != right:
        message = f"v2 is {str(view.config.v2).lower()}, but the base model is {NAMES[family]}"
        yield Hit(message, ("v2", "base_model"), f"set v2 to {str(right).lower()}", set_to("v2", right))


@rule(
    "LL722",
    "prediction-type-mismatch",
    "error",
    reads=("base_model", "v_parameterization"),
    source="https://github.com/bmaltais/kohya_ss/issues/2956",
    sees="disk",
)
def prediction_type_mismatch(view: View) -> Iterator[Hit]:
    """`v_parameterization` does not say what the base model predicts.

    What it does
    Reads the prediction type from the base model's `scheduler/scheduler_config.json`, or from a file's header: the
    tensor `v_pred`, `modelspec.prediction_type`.

    Why is this bad
    The training runs without an error, and the LoRA draws noise.

    Bad
    ```json
    {"base_model": "vpred", "v_parameterization": false}
    ```
    ```files
    vpred/model_index.json: {}
    vpred/scheduler/scheduler_config.json: {"prediction_type": "v_prediction"}
    ```

    Good
    ```json
    {"base_model": "vpred", "v_parameterization": true}
    ```
    ```files
    vpred/model_index.json: {}
    vpred/scheduler/scheduler_config.json: {"prediction_type": "v_prediction"}
    ```
    """
    header = base_header(view)
    kind = header.prediction if header else None
    if kind and view.config.v_parameterization != (kind == "v_prediction"):
        right = kind == "v_prediction"
        predicts = "velocity (v)" if right else "noise"
        message = (
            f"v_parameterization is {str(view.config.v_parameterization).lower()}, but the base predicts {predicts}"
        )
        remedy = f"set v_parameterization to {str(right).lower()}"
        yield Hit(message, ("v_parameterization", "base_model"), remedy, set_to("v_parameterization", right))


@rule(
    "LL723",
    "resolution-far-above-base",
    "warning",
    reads=("base_model", "train_resolution"),
    source="diffusers unet/config.json sample_size",
    sees="disk",
)
def resolution_far_above_base(view: View) -> Iterator[Hit]:
    """The training resolution is far from the one that the base was made at.

    What it does
    Compares `train_resolution` with the U-Net's `sample_size` times 8 (of a single file, with what its family was made
    at), where they differ by more than 1.6 times.

    Why is this bad
    Far above, the base doubles heads and bodies and the LoRA learns that; far below, it learns blur.

    Bad
    ```json
    {"base_model": "sd15", "train_resolution": 1024}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768, "sample_size": 64}
    ```

    Good
    ```json
    {"base_model": "sd15", "train_resolution": 512}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768, "sample_size": 64}
    ```
    """
    header = base_header(view)
    if header is None or header.family not in ("sd1", "sd2", "sdxl"):
        return
    made_at = (header.sample_size or 0) * 8 or _MADE_AT.get(header.family, 0)
    if made_at < 256:  # a small model for trying things out
        return
    side = round((view.config.resolution[0] * view.config.resolution[1]) ** 0.5)
    if not 1 / 1.6 <= side / made_at <= 1.6:
        message = f"train_resolution {side} is far from the {made_at} that the base model was made at"
        yield Hit(message, ("train_resolution", "base_model"), f"use {made_at}")


@rule(
    "LL725",
    "base-named-v-prediction",
    "warning",
    reads=("base_model", "v_parameterization"),
    source="https://github.com/bmaltais/kohya_ss/issues/2956; https://github.com/Nerogar/OneTrainer/issues/724",
)
def base_named_v_prediction(view: View) -> Iterator[Hit]:
    """The base model's name says that it predicts v, and `v_parameterization` is off.

    What it does
    Looks for "vpred" or "v-pred" in the name of a base model that is not here, or does not tell what it predicts.

    Why is this bad
    The training runs without an error, and the LoRA draws noise.

    Bad
    ```json
    {"base_model": "models/noobaiXL-vpred", "v_parameterization": false}
    ```

    Good
    ```json
    {"base_model": "models/noobaiXL-vpred", "v_parameterization": true}
    ```
    """
    name = re.split(r"[/\\]", view.config.base_model)[-1]
    if view.config.v_parameterization or not _V_IN_NAME.search(name):
        return
    header = base_header(view) if view.disk_view else None
    if header is None or header.prediction is None:
        message = f"{name} says that it predicts v, and v_parameterization is off"
        yield Hit(message, ("base_model", "v_parameterization"), "set v_parameterization to true")


@rule(
    "LL732",
    "noise-offset-beyond-sdxl",
    "info",
    reads=("base_model", "noise_offset"),
    source="sd-scripts docs/train_SDXL-en.md: noise_offset 0.0357",
    sees="disk",
)
def noise_offset_beyond_sdxl(view: View) -> Iterator[Hit]:
    """The noise offset is well above the one that SDXL was trained with.

    What it does
    Looks for `noise_offset` above 0.1, where the base's header says SDXL. Above 0.2 LL707 warns of it with any base.

    Why is this bad
    SDXL learned with an offset of 0.0357, so it draws dark and bright pictures already. A LoRA that learns with several
    times as much also learns to shift brightness and contrast.

    Bad
    ```json
    {"base_model": "xl", "noise_offset": 0.15}
    ```
    ```files
    xl/model_index.json: {"_class_name": "StableDiffusionXLPipeline"}
    ```

    Good
    ```json
    {"base_model": "xl", "noise_offset": 0.0357}
    ```
    ```files
    xl/model_index.json: {"_class_name": "StableDiffusionXLPipeline"}
    ```
    """
    header, offset = base_header(view), view.config.noise_offset or 0.0
    if header and header.family == "sdxl" and 0.1 < offset <= 0.2:
        message = f"noise_offset {offset:g} is far above the 0.0357 that SDXL was trained with"
        yield Hit(message, ("noise_offset", "base_model"), "use 0.0357, or leave it out")


@rule(
    "LL729",
    "zero-terminal-snr-mismatch",
    "warning",
    reads=("base_model", "zero_terminal_snr"),
    source="arXiv:2305.08891 section 3; diffusers rescale_betas_zero_snr",
    sees="disk",
)
def zero_terminal_snr_mismatch(view: View) -> Iterator[Hit]:
    """`zero_terminal_snr` does not say what the base model was trained with.

    What it does
    Reads it from the base model's `scheduler/scheduler_config.json` (`rescale_betas_zero_snr`), or from a file's
    header: the tensor `ztsnr`.

    Why is this bad
    The LoRA learns for other amounts of noise than the base draws with, mostly in the steps that decide how bright or
    dark a picture is.

    Bad
    ```json
    {"base_model": "vpred", "v_parameterization": true}
    ```
    ```files
    vpred/model_index.json: {}
    vpred/unet/config.json: {}
    vpred/scheduler/scheduler_config.json: {"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}
    ```

    Good
    ```json
    {"base_model": "vpred", "v_parameterization": true, "zero_terminal_snr": true}
    ```
    ```files
    vpred/model_index.json: {}
    vpred/unet/config.json: {}
    vpred/scheduler/scheduler_config.json: {"prediction_type": "v_prediction", "rescale_betas_zero_snr": true}
    ```
    """
    header = base_header(view)
    if header and header.zero_terminal_snr and not view.config.zero_terminal_snr:
        message = "the base was trained with a schedule that ends in pure noise, zero_terminal_snr is false"
        yield Hit(
            message,
            ("zero_terminal_snr", "base_model"),
            "set zero_terminal_snr to true",
            set_to("zero_terminal_snr", True),
        )
