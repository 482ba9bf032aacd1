"""Optimizers by the names that sd-scripts uses, and what each adapter hands to its own."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.optim import Optimizer

from lora_lab.config import TrainConfig, arguments, learning_rate_of, loraplus_ratio
from lora_lab.config.blocks import Blocks, block_of
from lora_lab.config.steps import Part
from lora_lab.failure import Failure
from lora_lab.train.pack import AdapterWeights

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
    "DAdaptation": ("dadaptation.experimental", "DAdaptAdamPreprint", "dadaptation"),
    "DAdaptAdamPreprint": ("dadaptation.experimental", "DAdaptAdamPreprint", "dadaptation"),
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
    """Return the class behind a name: a listed one, or `module.Class` of an installed package.

    Raises Failure when its package is missing, or where no installed package has such an optimizer; nothing but
    installed packages is ever imported.
    """
    if name in CLASSES:
        module, attribute, package = CLASSES[name]
    else:
        module, _, attribute = name.rpartition(".")
        package = _package_of(name, module)
    try:
        found: object = getattr(_imported(module), attribute)
    except ImportError as error:
        where = f"the package {package} is not installed" if name in CLASSES else str(error)
        raise Failure(f"optimizer_type {name}: {where}", f"pip install {package}, or use AdamW") from error
    except AttributeError as error:
        raise Failure(
            f"optimizer_type {name}: {module} has no {attribute}", "use AdamW, or correct the name"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise Failure(f"optimizer_type {name} is no optimizer", "use a listed name or a class of torch.optim")
    return found


def _package_of(name: str, module: str) -> str:
    """Return the installed package that has a module; a config must not make any other file run, as one beside it."""
    top = module.partition(".")[0]
    packages = importlib.metadata.packages_distributions().get(top, [])
    spec = importlib.util.find_spec(top) if packages else None
    if spec is None:
        raise Failure(
            f"optimizer_type {name} is unknown: no installed package has a module {top or name}",
            "install its package, or use a listed name such as AdamW",
        )
    origin = Path(spec.origin or "").resolve()
    roots = [Path(str(importlib.metadata.distribution(package).locate_file(""))).resolve() for package in packages]
    if not any(origin.is_relative_to(root) for root in roots):
        raise Failure(
            f"optimizer_type {name} would come from {origin}, which is not the installed package {packages[0]}",
            "rename or move that file",
        )
    return packages[0]


def _imported(module: str) -> ModuleType:
    """Import a module. bitsandbytes looks for the package `kernels` then, to fetch code from a hub: it finds none."""
    if not module.startswith("bitsandbytes"):
        return importlib.import_module(module)
    known = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # Python's way to say that there is no such module
    try:
        return importlib.import_module(module)
    finally:
        del sys.modules["kernels"]
        if known is not None:
            sys.modules["kernels"] = known


def param_groups(
    layers: list[tuple[str, AdapterWeights]], config: TrainConfig, blocks: Blocks | None = None
) -> list[ParamGroup]:
    """The text encoder's group first, then the U-Net's, each with its own learning rate; empty ones are left out.

    With LoRA+ (Hayou et al. 2024, arXiv:2402.12354) the second matrices of a part (of a LoRA, `up`) have a group of
    their own after it, its rate the part's times the ratio. Blocks of the U-Net whose weight is the same are one group,
    called by its weight; those of weight 0 learn nothing.
    """
    groups: list[ParamGroup] = []
    for part, prefix in PARTS.items():
        own = [(name, weights) for name, weights in layers if name.startswith(prefix)]
        ratio = loraplus_ratio(config, part)
        for weight, weighted in _by_weight(own, blocks if part == "unet" else None).items():
            rate, label = learning_rate_of(config, part) * weight, part if weight == 1 else f"{part}_x{weight:g}"
            if ratio is None:
                groups.append({"params": [p for w in weighted for p in w.trained()], "lr": rate, "label": label})
                continue
            slower = [p for w in weighted for p in w.trained(faster=False)]
            faster = [p for w in weighted for p in w.trained(faster=True)]
            groups.append({"params": slower, "lr": rate, "label": label})
            groups.append({"params": faster, "lr": rate * ratio, "label": f"{label}_plus"})
    return groups


def _by_weight(layers: list[tuple[str, AdapterWeights]], blocks: Blocks | None) -> dict[float, list[AdapterWeights]]:
    """The layers by the weight of their blocks, from input to output; those of weight 0 are held as they are."""
    found: dict[float, list[AdapterWeights]] = {}
    for name, weights in layers:
        weight = 1.0 if blocks is None else blocks.weights[block_of(name)]
        if weight:
            found.setdefault(weight, []).append(weights)
        else:
            weights.requires_grad_(False)
    return found


def make_optimizer(groups: list[ParamGroup], config: TrainConfig) -> Optimizer:
    """Build the config's optimizer over the groups.

    Raises Failure for an argument that it does not take, rates that it can't have, or a machine that it can't run on.
    """
    name = optimizer_name(config)
    build = optimizer_class(name)
    given = {**ALWAYS.get(name, {}), **arguments(config.optimizer_args)}
    known = inspect.signature(build).parameters
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    unknown = [key for key in given if key not in known and not anything]
    if unknown:
        raise Failure(f"optimizer_args: {name} has no argument {unknown[0]!r}", f"it takes: {', '.join(known)}")
    rate: float | None = config.learning_rate
    weighted = any("_x" in group["label"] for group in groups)
    if name == "AdaFactor" and given.get("relative_step", True):  # as in sd-scripts: it takes no rate from outside
        if weighted:
            _refuse_several(name, groups)
        rate = None
        groups = [{key: value for key, value in group.items() if key != "lr"} for group in groups]
    if getattr(build, "__name__", "").startswith(ONE_RATE) and len({group["lr"] for group in groups}) > 1:
        _refuse_several(name, groups)
    try:
        with _quiet():
            if build.__module__.startswith("bitsandbytes"):
                _try_one_step(build, given, groups[0]["params"][0].device)
            return without_compiler(build)(groups, lr=rate, **given, **_at_once(build, given))
    except (TypeError, ValueError, RuntimeError, AssertionError, NotImplementedError, NameError) as error:
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Failure(
            f"{name} refuses its arguments: {line}", "correct optimizer_args or the learning rates"
        ) from error


def _refuse_several(name: str, groups: list[ParamGroup]) -> None:
    rates = ", ".join(f"{group['label']} {group['lr']:g}" for group in groups)
    raise Failure(
        f"{name} finds one rate for all parts, and here are {rates}",
        "give both parts 1.0, and use no LoRA+ and no weights of blocks",
    )


FUSED = ("Adam", "AdamW", "SGD")
"""torch's optimizers that have one kernel for all tensors on every device."""


