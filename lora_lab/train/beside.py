"""What happens beside training: files and pictures that are due, states to go on from, and how each member ends."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_lab.failure import CutShort, Failure, Stopped
from lora_lab.tracking.events import RunEnded
from lora_lab.train import unfinished
from lora_lab.train.loop import Diverged
from lora_lab.train.save import Saver
from lora_lab.train.step import Member
from lora_lab.train.stop import Stop
from lora_lab.train.together import ALONE, Together

Judge = Callable[[int, Mapping[str, float]], bool]
"""Told a step and the latest metrics after each validation; whether the run should be cut short there."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves: its LoRA file, last metrics, optimizer steps and seconds."""

    lora: Path
    metrics: Mapping[str, float]
    steps: int
    seconds: float


LOOK_EVERY = 10
"""Steps between two times that processes ask each other whether they are to stop."""


@dataclass
class Beside:
    """The loop's hook. `ended` has, by the members' keys, what has become of those that are over."""

    saver: Saver
    keeper: unfinished.Keeper
    stop: Stop
    tell: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    judges: Mapping[int, Judge] = field(default_factory=dict)
    ended: dict[int, RunResult | Failure] = field(default_factory=dict)
    tell_end: Callable[[int, RunResult | Failure], None] = lambda key, result: None
    together: Together = ALONE
    _told: bool = False
    _looks: int = 0
    _asked: int = 0

    def _end(self, member: Member, result: RunResult | Failure) -> None:
        """Take down what has become of a member, and tell it at once: the others may need hours."""
        self.ended[member.key] = result
        self.tell_end(member.key, result)

    def due(self, member: Member, step: int, epoch: int) -> bool:
        """Whether files or pictures are due."""
        return self.saver.due(member, step, epoch)

    def __call__(self, member: Member, step: int, epoch: int) -> None:
        """Save and draw what is due."""
        self.saver(member, step, epoch)

    def judged(self, member: Member, step: int, epoch: int) -> None:
        """Ask the member's judge; what is cut short keeps its state, to go on from if somebody wants it after all."""
        judge = self.judges.get(member.key)
        if judge is not None and judge(step, dict(member.journal.latest)):
            with contextlib.suppress(OSError):  # then there is nothing to go on from
                self.keeper.write(member, step, epoch)
            raise CutShort(step, member.plan.total_steps)

    def finished(self, member: Member) -> None:
        """Write the LoRA; what was kept for a crash goes."""
        lora = self.saver.final(member)
        unfinished.forget(member)
        member.record(RunEnded(status="FINISHED"))
        seconds = time.monotonic() - self.began
        self._end(member, RunResult(lora, dict(member.journal.latest), member.plan.total_steps, seconds))

    def failed(self, member: Member, failure: Failure) -> None:
        """Tell how a member ended, and what there is to go on from."""
        if isinstance(failure, CutShort):
            member.record(RunEnded(status="KILLED", message=str(failure)))
            self._end(member, failure)
            return
        remedy = failure.remedy
        path = unfinished.path_of(member)
        if isinstance(failure, Diverged):
            kept = unfinished.keep(member)
            if kept is not None:
                remedy += f"; the last good state is {kept}: load_previous_save_state goes on from it"
        elif path.is_dir():
            remedy += "; the same command then goes on from the last state"
        said = Failure(failure.what, remedy)
        member.record(RunEnded(status="FAILED", message=str(said)))
        self._end(member, said)
        if len(self.keeper.decides) > 1:
            self.tell(f"{member.folder.name} leaves the pack: {said}")

    def state_due(self, boundary: bool) -> bool:
        """Whether an automatic state is due, or an end was asked for."""
        if self.together.processes == 1:
            self._asked = self.stop.number
            return bool(self._asked) or self.keeper.due(boundary)
        self._looks += 1
        if not boundary and self._looks % LOOK_EVERY:
            return False
        self._asked, due = self.together.highest(self.stop.number, int(self.keeper.due(boundary)))
        return bool(self._asked) or bool(due)

    def keep_state(self, members: Sequence[Member], step: int, epoch: int) -> None:
        """Write the automatic states of members that have steps to go. Raises Stopped if an end was asked for.

        Where the disk takes no state, training goes on all the same, and a line says so once.
        """
        if not members:
            return
        reason = ""
        for member in members:
            try:
                self.keeper.write(member, step, epoch)
            except OSError as error:  # noqa: PERF203 (few members)
                reason = error.strerror or str(error)
                self.keeper.put_off()
        if self._asked:
            after = f"stopped after step {step} of {members[0].plan.total_steps}"
            end = f"its state cannot be written: {reason}" if reason else "the same command goes on from there"
            raise Stopped(f"{after}; {end}", self._asked)
        if reason and not self._told:
            self._told = True
            self.tell(f"no state to go on from after a crash can be written: {reason}")

    def keep_what_can_be(self, members: Sequence[Member], step: int) -> None:
        """Write the states of members after a step; where that does not work the states before stay."""
        for member in members:
            with contextlib.suppress(OSError, MemoryError, RuntimeError):
                self.keeper.write(member, step, -(-step // member.plan.steps_per_epoch))


@dataclass
class Following(Beside):
    """The hook of the processes that are not the first: in step with it, and without a trace."""

    def __call__(self, member: Member, step: int, epoch: int) -> None:
        """Leave files to the first process."""

    def finished(self, member: Member) -> None:
        """Take down the end alone."""
        seconds = time.monotonic() - self.began
        self._end(member, RunResult(member.folder, dict(member.journal.latest), member.plan.total_steps, seconds))

    def failed(self, member: Member, failure: Failure) -> None:
        """Take down the end alone."""
        self._end(member, failure)

    def keep_state(self, members: Sequence[Member], step: int, epoch: int) -> None:
        """Stop where the first process does."""
        self.keeper.put_off()
        if members and self._asked:
            raise Stopped(f"stopped after step {step} of {members[0].plan.total_steps}", self._asked)

    def keep_what_can_be(self, members: Sequence[Member], step: int) -> None:
        """Leave files to the first process."""
