"""Optimizers by the names that sd-scripts uses, and what each adapter hands to its own."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from lora_lab.config import TrainConfig, arguments, learning_rate_of
from lora_lab.config.steps import Part
from lora_lab.failure import Failure
from lora_lab.train.pack import LoraWeights

ParamGroup = dict[str, Any]

PARTS: dict[Part, str] = {"text_encoder": "lora_te", "unet": "lora_unet"}
"""What a LoRA adapts, with the prefix of its layer names; the text encoder's group comes first."""

CLASSES: dict[str, tuple[str, str, str]] = {
    "AdamW": ("torch.optim", "AdamW", "torch"),
    "AdamW8bit": ("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "PagedAdamW": ("bitsandbytes.optim", "PagedAdamW", "bitsandbytes"),
    "PagedAdamW8bit": ("bitsandbytes.optim", "PagedAdamW8bit", "bitsandbytes"),
    "PagedAdamW32bit": ("bitsandbytes.optim", "PagedAdamW32bit", "bitsandbytes"),
    "Lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "Lion8bit": ("bitsandbytes.optim", "Lion8bit", "bitsandbytes"),
    "PagedLion8bit": ("bitsandbytes.optim", "PagedLion8bit", "bitsandbytes"),
    "SGDNesterov": ("torch.optim", "SGD", "torch"),
    "SGDNesterov8bit": ("bitsandbytes.optim", "SGD8bit", "bitsandbytes"),
    "DAdaptation": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DAdaptAdaGrad": ("dadaptation", "DAdaptAdaGrad", "dadaptation"),
    "DAdaptAdam": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DAdaptAdan": ("dadaptation", "DAdaptAdan", "dadaptation"),
    "DAdaptAdanIP": ("dadaptation.experimental", "DAdaptAdanIP", "dadaptation"),
    "DAdaptLion": ("dadaptation", "DAdaptLion", "dadaptation"),
    "DAdaptSGD": ("dadaptation", "DAdaptSGD", "dadaptation"),
    "Prodigy": ("prodigyopt", "Prodigy", "prodigyopt"),
    "AdaFactor": ("transformers.optimization", "Adafactor", "transformers"),
    "RAdamScheduleFree": ("schedulefree", "RAdamScheduleFree", "schedulefree"),
    "AdamWScheduleFree": ("schedulefree", "AdamWScheduleFree", "schedulefree"),
    "SGDScheduleFree": ("schedulefree", "SGDScheduleFree", "schedulefree"),
}
"""Name in the config: module, class, and the package that carries it."""

ALWAYS: dict[str, dict[str, Any]] = {
    "SGDNesterov": {"nesterov": True, "momentum": 0.9},
    "SGDNesterov8bit": {"nesterov": True, "momentum": 0.9},
}
"""Arguments that a name implies; `optimizer_args` wins over them."""


def optimizer_name(config: TrainConfig) -> str:
    """Return the optimizer's name; `use_8bit_adam` is the older way to say AdamW8bit."""
    return "AdamW8bit" if config.use_8bit_adam else config.optimizer_type


def optimizer_class(name: str) -> Callable[..., Optimizer]:
    """Return the class behind a name. Raises Failure when its package is missing or the name is unknown."""
    module, attribute, package = CLASSES.get(name) or (*_split(name), "")
    try:
        found: Callable[..., Optimizer] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise Failure(
            f"optimizer_type {name}: the package {package or module} is not installed",
            f"pip install {package or module}, or use AdamW",
        ) from error
    except AttributeError as error:
        raise Failure(
            f"optimizer_type {name}: {module} has no {attribute}", "use AdamW, or correct the name"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise Failure(f"optimizer_type {name} is no optimizer", "use a listed name or a class of torch.optim")
    return found


def _split(name: str) -> tuple[str, str]:
    module, _, attribute = name.rpartition(".")
    if module != "torch.optim":  # importing any other module that a config names would run code of its choosing
        raise Failure(f"optimizer_type {name} is unknown", "use a listed name or a class of torch.optim")
    return module, attribute


def param_groups(layers: list[tuple[str, LoraWeights]], config: TrainConfig) -> list[ParamGroup]:
    """The text encoder's group first, then the U-Net's, each with its own learning rate; empty ones are left out."""
    groups: list[ParamGroup] = []
    for part, prefix in PARTS.items():
        params = [p for name, weights in layers if name.startswith(prefix) for p in (weights.down, weights.up)]
        if params:
            groups.append({"params": params, "lr": learning_rate_of(config, part), "label": part})
    return groups


def make_optimizer(groups: list[ParamGroup], config: TrainConfig) -> Optimizer:
    """Build the config's optimizer over the groups. Raises Failure for an argument that it does not take."""
    name = optimizer_name(config)
    build = optimizer_class(name)
    given = {**ALWAYS.get(name, {}), **arguments(config.optimizer_args)}
    known = inspect.signature(build).parameters
    unknown = [key for key in given if key not in known]
    if unknown:
        raise Failure(f"optimizer_args: {name} has no argument {unknown[0]!r}", f"it takes: {', '.join(known)}")
    try:
        return build(groups, lr=config.learning_rate, **given)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise Failure(
            f"{name} refuses its arguments: {error}", "correct optimizer_args or the learning rates"
        ) from error


def clip_gradients(groups: list[ParamGroup], limit: float) -> torch.Tensor:
    """Scale one adapter's gradients so that their common norm is at most `limit` (0: leave them); return the norm."""
    params = [p for group in groups for p in group["params"]]
    return torch.nn.utils.clip_grad_norm_(params, limit or float("inf"))
