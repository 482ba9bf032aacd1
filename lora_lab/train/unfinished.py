"""The automatic state of a run that is not finished: what the same command goes on from after a crash.

It lies beside the output as `{name}-unfinished-state`, is replaced now and then, and goes when the run has finished. It
is a state like those of `save_state`, with a note of what decides the run's weights: config, pictures, base.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_lab.config import PARAMETERS, UNDECIDING, TrainConfig
from lora_lab.config.data_sets import DataSet
from lora_lab.failure import Failure
from lora_lab.train import state
from lora_lab.train.dataset import Dataset
from lora_lab.train.metadata import output_name
from lora_lab.train.step import Member, Session
from lora_lab.whole_files import recover_folder

SECONDS = 60.0
"""Between two automatic states, at least; a tenth of it where an epoch ends."""

COST = 50
"""Writing takes at most one part in so many of the time."""

NOTE = "unfinished.json"
LATER = frozenset({"sample_prompts", "sample_every_n_epochs", "sample_every_n_steps", "sample_sampler"}) | frozenset(
    {"save_as", "save_precision", "no_meta"}
)
"""What changes pictures and files, but no weight; may differ when a run goes on."""

PATHS = frozenset(
    {"base_model", "vae", "img_folder", "reg_img_folder", "dataset_config", "mask_folder", *state.STARTING_POINTS}
) | {
    *("base_weights", "base_weights_multiplier")  # the base's hash says what is merged into it, and how strong
}
"""What lies there decides, not where: hashes stand for them."""


def path_of(member: Member) -> Path:
    """Where a member's automatic state lies."""
    return member.folder / f"{output_name(member.config)}-unfinished-state"


def decisive(config: TrainConfig, dataset: Dataset, session: Session) -> dict[str, str]:
    """Everything that decides the weights of a run: equal values, equal weights (on the same machine)."""
    held_out = dataset.validation
    found = {
        "pictures": dataset.training.digest,
        "held-out pictures": held_out.digest if held_out else "none",
        "base_model": session.base.content,
        "vae": session.base.vae_hash,
    }
    if dataset.sets:
        found["data sets"] = json.dumps([_settings(one) for one in dataset.sets], sort_keys=True)
    if session.together.processes > 1:
        found["processes"] = str(session.together.processes)
    for key in state.STARTING_POINTS:
        found[key] = _content(getattr(config, key))
    for key in sorted(set(PARAMETERS) - UNDECIDING - LATER - PATHS):
        found[key] = json.dumps(getattr(config, key), sort_keys=True, default=str)
    return found


def _settings(one: DataSet) -> list[object]:
    """What a data set file says beside the pictures: not where folders lie."""
    subsets = [
        {**{key: value for key, value in subset.settings.items() if key not in PATHS}, "is_reg": subset.is_reg}
        for subset in one.subsets
    ]
    return [dict(one.settings), *subsets]


def _content(path: str | None) -> str:
    """The hash of a file's bytes, or of those of the files in a folder."""
    if path is None:
        return "none"
    top = Path(path)
    digest = hashlib.sha256()
    for file in sorted(top.iterdir()) if top.is_dir() else [top]:
        with contextlib.suppress(OSError):  # whoever reads the file says what is wrong with it
            digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Found:
    """What there was to go on from: steps done (0: nothing), when the run first started, and a line to tell."""

    step: int
    started_at: float
    text: str = ""


def go_on(member: Member, decides: Mapping[str, str]) -> Found:
    """Put a member where its interrupted run was, if the folder holds that run's state.

    The state of another run is kept under a name of its own: no training is ever thrown away.
    """
    path, now = path_of(member), time.time()
    recover_folder(path)
    if not path.is_dir():
        return Found(0, now)
    try:
        note: dict[str, Any] = json.loads((path / NOTE).read_text(encoding="utf-8"))
        other = difference(note["decides"], decides)
        started_at = float(note["started_at"])
        if not other:
            step = state.load_state(path, member)
            return Found(step, started_at, f"going on after step {step} of {member.plan.total_steps} ({path.name})")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        other = "its state is damaged"
    except Failure as failure:
        other = failure.what
    kept = keep(member)
    said = f"; what it reached is kept in {kept.name}" if kept else ""
    return Found(0, now, f"not going on with the unfinished run of this name: {other}{said}")


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what decides differently than before, or ""."""
    for key in (*now, *before):
        old, new = before.get(key), now.get(key)
        if old != new:
            is_hash = len(str(old)) == 64 or len(str(new)) == 64
            return f"{key} has changed" if is_hash else f"{key} was {old}, is {new}"
    return ""


def keep(member: Member) -> Path | None:
    """Give the automatic state, if there is one, the name of its step, so that it stays; return its new place."""
    path = path_of(member)
    try:
        step = int(json.loads((path / state.POSITION).read_text(encoding="utf-8"))["current_step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    name = f"{member.config.change_output_name or 'at'}-step{step:08d}"
    for ending in ("", *(f"-{number}" for number in range(2, 1000))):
        kept = member.folder / f"{name}{ending}-state"
        if not kept.exists():
            path.rename(kept)
            return kept
    return None


def forget(member: Member) -> None:
    """Remove the automatic state of a run that has finished."""
    shutil.rmtree(path_of(member), ignore_errors=True)


@dataclass
class Keeper:
    """Writes the automatic states of a pack's members, rarely enough to cost nothing."""

    decides: dict[int, Mapping[str, str]] = field(default_factory=dict)
    started_at: dict[int, float] = field(default_factory=dict)
    written_at: float = field(default_factory=time.monotonic)
    cost: float = 0.0

    def due(self, boundary: bool) -> bool:
        """Whether it is time; sooner at a boundary, where an epoch ends or files are saved."""
        pause = SECONDS / 10 if boundary else SECONDS
        return time.monotonic() - self.written_at >= max(pause, COST * self.cost)

    def put_off(self) -> None:
        """Wait as if a state had been written."""
        self.written_at = time.monotonic()

    def write(self, member: Member, step: int, epoch: int) -> Path:
        """Write a member's state after `step` steps. Raises OSError; the one before stays then."""
        began = time.monotonic()
        note = {"decides": dict(self.decides[member.key]), "started_at": self.started_at[member.key]}
        path = path_of(member)
        state.save_state(path, member, step, epoch, {NOTE: json.dumps(note, indent=1, ensure_ascii=False)})
        self.written_at = time.monotonic()
        self.cost = self.written_at - began
        return path
