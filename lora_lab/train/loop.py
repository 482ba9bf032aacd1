"""The training loop of a pack, top to bottom; everything a config decides was made a value before it starts."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lora_lab.failure import Failure
from lora_lab.tracking.events import Metrics
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


@dataclass
class Journal:
    """What the loop has seen of one member since the last look, and the latest of each number."""

    steps: list[tuple[int, Tensor, Tensor, dict[str, float]]] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    epoch_losses: list[float] = field(default_factory=list)


Hook = Callable[[Member, int, int], None]
"""Called with the member, the optimizer steps done and the epoch number (0 before the first)."""


def train_pack(
    session: Session,
    members: Sequence[Member],
    data: PackData,
    first_step: int,
    hook: Hook,
    progress: Callable[[Progress], None],
) -> list[dict[str, float]]:
    """Train all members from `first_step` (the steps already done) to the end of their plan; returns their last metrics.

    Raises Failure when a loss stops being a number.
    """
    plan = members[0].plan
    journals = [Journal() for _ in members]
    validate_every = max(1, math.ceil(plan.epochs / MAX_VALIDATIONS))
    started, seen = time.monotonic(), 0

    if first_step == 0:
        validate(session, members, journals, data.validation, 0)
        for member in members:
            hook(member, 0, 0)

    for step, batches in enumerate(steps(data, members[0].config.gradient_acc_steps, first_step, plan.total_steps), 1):
        done = first_step + step
        rates = [rates_of(member) for member in members]
        losses, norms = pack_step(session, members, batches)
        for journal, loss, norm, rate in zip(journals, losses, norms, rates, strict=True):
            journal.steps.append((done, loss, norm, rate))
        seen += sum(len(batch.weights) for batch in batches) // len(members)

        last, epoch_ends = done == plan.total_steps, done % plan.steps_per_epoch == 0
        if done % LOG_EVERY == 0 or epoch_ends or last:
            speed = seen / (time.monotonic() - started)
            for member, journal in zip(members, journals, strict=True):
                write_steps(member, journal, speed)
            progress(Progress(done, plan.total_steps, journals[0].latest["loss"]))
        epoch = math.ceil(done / plan.steps_per_epoch)
        if last or (epoch_ends and epoch % validate_every == 0):
            validate(session, members, journals, data.validation, done)
        if epoch_ends or last:
            judge(members, journals, done)
        for member in members:
            hook(member, done, epoch)
    return [journal.latest for journal in journals]


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
    return {f"lr/{group['label']}": float(group["lr"]) for group in member.optimizer.param_groups}


def write_steps(member: Member, journal: Journal, images_per_second: float) -> None:
    """Record every step since the last look. Raises Failure when a loss is no number."""
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


def validate(
    session: Session,
    members: Sequence[Member],
    journals: Sequence[Journal],
    pictures: ValidationDataset | None,
    step: int,
) -> None:
    """Record each member's validation loss, if there are held-out pictures."""
    if pictures is None:
        return
    now = time.time_ns() // 1_000_000
    for member, journal, value in zip(members, journals, validation_losses(session, members, pictures), strict=True):
        journal.latest["val_loss"] = value
        member.record(Metrics(step=step, values={"val_loss": value}, time_ms=now))


def judge(members: Sequence[Member], journals: Sequence[Journal], step: int) -> None:
    """Record the epoch's mean loss and tell each schedule the validation loss, or without one that mean."""
    now = time.time_ns() // 1_000_000
    for member, journal in zip(members, journals, strict=True):
        mean = sum(journal.epoch_losses) / len(journal.epoch_losses)
        journal.epoch_losses.clear()
        journal.latest["epoch_loss"] = mean
        member.record(Metrics(step=step, values={"epoch_loss": mean}, time_ms=now))
        member.schedule.judge(journal.latest.get("val_loss", mean))
