"""The training loop of a pack, top to bottom; everything a config decides was made a value before it starts."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lora_lab import memory
from lora_lab.failure import Failure
from lora_lab.tracking.events import Metrics
from lora_lab.train import optimizer
from lora_lab.train.data.batches import PackBatch, PackDataset, ValidationDataset, in_order, loader
from lora_lab.train.step import Member, NotEnoughMemory, Session, pack_step
from lora_lab.train.validate import validation_losses

LOG_EVERY = 10
"""Steps between looks at the losses: each look makes a GPU finish what it was told so far."""

MAX_VALIDATIONS = 20
"""Validations in a run, at most, spread over its epochs."""

DIVERGED = "lower the learning rate, or use mixed_precision bf16 or no"


@dataclass(frozen=True)
class Progress:
    """How far a run is, for whoever shows it; a `notice` is a message that must be seen.

    `about` is the number of the run in its pack that the notice tells of, None where it is of the whole pack.
    """

    step: int
    total_steps: int
    loss: float
    message: str = ""
    notice: bool = False
    about: int | None = None


@dataclass(frozen=True)
class PackData:
    """What a pack trains on and is judged by."""

    training: PackDataset
    validation: ValidationDataset | None
    batches_per_epoch: int
    num_workers: int
    persistent_workers: bool


class Diverged(Failure):
    """A loss or gradient is no number any more: what comes after the last good state is of no use."""


class Hook(Protocol):
    """What happens beside training after `step` optimizer steps; `epoch` is 0 before the first.

    What it raises for one member (Failure) ends that member only.
    """

    def due(self, member: Member, step: int, epoch: int) -> bool:
        """Whether there is anything to do, so that the losses are looked at first and no broken LoRA is saved."""

    def __call__(self, member: Member, step: int, epoch: int) -> None:
        """Do it."""

    def judged(self, member: Member, step: int, epoch: int) -> None:
        """Hear that the member, which has steps to go, was validated; raise CutShort where it is to end here."""

    def finished(self, member: Member) -> None:
        """Write what the member has become; its last step is done."""

    def failed(self, member: Member, failure: Failure) -> None:
        """Note that the member has left the pack."""

    def state_due(self, boundary: bool) -> bool:
        """Whether states should be kept after this step; a boundary is where an epoch ends or a file is due."""

    def keep_state(self, members: Sequence[Member], step: int, epoch: int) -> None:
        """Write the states to go on from; everything else about `step` is done.

        Raises Stopped where somebody has asked for an end.
        """

    def keep_what_can_be(self, members: Sequence[Member], step: int) -> None:
        """Write the states after a step that is whole, where memory ran out in the next one; raises nothing."""


@dataclass
class _Pace:
    """Since when a member learns, and from how many pictures it has."""

    since: float
    pictures: int = 0

    @property
    def speed(self) -> float:
        """Pictures per second."""
        return self.pictures / max(time.monotonic() - self.since, 1e-9)


class _Crew:
    """The members of a pack on their way: who takes part in a step, and who has left."""

    def __init__(self, members: Sequence[Member], hook: Hook) -> None:
        self._members = members
        self._hook = hook
        self._gone: set[int] = set()
        self._paces: dict[int, _Pace] = {}

    def at(self, step: int) -> list[Member]:
        """Who takes part in a step: who has not done it before, has planned it, and has not failed."""
        return [
            member
            for member in self._members
            if member.key not in self._gone and member.first_step < step <= member.plan.total_steps
        ]

    def go(self, batches: Iterator[list[PackBatch]], first: int) -> Iterator[tuple[int, list[Member], list[PackBatch]]]:
        """Yield each step after `first` that somebody takes part in, with who does, and its batches."""
        for step, of_step in enumerate(batches, first + 1):
            active = self.at(step)
            if active:
                yield step, active, of_step
            elif not any(member.key not in self._gone and member.first_step >= step for member in self._members):
                return

    def each(self, members: Sequence[Member], do: Callable[[Member], None]) -> list[Member]:
        """Do something for each member; return those for whom it did not fail."""
        for member in members:
            try:
                do(member)
            except Failure as failure:  # noqa: PERF203 (few members)
                self._leave(member, failure)
            except OSError as error:
                if memory.ran_out(error):
                    raise
                what = f"{error.filename or member.folder}: {error.strerror or error}"
                self._leave(member, Failure(what, "see to the disk or folder"))
        return [member for member in members if member.key not in self._gone]

    def learn(
        self, session: Session, active: Sequence[Member], batches: Sequence[PackBatch], step: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Take a step; losses (K,) and gradient norms. Where memory runs out, what was reached before it is kept."""
        for member in active:
            self._paces.setdefault(member.key, _Pace(time.monotonic()))
        try:
            learned = pack_step(session, active, [batch.of([m.key for m in active]) for batch in batches])
        except NotEnoughMemory:
            sound = self.each(active, self.write_steps)
            self._hook.keep_what_can_be([member for member in sound if member.first_step < step - 1], step - 1)
            raise
        for member in active:
            self._paces[member.key].pictures += sum(len(batch.weights) for batch in batches) // len(self._members)
        return learned

    def write_steps(self, member: Member) -> None:
        """See the function of this name."""
        write_steps(member, self._paces[member.key].speed)

    def _leave(self, member: Member, failure: Failure) -> None:
        self._gone.add(member.key)
        self._hook.failed(member, failure)


