"""What counts as a sane learning rate depends on the optimizer, and for some on its arguments."""

from collections.abc import Set
from typing import Literal

from lora_lab.config import TrainConfig, arguments, learning_rate_of, trained_parts

Family = Literal["adam", "lion", "adaptive", "adafactor", "sgd", "other"]

OPTIMIZER_KEYS = ("learning_rate", "unet_lr", "text_encoder_lr", "optimizer_type", "optimizer_args", "use_8bit_adam")
"""What `fixed_rate_family` and the rules about learning rates read."""


def family(config: TrainConfig) -> Family:
    """Return the optimizer's kind; `adaptive` ones find the learning rate themselves and want 1.0."""
    name = config.optimizer_type.casefold()
    if "." in name or config.optimizer_type == "":
        return "other"
    if name.startswith(("dadapt", "prodigy")):
        return "adaptive"
    if "lion" in name:
        return "lion"
    if name.startswith("sgd"):
        return "sgd"
    return "adafactor" if name == "adafactor" else "adam"


def fixed_rate_family(config: TrainConfig) -> Family:
    """Return the kind of an optimizer that uses the learning rate as it is given.

    Adafactor with its default relative_step sets the rate itself and counts as `adaptive`; with a fixed one it takes
    the rates of Adam.
    """
    kind = family(config)
    if kind == "adafactor":
        return "adaptive" if arguments(config.optimizer_args).get("relative_step", True) else "adam"
    return kind


def rates_in_use(config: TrainConfig, given: Set[str]) -> dict[str, float]:
    """Return the learning rate of each part that is trained, by the key that sets it; `given` are the keys set."""
    found: dict[str, float] = {}
    for part in trained_parts(config):
        own = "unet_lr" if part == "unet" else "text_encoder_lr"
        found[own if own in given else "learning_rate"] = learning_rate_of(config, part)
    return found
