"""What a run leaves on disk on its way: LoRA files, states, sample pictures, reports."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lora_lab.config import TrainConfig, effective_alpha, sides
from lora_lab.tracking.events import LORA_FOLDER, Artifact, LoraModel, SamplePicture
from lora_lab.train import lora_file, metadata, sample, state
from lora_lab.train.average import shown
from lora_lab.train.data import tags
from lora_lab.train.data.folder import Picture
from lora_lab.train.metadata import DatasetFacts, Progressed, output_name
from lora_lab.train.step import Member, Session
from lora_lab.whole_files import write_whole


class Saver:
    """The loop's hook: after each step it does what is due for a member. File names are those of sd-scripts."""

    def __init__(self, session: Session, facts: DatasetFacts, started_at: Mapping[int, float]) -> None:
        self._session = session
        self._facts = facts
        self._started_at = started_at
        self._prompts: dict[int, tuple[sample.Prompt, ...]] = {}

    def due(self, member: Member, step: int, epoch: int) -> bool:
        """Whether anything is saved or drawn after `step` optimizer steps."""
        return any(_tasks(member, step, epoch))

    def __call__(self, member: Member, step: int, epoch: int) -> None:
        """Save and draw what is due after `step` optimizer steps; `epoch` counts from 1."""
        tasks = _tasks(member, step, epoch)
        if tasks.epoch_file:
            self._save_epoch(member, step, epoch)
        if tasks.best_file:
            self._write(member, f"{output_name(member.config)}-best", step, epoch, member.journal.latest["val_loss"])
        if tasks.step_file:
            self._save(member, f"{member.config.change_output_name or 'at'}-step{step:08d}", step, epoch)
        if tasks.pictures:
            self._draw(member, step)

    def final(self, member: Member) -> Path:
        """Write the finished LoRA, and the final state if the config wants states; returns the LoRA's path."""
        plan = member.plan
        name = output_name(member.config)
        path = self._write(member, name, plan.total_steps, plan.epochs)
        member.record(self._model(member, path))
        if member.config.save_state:
            target = member.folder / f"{name}-state"
            state.save_state(target, member, plan.total_steps, plan.epochs)
        return path

    def _model(self, member: Member, path: Path) -> LoraModel:
        """The finished LoRA as a model: what it was trained on, and what loading it with the right strength needs."""
        config, session = member.config, self._session
        facts = {
            "family": session.family.name,
            "base_hash": session.base.hash,
            "net_dim": str(config.net_dim),
            "alpha": f"{effective_alpha(config):g}",
            "prediction_type": session.base.prediction_type,
            "resolution": "x".join(map(str, sides(config.train_resolution))),
        }
        return LoraModel(path=path, step=member.plan.total_steps, base_model=str(config.base_model), facts=facts)

    def _save_epoch(self, member: Member, step: int, epoch: int) -> None:
        name = member.config.change_output_name or "epoch"
        self._save(member, f"{name}-{epoch:06d}", step, epoch)
        keep = member.config.save_last_n_epochs
        if keep:
            old = epoch - keep * (member.config.save_every_n_epochs or 1)
            (member.folder / f"{name}-{old:06d}.{member.config.save_as}").unlink(missing_ok=True)
            shutil.rmtree(member.folder / f"{name}-{old:06d}-state", ignore_errors=True)

    def _save(self, member: Member, name: str, step: int, epoch: int) -> None:
        self._write(member, name, step, epoch)
        if member.config.save_state:
            state.save_state(member.folder / f"{name}-state", member, step, epoch)

    def _write(self, member: Member, name: str, step: int, epoch: int, val_loss: float | None = None) -> Path:
        config, session = member.config, self._session
        path = member.folder / f"{name}.{config.save_as}"
        started_at, now = moments(self._started_at[member.key], time.time())
        progressed = Progressed(epoch=epoch, step=step, started_at=started_at, finished_at=now, val_loss=val_loss)
        about = metadata.describe(config, session.family, session.base, self._facts, member.plan, progressed)
        with shown(member):
            tensors = lora_file.state_dict(member.layers, lora_file.SAVE_DTYPES[config.save_precision])
        lora_file.save_lora(path, tensors, about)
        member.record(Artifact(path=path, folder=LORA_FOLDER))
        return path

    def _draw(self, member: Member, step: int) -> None:
        config = member.config
        if member.key not in self._prompts:
            size = sides(config.train_resolution)
            self._prompts[member.key] = sample.read_prompts(config.sample_prompts, Path(), size)
        with shown(member), self._session.pack.serving(member.key):
            pictures = sample.draw(self._session, self._prompts[member.key], config)
        for number, picture in enumerate(pictures):
            path = member.folder / "sample" / f"{output_name(config)}_{step:06d}_{number:02d}.png"
            sample.save_picture(picture, path)
            member.record(SamplePicture(step=step, key=f"sample_{number:02d}", path=path))


def moments(started_at: float, now: float) -> tuple[float, float]:
    """When a run started, and the time now (seconds since 1970), as the file tells them.

    SOURCE_DATE_EPOCH stands for both where it is set, as reproducible-builds.org defines it: then equal runs leave
    files that are equal to the last byte.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    return (float(fixed), float(fixed)) if fixed.isdigit() else (started_at, now)


class _Tasks(NamedTuple):
    epoch_file: bool
    best_file: bool
    step_file: bool
    pictures: bool


def _tasks(member: Member, step: int, epoch: int) -> _Tasks:
    """What is due after `step` steps; the finished LoRA is written by `final`."""
    config, plan = member.config, member.plan
    last = step == plan.total_steps
    epoch_ends = step > 0 and step % plan.steps_per_epoch == 0
    return _Tasks(
        epoch_file=epoch_ends and not last and _due(epoch, config.save_every_n_epochs),
        best_file=step > 0 and config.keep_best and member.journal.latest.get("best_step") == step,
        step_file=step > 0 and not last and _due(step, config.save_every_n_steps),
        pictures=_pictures_due(config, step, epoch if epoch_ends else 0, last),
    )


def _pictures_due(config: TrainConfig, step: int, epoch: int, last: bool) -> bool:
    if last:
        return bool(config.sample_prompts)
    if not (config.sample_every_n_epochs or config.sample_every_n_steps):
        return False
    if step == 0:  # what the base draws by itself, to compare with
        return True
    if config.sample_every_n_epochs:
        return epoch > 0 and _due(epoch, config.sample_every_n_epochs)
    return _due(step, config.sample_every_n_steps)


def _due(count: int, every: int | None) -> bool:
    return bool(every) and count % (every or 1) == 0


def write_tag_report(folder: Path, config: TrainConfig, pictures: Sequence[Picture]) -> Path:
    """Write how often each tag occurs, as `[count] tag` lines, to `{output name}.txt`."""
    path = folder / f"{output_name(config)}.txt"
    trained = [picture for picture in pictures if not picture.is_reg]
    write_whole(path, tags.occurrence_report(tags.count_tags(trained), config.sort_tag_occurrence_alphabetically))
    return path
