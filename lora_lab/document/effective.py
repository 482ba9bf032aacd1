"""What a config means once every default is resolved, in a form in which equal meanings are equal."""

from typing import Final

from lora_lab.config import (
    PARAMETERS,
    TrainConfig,
    arguments,
    check,
    effective_alpha,
    effective_conv_alpha,
    resolve_path,
    sides,
    with_paths,
)
from lora_lab.document.conversion import Conversion, is_relative

_OFF_AT_ZERO: Final = (
    "adaptive_noise_scale",
    "ip_noise_gamma",
    "lr_warmup_steps",
    "min_snr_gamma",
    "module_dropout",
    "multires_noise_iterations",
    "network_dropout",
    "noise_offset",
    "rank_dropout",
    "scale_weight_norms",
    "v_pred_like_loss",
    "warmup_lr_ratio",
)
"""Keys whose 0 and null are the same to the trainer."""


_OF_LOKR: Final = ("lokr_factor", "decompose_both")
"""Keys that mean nothing to any other kind of network."""


def effective(conversion: Conversion) -> dict[str, object]:
    """Return the meaning of every key; an invalid value stands for itself, an unknown one for its own name."""
    values = conversion.all_values
    checked = check(values)
    meant: dict[str, object] = {key: getattr(checked.config, key) for key in PARAMETERS}
    meant |= {key: values[key] for key in checked.invalid if key in values}
    meant |= {key: f"?{name}" for key, name in conversion.unknown.items()}
    valid = {key for key in PARAMETERS if key not in checked.invalid and key not in conversion.unknown}
    for key in valid:
        meant[key] = _canonical(key, meant[key], conversion)
    for rate in ("unet_lr", "text_encoder_lr"):
        if meant[rate] is None:
            meant[rate] = meant["learning_rate"]
    if meant["max_steps"] is not None:
        meant["num_epochs"] = None  # the steps win
    if meant["lr_warmup_steps"] is not None:
        meant["warmup_lr_ratio"] = None
    _strengths(checked.config, valid, meant)
    for key in _OFF_AT_ZERO:
        meant[key] = meant[key] or None
    if checked.config.network_type != "lokr":
        meant |= {key: PARAMETERS[key].default for key in _OF_LOKR}
    return meant


def _strengths(config: TrainConfig, valid: set[str], meant: dict[str, object]) -> None:
    """Put what stands for "as strong as the rank" as the number that it is; without convolutions theirs is none."""
    if {"alpha", "net_dim"} <= valid:
        meant["alpha"] = effective_alpha(config)
    if {"alpha", "net_dim", "conv_dim", "conv_alpha"} <= valid:
        meant["conv_alpha"] = effective_conv_alpha(config) if config.conv_dim else None


def _canonical(key: str, value: object, conversion: Conversion) -> object:
    """Return one form for values that are written in several."""
    if value is None or value == "":
        return None
    if key == "train_resolution":
        return sides(value)  # type: ignore[arg-type]
    if key == "optimizer_args":
        return arguments(value) or None  # type: ignore[arg-type]
    if key == "optimizer_type" and isinstance(value, str):
        return value.casefold()
    if key == "base_weights" and isinstance(value, str):
        value = [value]
    here = conversion.folder.absolute()
    return with_paths(key, value, lambda path: str(resolve_path(path, here)) if is_relative(path) else path)
