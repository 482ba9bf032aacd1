"""What a machine can do for training, line by line, in the words of the rules."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from lora_lab.lint.gpu_memory import GIB
from lora_lab.lint.machine import Machine, has_bf16

State = Literal["ok", "note", "missing"]
"""`missing`: nothing can be trained without it. `note`: it works, but less well or with fewer settings."""

TRAINING: Final = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "pillow", "numpy")
"""Packages without which nothing is trained."""

_MODULES: Final[Mapping[str, str]] = {"pillow": "PIL"}
_LITTLE_DISK: Final = 10 * GIB


class Line(NamedTuple):
    """One thing that was looked at: its name, how it is, what was found, and what to do where it is not well."""

    name: str
    state: State
    found: str
    remedy: str = ""


class Torch(NamedTuple):
    """What torch says of itself when it is really imported; `error` where that fails."""

    device: str = ""
    error: str = ""


def examine(machine: Machine, folder: Path, torch: Torch | None = None) -> Iterator[Line]:
    """Yield what a machine can do.

    `folder` is where things are written; `torch` is what a trial import gave, None where none was made.
    """
    yield _card(machine)
    yield from _precision(machine)
    for package in TRAINING:
        yield _needed(machine, package)
    if torch is not None:
        yield _torch_uses(machine, torch)
    if machine.cpu_only:
        yield Line("xformers", "ok", "not needed: it is for NVIDIA cards")
    else:
        yield _wanted(machine, "xformers", "the setting xformers has no effect; PyTorch's own attention is as fast")
    yield _wanted(machine, "bitsandbytes", "8-bit and paged optimizers (AdamW8bit, use_8bit_adam) can't be used")
    for package, optimizers in (("prodigyopt", "Prodigy"), ("dadaptation", "DAdapt..."), ("lion-pytorch", "Lion")):
        yield _wanted(machine, package, f"the optimizer {optimizers} can't be used")
    yield _wanted(machine, "schedulefree", "the schedule-free optimizers can't be used")
    yield _wanted(machine, "mlflow", "runs are not tracked", "pip install 'lora-lab[mlflow]'")
    yield _room(machine, folder)
    yield _memory(machine)


def _card(machine: Machine) -> Line:
    cards = machine.gpus
    if cards is None:
        found = "no NVIDIA card; one of another maker may be there, which torch tells"
        return Line("card", "note", found, "see the line torch uses")
    if not cards:
        remedy = "train on a machine with an NVIDIA card, or try things out with lora-lab quickstart"
        return Line("card", "note", "this machine has no graphics card: a step takes it seconds to minutes", remedy)
    names = []
    for card in cards:
        facts = [f"{card.memory / GIB:.1f} GiB"] if card.memory else []
        facts += ["compute capability {}.{}".format(*card.capability)] if card.capability else []
        names.append(f"{card.name} ({', '.join(facts)})" if facts else card.name)
    return Line("card", "ok", "; ".join(names))


def _precision(machine: Machine) -> Iterator[Line]:
    """Yield what mixed_precision should be."""
    card = machine.gpu
    if card is not None:
        can = has_bf16(card)
        if can is False:
            yield Line("bf16", "note", f"{card.name} does not compute in bf16", "set mixed_precision to fp16")
        else:
            yield Line("bf16", "ok", "the card computes in bf16" if can else f"not known of {card.name}")
    elif machine.cpu_only:
        found = "mixed_precision fp16 needs a graphics card; bf16 and no work on the processor"
        yield Line("bf16", "note", found, "set mixed_precision to no")


def _needed(machine: Machine, package: str) -> Line:
    version = machine.version(package)
    if version is None or not machine.installed(_MODULES.get(package, package)):
        return Line(package, "missing", "is not installed: nothing can be trained", "pip install 'lora-lab[train]'")
    if package == "torch" and machine.gpu and machine.torch_without_cuda:
        found = f"{version}: built without CUDA, so the {machine.gpu.name} is not used"
        return Line(package, "note", found, "install torch for CUDA: see pytorch.org")
    return Line(package, "ok", version)


def _torch_uses(machine: Machine, torch: Torch) -> Line:
    if torch.error:
        return Line("torch uses", "missing", f"torch can't be imported: {torch.error}", "install torch anew")
    if machine.gpu and not torch.device.startswith("cuda"):
        remedy = "see pytorch.org for a torch that fits the driver"
        return Line("torch uses", "note", f"{torch.device}, though there is a card", remedy)
    return Line("torch uses", "ok", torch.device)


def _wanted(machine: Machine, package: str, without: str, remedy: str = "") -> Line:
    version = machine.version(package)
    if version is None:
        return Line(package, "note", f"is not installed: {without}", remedy or f"pip install {package}")
    return Line(package, "ok", version)


def _room(machine: Machine, folder: Path) -> Line:
    free = machine.free(folder)
    if free is None:
        return Line("disk", "note", f"the free space at {folder} can't be told", "")
    little = free < _LITTLE_DISK
    remedy = "make room: a base model takes 2 to 7 GiB, each LoRA 10 to 300 MiB" if little else ""
    return Line("disk", "note" if little else "ok", f"{free / GIB:.1f} GiB free at {folder}", remedy)


def _memory(machine: Machine) -> Line:
    memory = f"{machine.memory / GIB:.1f} GiB" if machine.memory else "not known"
    return Line("memory", "ok", f"{memory}, {machine.cores or '?'} processor cores")
