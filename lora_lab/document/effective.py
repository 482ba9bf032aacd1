"""What a config means once every default is resolved, in a form in which equal meanings are equal."""

from lora_lab.config import PARAMETERS, arguments, check, resolve_path, sides
from lora_lab.document.conversion import Conversion, is_relative


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
    for key in ("lr_warmup_steps", "warmup_lr_ratio", "noise_offset"):
        meant[key] = meant[key] or None
    return meant


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
    if PARAMETERS[key].path_kind and isinstance(value, str) and is_relative(value):
        return str(resolve_path(value, conversion.folder.absolute()))
    return value
