"""LL78x: whether a run fits: on the card, on the disk, into the day."""

from collections.abc import Iterator
from pathlib import Path

from lora_lab.config import TrainConfig
from lora_lab.lint.dataset import EPOCH_KEYS
from lora_lab.lint.finding import set_to
from lora_lab.lint.forecast import saved
from lora_lab.lint.gpu_memory import GIB, Family, estimate, family_of
from lora_lab.lint.rule import Hit, View, rule
from lora_lab.lint.rules.base_model import base_header
from lora_lab.lint.rules.machine import runs_here

_PARTS = ("net_dim", "conv_dim", "network_type", "lokr_factor", "unet_only", "text_only")
_ROOM = 0.95
"""Part of a card's or disk's space that can be used up; the rest is somebody else's."""


def _family(view: View) -> Family | None:
    """Return the counts of the base's family, where the disk may be looked at and the base is a whole model."""
    return family_of(base_header(view)) if view.disk_view and runs_here(view) else None


@rule("LL780", "no-card", "info", reads=("base_model",), source="lora_lab/train/prepare.py", sees="machine")
def no_card(view: View) -> Iterator[Hit]:
    """A model of full size is to be trained without a graphics card.

    What it does
    Looks for a card where the base model's header says that it is of full size.

    Why is this bad
    A step takes the processor many seconds to minutes, a card less than one. It works, and a run takes days.

    Bad
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    ```machine
    gpu: none
    ```

    Good
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    ```machine
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```
    """
    if _family(view) and view.machine.cpu_only:
        message = "this machine has no graphics card: a step takes it seconds to minutes"
        yield Hit(message, ("base_model",), "train on a machine with one, or try things out with lora-lab quickstart")


@rule(
    "LL781",
    "card-too-small",
    "warning",
    reads=(
        *("base_model", "batch_size", "train_resolution", "gradient_checkpointing", "mixed_precision"),
        *(*_PARTS, "optimizer_type", "use_8bit_adam"),
    ),
    source="benchmarks/memory_of_a_step.py; https://github.com/bmaltais/kohya_ss/issues/3329",
    sees="machine",
)
def card_too_small(view: View) -> Iterator[Hit]:
    """A step needs more memory than the card has.

    What it does
    Estimates what a step takes on the card (base, LoRA and optimizer, activations by batch, pixels and
    `gradient_checkpointing`) and compares it with what the card has. `lora_lab/lint/gpu_memory.py` has the formula.

    Why is this bad
    The run stops with "CUDA out of memory".

    Bad
    ```json
    {"base_model": "sd15", "batch_size": 16}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    ```machine
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```

    Good
    ```json
    {"base_model": "sd15", "batch_size": 16, "gradient_checkpointing": true}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    ```machine
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```
    """
    family = _family(view)
    card = view.machine.gpu if family else None
    if family is None or card is None or card.memory is None:
        return
    needs = estimate(view.config, family)
    if needs.total > card.memory * _ROOM:
        wide, high = view.config.resolution
        pictures = f"{view.config.batch_size} of {wide}x{high}"
        message = (
            f"a step needs about {needs.total / GIB:.1f} GiB ({needs.base / GIB:.1f} base, "
            f"{needs.adapters / GIB:.1f} LoRA and optimizer, {needs.activations / GIB:.1f} for {pictures}), "
            f"and {card.name} has {card.memory / GIB:.1f}"
        )
        keys = ("batch_size", "train_resolution", "gradient_checkpointing", "base_model")
        remedy, switch = _smaller(view.config, family, int(card.memory * _ROOM))
        yield Hit(message, keys, remedy, set_to("gradient_checkpointing", True) if switch else None)


def _smaller(config: TrainConfig, family: Family, room: int) -> tuple[str, bool]:
    """Return what would make a step fit, and whether gradient_checkpointing alone does."""
    one, two = (estimate(config, family, batch, checkpointing=True).total for batch in (1, 2))
    batch = (room - one) // (two - one) + 1
    if batch >= config.batch_size:
        return "set gradient_checkpointing to true", True
    start = "set " if config.gradient_checkpointing else "set gradient_checkpointing to true and "
    if batch > 0:
        return f"{start}batch_size to {batch}; gradient_acc_steps makes up for it", False
    return "use a lower train_resolution, a lower net_dim or a larger card", False


@rule(
    "LL782",
    "disk-too-full",
    "error",
    reads=(
        *("base_model", "output_folder", "save_precision", "save_state", "max_steps", "num_epochs"),
        *("save_every_n_epochs", "save_every_n_steps", "save_last_n_epochs", "gradient_acc_steps"),
        *(*_PARTS, "optimizer_type", "use_8bit_adam", *EPOCH_KEYS),
    ),
    source="sd-scripts networks/lora.py (sizes of the layers); lora_lab/train/state.py",
    sees="machine",
)
def disk_too_full(view: View) -> Iterator[Hit]:
    """The disk has less room than what will be saved takes.

    What it does
    Counts the files and states of the run (`save_every_n_epochs`, `save_every_n_steps`, `save_last_n_epochs`,
    `save_state`) and their size: parameters per rank × `net_dim` × bytes of `save_precision`; a state holds the
    weights in 32 bits and what the optimizer keeps.

    Why is this bad
    The run stops in the middle, when the disk is full.

    Bad
    ```json
    {"base_model": "sd15", "num_epochs": 50, "save_every_n_epochs": 1, "save_state": true}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    ```machine
    free: 2
    ```

    Good
    ```json
    {"base_model": "sd15", "num_epochs": 50, "save_every_n_epochs": 1, "save_state": true, "save_last_n_epochs": 3}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    ```machine
    free: 2
    ```
    """
    family = _family(view)
    if family is None:
        return
    left = saved(view, family)
    free = view.machine.free(_folder(view))
    if free is not None and left.total > free * _ROOM:
        each = f"{left.files} file(s) of {left.lora / GIB * 1024:.0f} MiB"
        each += f" and their states of {left.state / GIB * 1024:.0f}" if left.state else ""
        message = f"the run saves {each}, {left.total / GIB:.1f} GiB, and {free / GIB:.1f} are free"
        keys = ("output_folder", "save_every_n_epochs", "save_every_n_steps", "save_state")
        yield Hit(message, keys, "make room, save less often, or set save_last_n_epochs")


def _folder(view: View) -> Path:
    """Return the folder that is written to."""
    return view.disk.resolve(view.config.output_folder)
