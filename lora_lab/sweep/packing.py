"""How many runs make a pack: as many as memory has room for and as pay, dealt out evenly over the workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lora_lab.config import TrainConfig
from lora_lab.sweep.footprint import Footprint, kind_of

SHARE: Final = 0.88
"""Of the room: allocators keep slack, states are written, and captions differ."""

PAYS: Final = 1.03
"""A pack must be this much faster than its runs one after another; else their results come one by one, sooner."""

MOST: Final = 16
"""Runs in a pack that was sized by itself: what more would save is little, and what breaks costs more."""

GIB: Final = 1 << 30


@dataclass(frozen=True)
class Known:
    """A footprint, where it is kept, and the bytes that a worker could have."""

    footprint: Footprint
    room: int
    key: str = ""


@dataclass(frozen=True)
class Workers:
    """How many packs are trained at a time, and how many of them on one card or in one main memory."""

    slots: int = 1
    on_device: int = 1


@dataclass(frozen=True)
class Packing:
    """The packs, as places in the sequence of runs, and why they are as they are."""

    packs: tuple[tuple[int, ...], ...]
    why: str


def pack(configs: Sequence[TrainConfig], known: Mapping[str, Known], workers: Workers, limit: int = MOST) -> Packing:
    """Return packs of runs that may share one, at most `limit` each; `known` has the footprint of every kind."""
    found = {kind: known[kind] for kind in {kind_of(config) for config in configs}}
    room = int(SHARE * min(one.room for one in found.values())) // workers.on_device
    prints = [found[kind_of(config)].footprint for config in configs]
    each = [one.of_a_run(config) for one, config in zip(prints, configs, strict=True)]
    fixed = max(one.fixed for one in prints)
    fit = max((room - fixed) * len(each) // max(sum(each), 1), 1)
    refused = [one.refused for one in prints if one.refused and room <= one.refused[1] * SHARE * 1.05]
    by_refusal = min((count // 2 for count, _ in refused), default=MOST)
    by_speed = min(fastest(one.seconds) for one in prints)
    most = max(min(fit, by_refusal, by_speed, limit), 1)
    slots = max(min(workers.slots, len(configs)), 1)
    rounds = -(-len(configs) // (slots * most))
    packs = _filled(configs, prints, room, -(-len(configs) // (slots * rounds)))
    memory = f"memory for {fit} ({_gib(fixed)} GiB and {_gib(sum(each) / len(each))} for each run, of {_gib(room)})"
    return Packing(tuple(map(tuple, packs)), _why(packs, memory, (fit, by_refusal, by_speed), prints[0], workers))


def _filled(configs: Sequence[TrainConfig], prints: Sequence[Footprint], room: int, size: int) -> list[list[int]]:
    """Fill packs in the order of the runs, each up to `size` runs and what the memory has room for."""
    packs: list[list[int]] = []
    for place in range(len(configs)):
        if packs and len(packs[-1]) < size and _fits([*packs[-1], place], configs, prints, room):
            packs[-1].append(place)
        else:
            packs.append([place])
    return packs


def _fits(places: Sequence[int], configs: Sequence[TrainConfig], prints: Sequence[Footprint], room: int) -> bool:
    fixed = max(prints[place].fixed for place in places)
    learning = fixed + sum(prints[place].of_a_run(configs[place]) for place in places)
    tensors = sum(prints[place].tensors(configs[place]) for place in places)
    drawing = fixed + tensors + max(prints[place].drawing for place in places)
    return max(learning, drawing) <= room


def speed_up(seconds: Mapping[int, float], count: int) -> float:
    """Return how many times as fast as one by one `count` runs are together."""
    return count * seconds[1] / max(seconds[count], 1e-9)


def fastest(seconds: Mapping[int, float]) -> int:
    """Return the most runs that pay: 1 where a pack is no faster; `MOST` where more are faster as far as was measured.

    A pack that costs more than a smaller one is not made.
    """
    counts = sorted(count for count in seconds if count > 1)
    if 1 not in seconds or not counts:
        return MOST
    if max(speed_up(seconds, count) for count in counts) < PAYS:
        return 1
    best = max(counts, key=lambda count: speed_up(seconds, count))
    return MOST if best == counts[-1] else best


def _why(
    packs: Sequence[Sequence[int]],
    memory: str,
    limits: tuple[int, int, int],
    footprint: Footprint,
    workers: Workers,
) -> str:
    """Say in a line what was chosen and why."""
    fit, by_refusal, by_speed = limits
    sizes = sorted({len(one) for one in packs}, reverse=True)
    runs = sum(map(len, packs))
    on = f" for {workers.slots} workers" if workers.slots > 1 else ""
    if sizes == [1] and runs > 1:
        if by_speed == 1:
            together = footprint.seconds[2] / footprint.seconds[1]
            return f"one run at a time: two at once take {together:.2f} times as long, which saves nothing"
        if by_refusal == 1:
            return "one run at a time: memory ran out with 2"
        return f"one run at a time: {memory}" if fit == 1 else f"one run at a time: {runs} runs{on}"
    chosen = "packs of " + (" and ".join(map(str, sizes)) if len(sizes) < 3 else f"{sizes[-1]} to {sizes[0]}")
    faster = [count for count in footprint.seconds if 1 < count <= sizes[0]]
    pays = ""
    if faster:
        count = max(faster)
        pays = f"; {count} at once measured {speed_up(footprint.seconds, count):.2f} times as fast as one by one"
    before = f", it ran out with {by_refusal * 2} before" if by_refusal < MOST else ""
    return f"{chosen}: {memory}{before}, {runs} runs{on}{pays}"


def _gib(size: float) -> str:
    return f"{size / GIB:.2g}" if size < 10 * GIB else f"{size / GIB:.0f}"