def train_pack(
    session: Session, members: Sequence[Member], data: PackData, hook: Hook, progress: Callable[[Progress], None]
) -> None:
    """Train every member from its own first step to the end of its plan; `hook` hears how each of them ends.

    A member whose loss stops being a number leaves the pack, and the others go on.
    """
    crew = _Crew(members, hook)
    first = min(member.first_step for member in members)
    last = max(member.plan.total_steps for member in members)
    per_epoch = members[0].plan.steps_per_epoch

    if fresh := [member for member in members if member.first_step == 0]:
        validate(session, fresh, data.validation, 0)
        crew.each(fresh, lambda member: hook(member, 0, 0))

    for done, active, batches in crew.go(steps(data, members[0].config.gradient_acc_steps, first, last), first):
        rates = [rates_of(member) for member in active]
        losses, norms = crew.learn(session, active, batches, done)
        for member, loss, norm, rate in zip(active, losses, norms, rates, strict=True):
            member.journal.steps.append((done, loss, norm, rate))

        epoch, epoch_ends = math.ceil(done / per_epoch), done % per_epoch == 0
        ending = [member for member in active if done == member.plan.total_steps]
        files_due = any(hook.due(member, done, epoch) for member in active)
        state_due = hook.state_due(epoch_ends or files_due)
        if done % LOG_EVERY == 0 or epoch_ends or ending or files_due or state_due:
            active = crew.each(active, crew.write_steps)
            if active:
                progress(Progress(done, active[0].plan.total_steps, active[0].journal.latest["loss"]))
        if closing := active if epoch_ends else [member for member in active if member in ending]:
            close_epoch(closing, done)
        if judged := [member for member in active if validation_due(member, done, data)]:
            validate(session, judged, data.validation, done)
            judge(judged, data.validation)
        active = crew.each(active, lambda member: hook(member, done, epoch))  # noqa: B023
        going_on = [member for member in judged if member in active and member not in ending]
        left = crew.each(going_on, lambda member: hook.judged(member, done, epoch))  # noqa: B023
        active = [member for member in active if member in left or member not in going_on]
        crew.each([member for member in active if member in ending], hook.finished)
        if state_due:
            hook.keep_state([member for member in active if member not in ending], done, epoch)


def validation_due(member: Member, step: int, data: PackData) -> bool:
    """Whether a member is judged after a step: at its end, and at the ends of at most `MAX_VALIDATIONS` epochs."""
    plan = member.plan
    if step == plan.total_steps:
        return True
    every = max(1, math.ceil(plan.epochs / MAX_VALIDATIONS)) if data.validation is not None else 1
    return step % (plan.steps_per_epoch * every) == 0


def steps(data: PackData, accumulation: int, first_step: int, total: int) -> Iterator[list[PackBatch]]:
    """The batches of each optimizer step from `first_step` on; the last step of an epoch may have fewer."""
    per_epoch = math.ceil(data.batches_per_epoch / accumulation)
    numbers = range(batches_before(first_step, per_epoch, data.batches_per_epoch, accumulation), 1 << 62)
    end = batches_before(total, per_epoch, data.batches_per_epoch, accumulation)
    batches = in_order(loader(data.training, range(numbers.start, end), data.num_workers, data.persistent_workers))
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
    """Record every step since the last look. Raises Diverged when one is no number."""
    journal = member.journal
    now = time.time_ns() // 1_000_000
    for step, loss, norm, rates in journal.steps:
        value, length = loss.item(), norm.item()
        if not math.isfinite(value):
            raise Diverged(f"the loss became {value} at step {step}", DIVERGED)
        if not math.isfinite(length) and not member.scaler.is_enabled():  # a scaler leaves such a step out
            raise Diverged(f"the gradient became {length} at step {step}", DIVERGED)
        journal.epoch_losses.append(value)
        metrics = {"loss": value, "grad_norm": length, **rates}
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
        values = {"val_loss": value}
        if member.config.keep_best and step and value < member.journal.latest.get("best_val_loss", math.inf):
            values |= {"best_val_loss": value, "best_step": step}
        member.journal.latest.update(values)
        member.record(Metrics(step=step, values=values, time_ms=now))


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
