"""The training loop of a pack, top to bottom; everything a config decides was made a value before it starts."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_lab.failure import Failure
from lora_lab.tracking.events import Metrics
from lora_lab.train import optimizer
from lora_lab.train.data.batches import PackBatch, PackDataset, ValidationDataset, loader
from lora_lab.train.step import Member, Session, pack_step
from lora_lab.train.validate import validation_losses

LOG_EVERY = 10
"""Steps between looks at the losses: each look makes a GPU finish what it was told so far."""

MAX_VALIDATIONS = 20
"""Validations in a run, at most, spread over its epochs."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, for whoever shows it."""

    step: int
    total_steps: int
    loss: float
    message: str = ""


@dataclass(frozen=True)
class PackData:
    """What a pack trains on and is judged by."""

    training: PackDataset
    validation: ValidationDataset | None
    batches_per_epoch: int
    num_workers: int
    persistent_workers: bool


class Hook(Protocol):
    """What happens beside training after `step` optimizer steps; `epoch` is 0 before the first."""

    def due(self, member: Member, step: int, epoch: int) -> bool:
        """Whether there is anything to do, so that the losses are looked at first and no broken LoRA is saved."""

    def __call__(self, member: Member, step: int, epoch: int) -> None:
        """Do it."""


def train_pack(
    session: Session,
    members: Sequence[Member],
    data: PackData,
    first_step: int,
    hook: Hook,
    progress: Callable[[Progress], None],
) -> list[dict[str, float]]:
    """Train all members from `first_step` (the steps already done) to the end of their plan; return the last metrics.

    Raises Failure when a loss stops being a number.
    """
    plan = members[0].plan
    validate_every = max(1, math.ceil(plan.epochs / MAX_VALIDATIONS)) if data.validation is not None else 1
    started, seen = time.monotonic(), 0

    if first_step == 0:
        validate(session, members, data.validation, 0)
        for member in members:
            hook(member, 0, 0)

    for step, batches in enumerate(steps(data, members[0].config.gradient_acc_steps, first_step, plan.total_steps), 1):
        done = first_step + step
        rates = [rates_of(member) for member in members]
        losses, norms = pack_step(session, members, batches)
        for member, loss, norm, rate in zip(members, losses, norms, rates, strict=True):
            member.journal.steps.append((done, loss, norm, rate))
        seen += sum(len(batch.weights) for batch in batches) // len(members)

        last, epoch_ends = done == plan.total_steps, done % plan.steps_per_epoch == 0
        epoch = math.ceil(done / plan.steps_per_epoch)
        if done % LOG_EVERY == 0 or epoch_ends or last or any(hook.due(member, done, epoch) for member in members):
            speed = seen / (time.monotonic() - started)
            for member in members:
                write_steps(member, speed)
            progress(Progress(done, plan.total_steps, members[0].journal.latest["loss"]))
        if epoch_ends or last:
            close_epoch(members, done)
        if last or (epoch_ends and epoch % validate_every == 0):
            validate(session, members, data.validation, done)
            judge(members, data.validation)
        for member in members:
            hook(member, done, epoch)
    return [dict(member.journal.latest) for member in members]


def steps(data: PackData, accumulation: int, first_step: int, total: int) -> Iterator[list[PackBatch]]:
    """The batches of each optimizer step from `first_step` on; the last step of an epoch may have fewer."""
    per_epoch = math.ceil(data.batches_per_epoch / accumulation)
    numbers = range(batches_before(first_step, per_epoch, data.batches_per_epoch, accumulation), 1 << 62)
    end = batches_before(total, per_epoch, data.batches_per_epoch, accumulation)
    batches = iter(loader(data.training, range(numbers.start, end), data.num_workers, data.persistent_workers))
    for step in range(first_step, total):
        left = data.batches_per_epoch - (step % per_epoch) * accumulation
        yield [next(batches) for _ in range(min(accumulation, left))]


def batches_before(step: int, steps_per_epoch: int, batches_per_epoch: int, accumulation: int) -> int:
    """How many batches the first `step` optimizer steps take."""
    epochs, rest = divmod(step, steps_per_epoch)
    return epochs * batches_per_epoch + rest * accumulation


def rates_of(member: Member) -> dict[str, float]:
    """The learning rates of the next step, as metrics."""
    return optimizer.rates(member.optimizer)


def write_steps(member: Member, images_per_second: float) -> None:
    """Record every step since the last look. Raises Failure when a loss is no number."""
    journal = member.journal
    now = time.time_ns() // 1_000_000
    for step, loss, norm, rates in journal.steps:
        value = loss.item()
        if not math.isfinite(value):
            raise Failure(
                f"the loss became {value} at step {step}",
                "lower the learning rate, or use mixed_precision bf16 or no",
            )
        journal.epoch_losses.append(value)
        metrics = {"loss": value, "grad_norm": norm.item(), **rates}
        if step == journal.steps[-1][0]:
            metrics["images_per_second"] = images_per_second
        member.record(Metrics(step=step, values=metrics, time_ms=now))
        journal.latest.update(metrics)
    journal.steps.clear()


def validate(session: Session, members: Sequence[Member], pictures: ValidationDataset | None, step: int) -> None:
    """Record each member's validation loss, if there are held-out pictures."""
    if pictures is None:
        return
    now = time.time_ns() // 1_000_000
    for member, value in zip(members, validation_losses(session, members, pictures), strict=True):
        member.journal.latest["val_loss"] = value
        member.record(Metrics(step=step, values={"val_loss": value}, time_ms=now))


def close_epoch(members: Sequence[Member], step: int) -> None:
    """Record the mean loss of the epoch."""
    now = time.time_ns() // 1_000_000
    for member in members:
        journal = member.journal
        mean = sum(journal.epoch_losses) / len(journal.epoch_losses)
        journal.epoch_losses.clear()
        journal.latest["epoch_loss"] = mean
        member.record(Metrics(step=step, values={"epoch_loss": mean}, time_ms=now))


def judge(members: Sequence[Member], pictures: ValidationDataset | None) -> None:
    """Tell each schedule the new validation loss, or without held-out pictures the epoch's mean loss."""
    for member in members:
        member.schedule.judge(member.journal.latest["val_loss" if pictures is not None else "epoch_loss"])
