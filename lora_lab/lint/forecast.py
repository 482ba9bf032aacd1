"""What a run is going to need: steps, room on the disk, memory on the card; as far as can be known beforehand."""

from typing import NamedTuple

from lora_lab.config import StepPlan, TrainConfig
from lora_lab.document import Document
from lora_lab.lint.dataset import steps_of
from lora_lab.lint.disk import Disk
from lora_lab.lint.gpu_memory import Estimate, Family, adapter_parameters, estimate, family_of, moments
from lora_lab.lint.rule import View
from lora_lab.lint.rules.base_model import base_header

BYTES = {"fp16": 2, "bf16": 2, "float": 4}
"""Of one saved number, by `save_precision`."""


class Saved(NamedTuple):
    """What a run leaves on the disk: so many LoRA files of `lora` bytes, each with a state of `state` bytes (or 0)."""

    files: int
    lora: int
    state: int

    @property
    def total(self) -> int:
        """Return the bytes of all."""
        return self.files * (self.lora + self.state)


class Forecast(NamedTuple):
    """What is known of a run before it starts; None where it can't be known."""

    plan: StepPlan | None
    saved: Saved | None
    memory: Estimate | None


def forecast(config: TrainConfig, disk: Disk) -> Forecast:
    """Return what a run with valid settings is going to need; paths start from the disk's folder."""
    view = View(config, {}, frozenset(), (), Document(None, "", {}), disk, None)
    family = family_of(base_header(view))
    if family is None:
        return Forecast(steps_of(view), None, None)
    return Forecast(steps_of(view), saved(view, family), estimate(config, family))


def saved(view: View, family: Family) -> Saved:
    """Return what a run leaves on the disk: parameters × bytes of `save_precision`; a state has 32 bits and moments."""
    config = view.config
    numbers = adapter_parameters(config, family)
    state = numbers * (4 + moments(config)) if config.save_state else 0
    return Saved(_files(view), numbers * BYTES.get(config.save_precision, 2), state)


def _files(view: View) -> int:
    """Return how many LoRA files are left at the end of the run: as far as can be known, the last one included."""
    config, files = view.config, 1
    plan = steps_of(view) if config.save_every_n_steps or config.max_steps is not None else None
    epochs = config.num_epochs if config.max_steps is None else plan.epochs if plan else 0
    if config.save_every_n_epochs:
        saved = max(epochs - 1, 0) // config.save_every_n_epochs
        files += min(saved, config.save_last_n_epochs or saved)
    steps = config.max_steps or (plan.total_steps if plan else 0)
    if config.save_every_n_steps:
        files += max(steps - 1, 0) // config.save_every_n_steps
    return files
