"""Learning-rate schedules, one step per optimizer step. The shapes are diffusers'; step and plateau are torch's."""

from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from lora_lab.config import TrainConfig
from lora_lab.train.base_files.narrow import schedules

STEP_PARTS, STEP_FACTOR = 3, 0.1
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.5, 2


class Schedule(Protocol):
    """What the loop asks of a schedule."""

    def advance(self) -> None:
        """Move on by one optimizer step."""

    def judge(self, value: float) -> None:
        """Hear of a new validation (or epoch) loss."""

    def state_dict(self) -> dict[str, Any]:
        """Return its position."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a position."""


class PlannedSchedule:
    """A curve that depends on the step alone."""

    def __init__(self, optimizer: Optimizer, config: TrainConfig, total: int, warmup: int) -> None:
        if config.scheduler == "step":
            third = max(1, -(-total // STEP_PARTS))

            def factor(step: int) -> float:
                climb = min(1.0, (step + 1) / (warmup + 1)) if warmup else 1.0
                return float(climb * STEP_FACTOR ** (step // third))

            self._curve: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        else:
            self._curve = schedules().get_scheduler(
                config.scheduler,
                optimizer,
                num_warmup_steps=warmup,
                num_training_steps=total,
                num_cycles=config.cosine_restarts or 1,
                power=config.scheduler_power,
            )

    def advance(self) -> None:
        """Move on by one optimizer step."""
        self._go_to(self._curve.last_epoch + 1)

    def judge(self, value: float) -> None:
        """A planned curve does not listen."""

    def state_dict(self) -> dict[str, Any]:
        """Return the step reached."""
        return {"step": self._curve.last_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a step."""
        self._go_to(state["step"])

    def _go_to(self, step: int) -> None:
        """The learning rates follow from the step alone, also where fp16 left a step of the optimizer out."""
        self._curve.last_epoch = step
        bases = zip(self._curve.optimizer.param_groups, self._curve.base_lrs, self._curve.lr_lambdas, strict=True)
        for group, base, curve in bases:
            group["lr"] = base * curve(step)


class PlateauSchedule:
    """Full learning rate (after a linear warm-up) until the loss stops falling, then halved each time it does."""

    def __init__(self, optimizer: Optimizer, warmup: int) -> None:
        self._optimizer = optimizer
        self._warmup = warmup
        self._step = 0
        self._peak = [group["lr"] for group in optimizer.param_groups]
        self._reduce = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
        )
        self._climb()

    def _climb(self) -> None:
        if self._step < self._warmup:
            for group, peak in zip(self._optimizer.param_groups, self._peak, strict=True):
                group["lr"] = peak * (self._step + 1) / (self._warmup + 1)
        elif self._step == self._warmup and self._warmup:
            for group, peak in zip(self._optimizer.param_groups, self._peak, strict=True):
                group["lr"] = peak

    def advance(self) -> None:
        """Move on by one optimizer step."""
        self._step += 1
        self._climb()

    def judge(self, value: float) -> None:
        """Halve the learning rate when the loss has not fallen for `PLATEAU_PATIENCE` judgements."""
        if self._step >= self._warmup:
            self._reduce.step(value)

    def state_dict(self) -> dict[str, Any]:
        """Return step, learning rates and what the reducer remembers."""
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        reduce = {
            key: getattr(self._reduce, key) for key in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        }
        return {"step": self._step, "rates": rates, "reduce": reduce}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to that position."""
        self._step = state["step"]
        for key, value in state["reduce"].items():
            setattr(self._reduce, key, value)
        for group, rate in zip(self._optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = rate


class OwnRates:
    """For an optimizer that sets its rates itself and takes none: AdaFactor with relative_step."""

    def advance(self) -> None:
        """The optimizer counts by itself."""

    def judge(self, value: float) -> None:
        """It does not listen."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: its position is the optimizer's."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to return to."""


def make_schedule(optimizer: Optimizer, config: TrainConfig, total: int, warmup: int) -> Schedule:
    """Build the config's schedule over `total` optimizer steps, the first `warmup` of them climbing."""
    if any(group["lr"] is None for group in optimizer.param_groups):
        return OwnRates()
    if config.scheduler == "plateau":
        return PlateauSchedule(optimizer, warmup)
    return PlannedSchedule(optimizer, config, total, warmup)
