"""Our settings as a TOML file for sd-scripts' `--config_file`."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from lora_lab.config import (
    BLOCK_ARGS,
    NETWORK_ARGS,
    PARAMETERS,
    TrainConfig,
    arguments,
    check,
    is_whole,
    network_args,
    network_module,
    sides,
)
from lora_lab.config.merged import with_multipliers
from lora_lab.document.compose import to_toml
from lora_lab.document.dialects.names import theirs
from lora_lab.document.dialects.sd_scripts import ASSUMED

_SCHEDULES: Final = frozenset(["linear", "cosine", "cosine_with_restarts", "polynomial", "constant"])
_ALWAYS: Final = frozenset([*ASSUMED, "train_resolution", "test_seed", "num_epochs"]) - {"max_steps"}
"""What is written even where it is our default, because sd-scripts takes something else (or nothing at all)."""

_IN_ARGS: Final = ("network_type", "use_dora", "use_tucker", "lokr_factor", "decompose_both")
"""Our keys that `network_module` and `network_args` say."""


class Written(NamedTuple):
    """The text, and why each setting of ours that is not in it was left out."""

    text: str
    left_out: dict[str, str]


def to_sd_scripts(values: Mapping[str, object]) -> Written:
    """Return the settings in sd-scripts' names and units; what is invalid is left out."""
    checked = check(values)
    config = checked.config
    names = theirs("sd-scripts")
    left_out = {problem.key: problem.message for problem in checked.problems if problem.key in checked.given}
    given = {key for key in checked.given if values.get(key) is not None} - left_out.keys()
    found: dict[str, object] = {"network_module": network_module(config)}
    for key in (key for key in PARAMETERS if key not in (*NETWORK_ARGS, *_IN_ARGS)):
        if key not in given | _ALWAYS or key in left_out:
            continue
        reason = _reason(key, getattr(config, key), names)
        if reason is None:
            found[names[key]] = _value(key, getattr(config, key))
        elif key in given and reason:
            left_out[key] = reason
    inner = _network_args(config, left_out)
    if inner:
        found["network_args"] = [f"{key}={value}" for key, value in inner.items()]
    _merged(found, config)
    _length(found, config.max_steps is not None, "num_epochs" in given, left_out)
    if config.alpha in (None, 0):
        found["network_alpha"] = config.net_dim
    if config.warmup_lr_ratio and config.lr_warmup_steps is None:
        found["lr_warmup_steps"] = config.warmup_lr_ratio
    if config.use_8bit_adam and "optimizer_type" in found:
        del found["use_8bit_adam"]  # sd-scripts refuses the two together
        left_out["use_8bit_adam"] = "sd-scripts takes it or optimizer_type"
    return Written(to_toml(found), left_out)


def _reason(key: str, value: object, names: Mapping[str, str]) -> str | None:
    """Return why a setting can't be written, "" where nothing is lost by it, None where it can."""
    if key == "warmup_lr_ratio" or value is None:
        return ""
    if key not in names:
        usual = PARAMETERS[key].default
        return "" if value == usual else "sd-scripts has no such setting"
    if key == "scheduler" and value in ("step", "plateau"):
        return f"sd-scripts has no schedule {value}"
    if key == "save_as" and value == "bin":
        return "sd-scripts writes safetensors, ckpt and pt"
    if key == "sample_prompts" and not isinstance(value, str):
        return "sd-scripts reads prompts from a file: write them into one, a line each"
    if key == "max_clip_token_length" and value == 75:
        return ""  # the flag's absence says 75
    return None


def _value(key: str, value: object) -> object:
    """Return a value as a `--config_file` wants it, where argparse's types do not help."""
    if key == "train_resolution":
        width, height = sides(value)  # type: ignore[arg-type]
        return f"{width},{height}"
    if key == "optimizer_args":
        return [f"{name}={_literal(one)}" for name, one in arguments(value).items()]  # type: ignore[arg-type]
    return value


def _literal(value: object) -> str:
    """Return an argument as a text that `ast.literal_eval` reads back."""
    return repr(value) if isinstance(value, str) else str(value)


def _network_args(config: TrainConfig, left_out: dict[str, str]) -> dict[str, str]:
    """Return what stands in `network_args`; what this kind of network has no use for is left out."""
    inner = network_args(config)
    if network_module(config) != "networks.lora":
        lost = [key for key in BLOCK_ARGS if inner.pop(key, None) is not None]
        left_out |= dict.fromkeys(lost, "LyCORIS, which has this kind of network, has no settings of blocks")
    whole = config.network_type == "lokr" and is_whole(config.net_dim, config.lokr_factor)
    if whole and inner.pop("use_tucker", None) is not None:
        left_out["use_tucker"] = "of a LoKr of whole matrices nothing is left for it"
    return inner


def _merged(found: dict[str, object], config: TrainConfig) -> None:
    """Write the files that are merged and their multipliers as lists, which sd-scripts takes alone."""
    if "base_weights" in found and config.base_weights:
        try:
            pairs = with_multipliers(config.base_weights, config.base_weights_multiplier)
        except ValueError:
            return  # which the linter tells
        found["base_weights"] = [name for name, _ in pairs]
        if config.base_weights_multiplier is not None:
            found["base_weights_multiplier"] = [multiplier for _, multiplier in pairs]


def _length(found: dict[str, object], by_steps: bool, epochs_given: bool, left_out: dict[str, str]) -> None:
    """Write steps or epochs: with both, sd-scripts lets the epochs win, and lora_lab the steps."""
    if by_steps:
        found.pop("max_train_epochs", None)
        if epochs_given:
            left_out["num_epochs"] = "max_steps wins over it"
