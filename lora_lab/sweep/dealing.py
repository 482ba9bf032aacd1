"""Deals jobs out in packs: of a given size, or of one that follows from what runs take of the machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lora_lab.config.packs import may_share_a_pack
from lora_lab.lint import Disk
from lora_lab.sweep.footprint import key_of, kind_of, read_footprint, room_here, write_footprint
from lora_lab.sweep.groups import groups
from lora_lab.sweep.packing import MOST, Known, Workers, pack
from lora_lab.sweep.roles import Job, Measured

Pack = tuple[Job, ...]

WITHOUT_LIMIT = 1 << 30


@dataclass(frozen=True)
class Dealt:
    """Packs to train, and jobs of which one must first be measured; the packs that wait for that are dealt later."""

    packs: tuple[Pack, ...] = ()
    to_measure: tuple[Job, ...] = ()


@dataclass
class Dealer:
    """`size` None: packs are sized by measure, at most `most` runs each, and why is said in a line."""

    size: int | None
    workers: Callable[[], Workers]
    say: Callable[[str], None]
    most: int = MOST
    _known: dict[str, Known] = field(default_factory=dict)
    _hopeless: dict[str, str] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _held: list[Pack] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)
    _largest: int = 0

    @property
    def appetite(self) -> int:
        """How many jobs make a pack, as far as is known."""
        if self.size is not None:
            return self.size
        return self._largest or self.most

    def take(self, jobs: Sequence[Job], *, more: bool = False) -> Dealt:
        """Deal jobs out; with `more` there will be others like them."""
        if self.size is not None:
            return Dealt(tuple(groups(jobs, self.size)))
        packs: list[Pack] = []
        to_measure: list[Job] = []
        for group in groups(jobs, WITHOUT_LIMIT):
            open_kinds = {kind: job for kind, job in _one_of_each(group).items() if not self._is_judged(kind)}
            if (len(group) == 1 and not more) or self.most == 1:
                packs += [(job,) for job in group]
            elif open_kinds:
                self._held.append(group)
                to_measure += [job for kind, job in open_kinds.items() if kind not in self._asked]
                self._asked.update(open_kinds)
            else:
                packs += self._dealt(group)
        return Dealt(tuple(packs), tuple(to_measure))

    def measured(self, message: Measured) -> list[Pack]:
        """Hear what a kind of run takes; return the packs that waited for it."""
        self._known[kind_of(message.job.config)] = Known(message.footprint, message.room, message.key)
        return self._released()

    def gave_up(self, jobs: Sequence[Job], why: str) -> list[Pack]:
        """Hear that jobs could not be measured; return what waited for it, to be trained one at a time."""
        for job in jobs:
            if kind_of(job.config) not in self._known:
                self._hopeless[kind_of(job.config)] = why
        return self._released()

    def ran_out(self, jobs: Sequence[Job]) -> None:
        """Hear that memory ran out with so many at a time: half of them are the most from now on, here and later."""
        on_device = max(self.workers().on_device, 1)
        for kind in {kind_of(job.config) for job in jobs} & self._known.keys() if len(jobs) > 1 else ():
            known = self._known[kind]
            found = replace(known.footprint, refused=(len(jobs), known.room // on_device))
            self._known[kind] = replace(known, footprint=found)
            if known.key:
                write_footprint(known.key, found)

    def _is_judged(self, kind: str) -> bool:
        return kind in self._known or kind in self._hopeless

    def _released(self) -> list[Pack]:
        ready = [group for group in self._held if all(self._is_judged(kind_of(job.config)) for job in group)]
        self._held = [group for group in self._held if all(group is not one for one in ready)]
        return [pack for group in ready for pack in self._dealt(group)]

    def _dealt(self, group: Pack) -> list[Pack]:
        reasons = [self._hopeless[kind] for job in group if (kind := kind_of(job.config)) in self._hopeless]
        if reasons:
            self._tell(f"one run at a time: what a run takes could not be measured ({reasons[0]})")
            return [(job,) for job in group]
        found = pack([job.config for job in group], self._known, self.workers(), self.most)
        self._tell(found.why)
        self._largest = max(self._largest, *(len(places) for places in found.packs))
        return [tuple(group[place] for place in places) for places in found.packs]

    def _tell(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.say(line)


def _one_of_each(group: Pack) -> dict[str, Job]:
    """Return a job of each kind, the one with the highest rank."""
    return {kind_of(job.config): job for job in sorted(group, key=lambda job: job.config.net_dim)}


def cut(group: Pack, ran_out: Pack) -> list[Pack]:
    """Return a waiting pack in parts that are no larger than half of one like it, for which memory has run out."""
    half = max(len(ran_out) // 2, 1)
    if len(group) <= half or not may_share_a_pack(group[0].config, ran_out[0].config):
        return [group]
    return [group[at : at + half] for at in range(0, len(group), half)]


def outlook_of_packs(
    jobs: Sequence[Job], workers: Workers, disk: Disk, threads: int | None, most: int = MOST
) -> list[str]:
    """Say how jobs will be packed, a line for each that differs; paths are absolute."""
    room = room_here()
    lines: dict[str, None] = {}
    for group in groups(jobs, WITHOUT_LIMIT):
        if len(group) == 1:
            continue
        known: dict[str, Known] = {}
        kinds = _one_of_each(group)
        for kind, job in kinds.items():
            key = key_of(job.config, disk, threads)
            found = read_footprint(key)
            if found is not None and room is not None:
                known[kind] = Known(found, room, key)
        if known.keys() == kinds.keys():
            lines[pack([job.config for job in group], known, workers, most).why] = None
        else:
            lines[f"{len(group)} runs may share a base: a short probe at the start finds how many pay, and fit"] = None
    return list(lines)
