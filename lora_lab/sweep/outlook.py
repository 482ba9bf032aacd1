"""What a sweep is going to take, before anything is trained: steps, time, disk, memory, and what is done already."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

from lora_lab.config import TrainConfig
from lora_lab.lint import Disk
from lora_lab.lint.forecast import Forecast, forecast
from lora_lab.sweep.adopt import finished_elsewhere, neighbours
from lora_lab.sweep.run_folder import CONFIG, cut_short, finished_runs, read_record, run_folders

MOST_LOOKED_AT: Final = 1_000
"""Runs that are looked at one by one; the sums of more are their average times the number."""

MOST_EARLIER: Final = 50
"""Earlier runs that a speed is taken from, the newest."""

_SPEED: Final = (
    *("base_model", "train_resolution", "batch_size", "gradient_acc_steps", "mixed_precision"),
    *("gradient_checkpointing", "unet_only", "text_only", "cache_latents", "xformers", "torch_compile"),
)
"""What decides how long a step takes, as far as it can be told from settings."""


@dataclass(frozen=True)
class Outlook:
    """Sums over the runs that are still to be trained; None where something can't be known.

    `seconds_per_step` is the median of `earlier` runs of such settings on this machine.
    """

    runs: int
    done: int
    steps: int | None
    disk: int | None
    memory: int | None
    seconds_per_step: float | None
    earlier: int

    def seconds(self, slots: int) -> float | None:
        """Return how long the runs take, `slots` at a time."""
        if self.steps is None or self.seconds_per_step is None:
            return None
        return self.steps * self.seconds_per_step / max(min(slots, self.runs - self.done), 1)


def outlook(
    configs: Sequence[TrainConfig], identities: Sequence[str], sweep_folder: Path, disk: Disk, rule: str = ""
) -> Outlook:
    """Return what the runs that are not done yet are going to take; their paths are absolute.

    What `rule` has cut short is done.
    """
    known = {*finished_runs(sweep_folder), *finished_elsewhere(sweep_folder)}
    known.update(cut_short(sweep_folder, rule) if rule else ())
    left = [at for at, identity in enumerate(identities) if identity not in known]
    every = max(-(-len(left) // MOST_LOOKED_AT), 1)
    looked_at = [configs[at] for at in left[::every]]
    found = [forecast(config, disk) for config in looked_at]
    share = len(left) / max(len(looked_at), 1)
    speeds = list(islice(_speeds(looked_at[0], sweep_folder), MOST_EARLIER)) if looked_at else []
    return Outlook(
        runs=len(configs),
        done=len(configs) - len(left),
        steps=_sum([one.plan.total_steps if one.plan else None for one in found], share),
        disk=_sum([one.saved.total if one.saved else None for one in found], share),
        memory=_most(found),
        seconds_per_step=median(speeds) if speeds else None,
        earlier=len(speeds),
    )


def _sum(numbers: Sequence[int | None], share: float) -> int | None:
    known = [number for number in numbers if number is not None]
    return round(sum(known) * share) if len(known) == len(numbers) else None


def _most(found: Sequence[Forecast]) -> int | None:
    known = [one.memory.total for one in found if one.memory is not None]
    return max(known) if known and len(known) == len(found) else None


def _speeds(config: TrainConfig, sweep_folder: Path) -> Iterator[float]:
    """Yield the seconds per step of earlier runs like this one, the newest sweep's last run first."""
    wanted = {key: getattr(config, key) for key in _SPEED}
    for folder in (sweep_folder, *neighbours(sweep_folder)):
        for run in reversed(run_folders(folder)):
            record = read_record(run)
            if record is None or record.status != "FINISHED" or not record.steps or record.seconds <= 0:
                continue
            if record.machine == platform.node() and not record.reason and _matches(run, wanted):
                yield record.seconds / record.steps / record.together


def _matches(run: Path, wanted: Mapping[str, object]) -> bool:
    try:
        config: Any = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        return all(_plain(config.get(key)) == _plain(value) for key, value in wanted.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