def _at_once(build: Callable[..., Optimizer], given: dict[str, Any]) -> dict[str, bool]:
    """Return what makes an optimizer of torch move all tensors at once, where nothing is said of it.

    By itself it does so on GPUs only, and on CPUs hundreds of small tensors one by one, in Python.
    """
    known = inspect.signature(build).parameters
    if not build.__module__.startswith("torch.optim") or given.keys() & {"fused", "foreach", "differentiable"}:
        return {}
    if getattr(build, "__name__", "") in FUSED:
        return {"fused": True}
    return {"foreach": True} if "foreach" in known else {}


def without_compiler(build: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
    """Return PyTorch's optimizer class without the wrappers that tell the compiler of its methods; others unchanged.

    Each of them imports torch._dynamo when it is called, 1.2 s in which nothing is learned, and none does anything
    where the optimizer is not compiled. The class is the same in all else.
    """
    if not (isinstance(build, type) and build.__module__.startswith("torch.optim.")):
        return build
    bare = {name: inspect.unwrap(getattr(build, name)) for name in ("step", "zero_grad", "add_param_group")}
    bare["step"] = torch.no_grad()(bare["step"])
    return type(build.__name__, (build,), {**bare, "__module__": build.__module__, "__qualname__": build.__qualname__})


ONE_RATE = ("DAdapt", "Prodigy")
"""How the names begin of optimizers that estimate one step size for all parts; the libraries refuse two rates."""


def _try_one_step(build: Callable[..., Optimizer], given: dict[str, Any], device: torch.device) -> None:
    """Take a step on a tensor large enough for 8-bit state: whether bitsandbytes runs somewhere only a try can tell."""
    tensor = torch.nn.Parameter(torch.zeros(EIGHT_BIT_FROM, device=device))
    tensor.grad = torch.ones_like(tensor)
    trial = build([tensor], lr=1.0, **given)
    try:
        trial.step()
    except Exception as error:  # each version fails in its own way where it does not run
        raise Failure(
            f"bitsandbytes does not run on {device.type}: {str(error).strip().partition(chr(10))[0]}",
            "pip install -U bitsandbytes (0.50 runs on CPUs too), or use AdamW instead of AdamW8bit",
        ) from error


EIGHT_BIT_FROM = 4096
"""bitsandbytes keeps the state of smaller tensors in 32 bits."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within: libraries do not print (prodigyopt, dadaptation) or warn (bitsandbytes' paged optimizers on a CPU)."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rates of the next step, by metric.

    `lr/…` is what the schedule says, `effective_lr/…` that times the estimate of Prodigy or D-Adaptation. AdaFactor
    with relative_step has its own: that of the group's first tensor, for which sd-scripts shows it too.
    """
    found: dict[str, float] = {}
    for group in optimizer.param_groups:
        if group["lr"] is None:
            found[f"lr/{group['label']}"] = _relative_rate(optimizer, group)
            continue
        found[f"lr/{group['label']}"] = float(group["lr"])
        if "d" in group:
            found[f"effective_lr/{group['label']}"] = float(group["lr"]) * float(group["d"])
    return found


def _relative_rate(optimizer: Any, group: ParamGroup) -> float:
    first = group["params"][0]
    step = optimizer.state[first].get("step", 0) + 1
    size = first.detach().norm() / first.numel() ** 0.5
    return float(optimizer._get_lr(group, {"step": step, "RMS": size}))


def clip_gradients(groups: list[ParamGroup], limit: float) -> torch.Tensor:
    """Scale one adapter's gradients so that their common norm is at most `limit` (0: leave them); return the norm."""
    params = [p for group in groups for p in group["params"]]
    at_once = True if params[0].device.type == "cpu" else None  # torch does so by itself where there is a GPU
    return torch.nn.utils.clip_grad_norm_(params, limit or float("inf"), foreach=at_once)
