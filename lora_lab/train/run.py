"""One training run, from config to LoRA file."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

import lora_lab
from lora_lab import memory
from lora_lab.config import TrainConfig, effective_alpha, effective_batch, sides
from lora_lab.failure import Failure
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import DECIDES, VALIDATION_SET, DatasetUsed, Record, RunEnded, Status
from lora_lab.train import prepare, stop, together, unfinished
from lora_lab.train.allocator import keep_freed_memory
from lora_lab.train.beside import Beside, Following, Judge, RunResult
from lora_lab.train.data import tags
from lora_lab.train.data.latent_cache import Begun
from lora_lab.train.data.store import Store
from lora_lab.train.dataset import Dataset, read_dataset
from lora_lab.train.families.base import Base, Family
from lora_lab.train.loop import PackData, Progress, train_pack
from lora_lab.train.metadata import output_name
from lora_lab.train.opening import asked_of, open_base
from lora_lab.train.save import Saver, write_tag_report
from lora_lab.train.state import load_state
from lora_lab.train.step import Member, Session
from lora_lab.train.text_cache import TextCache
from lora_lab.train.together import Together
from lora_lab.train.validation_set import short_name, validation_set

LONGEST_NAME = 200
"""Bytes of `change_output_name`: file systems take 255, and `-step00000100-unfinished-state` is put behind it."""

MOST_TAGS = 100
"""Tags of the data set that a run tells, the commonest ones."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One adapter of a pack: its config (paths absolute), the folder for its files, and who hears its events.

    `ended` is told how the run ended as soon as it has, while others of the pack may go on. `judge` is asked after each
    validation whether to cut the run short, which then ends as the failure CutShort.
    """

    config: TrainConfig
    folder: Path
    record: Record
    name: str = ""
    ended: Callable[[RunResult | Failure], None] = lambda result: None
    judge: Judge | None = None


def train_run(
    config: TrainConfig, *, folder: Path, record: Record, progress: Callable[[Progress], None], name: str = ""
) -> RunResult:
    """Train the LoRA of a config (paths absolute) into `folder`, from where an interrupted run of it stopped.

    Raises Failure for what a user can mend, and Stopped after Ctrl-C or SIGTERM, with the state kept; the run's end is
    recorded in every case.
    """
    (result,) = train_runs([Run(config=config, folder=folder, record=record, name=name)], progress)
    if isinstance(result, Failure):
        raise result
    return result


def train_runs(runs: Sequence[Run], progress: Callable[[Progress], None]) -> list[RunResult | Failure]:
    """Train runs as one pack; what one of them breaks for itself alone is its result, and the others go on.

    Raises Failure for what ends them all and a user can mend, Stopped after Ctrl-C or SIGTERM; every run's end is
    recorded in every case.
    """
    ended: dict[int, RunResult | Failure] = {}
    try:
        _train(runs, ended, progress)
    except KeyboardInterrupt as error:
        _end(runs, ended, "KILLED", str(error) or "interrupted")
        raise
    except OSError as error:
        if memory.ran_out(error):
            _end(runs, ended, "FAILED", "not enough memory")
            raise
        failure = Failure(f"{error.filename or runs[0].folder}: {error.strerror or error}", "see to the disk or folder")
        _end(runs, ended, "FAILED", str(failure))
        raise failure from error
    except BaseException as error:
        _end(runs, ended, "FAILED", str(error) or type(error).__name__)
        raise
    return [ended[key] for key in range(len(runs))]


def _end(runs: Sequence[Run], ended: Container[int], status: Status, message: str) -> None:
    """Record the same end of all runs that have none of their own."""
    for key, run in enumerate(runs):
        if key not in ended:
            run.record(RunEnded(status=status, message=message))


def _train(runs: Sequence[Run], ended: dict[int, RunResult | Failure], progress: Callable[[Progress], None]) -> None:
    keep_freed_memory()
    configs = [run.config for run in runs]
    prepare.check_pack(configs)

    def report(message: str) -> None:
        progress(Progress(0, 0, float("nan"), message))

    def tell(message: str, about: int | None = None) -> None:
        progress(Progress(0, 0, float("nan"), message, notice=True, about=about))

    accelerator = prepare.make_accelerator(configs[0].mixed_precision)
    processes = together.of(accelerator)
    runs = _shared(runs, processes)
    report("reading pictures")
    dataset = read_dataset(configs[0], processes.processes)
    report("loading the base model")
    store = Store(tell=tell, about={"base": configs[0].base_model, "data": configs[0].img_folder})
    (family, base), begun = _open(configs, dataset, accelerator, store)
    pack = prepare.make_pack(configs, family, base)
    try:
        texts = TextCache(f"{family.name} {base.text_content} {configs[0].mixed_precision}")
        session = Session(accelerator, family, base, pack, texts, processes, store)
        prepare.prepare_models(session, configs[0], tell, not all(config.unet_only for config in configs))
        data = prepare.make_data(configs, dataset, session, report, begun)
        keeper = unfinished.Keeper()

        def join(key: int, run: Run) -> Member:
            member = prepare.add_member(session, run.config, key, data, (run.folder, run.record))
            keeper.decides[key] = unfinished.decisive(run.config, dataset, session)
            found = _go_on_together(member, keeper.decides[key], partial(tell, about=key), processes)
            keeper.started_at[key] = found.started_at
            return replace(member, first_step=found.step)

        members = _each(runs, join, session, ended)
        for member in members:
            tell_start(member, dataset, session, runs[member.key].name, keeper.decides[member.key])
            if member.config.tag_occurrence_txt_file and processes.first:
                write_tag_report(member.folder, member.config, dataset.training.pictures)
        with stop.listening(tell) as asked:
            saver = Saver(session, dataset.facts, keeper.started_at)
            kind = Beside if processes.first else Following
            beside = kind(saver, keeper, asked, tell, ended=ended, tell_end=lambda key, result: runs[key].ended(result))
            beside.together = processes
            beside.judges = {key: run.judge for key, run in enumerate(runs) if run.judge is not None}
            train_pack(session, members, data, beside, progress)
    finally:
        pack.detach()
        store.settle()
        store.close()
        with contextlib.suppress(Exception):
            accelerator.free_memory()


def _open(
    configs: Sequence[TrainConfig], dataset: Dataset, accelerator: Any, store: Store
) -> tuple[tuple[Family, Base], Begun | None]:
    """Load the base while cached latents are read, and pictures that have none are decoded."""
    try:
        with memory.no_collection(), ThreadPoolExecutor(1) as beside:
            wanted = asked_of(configs, str(accelerator.device))
            begun = beside.submit(prepare.latents_ahead, configs, dataset, wanted, store)
            return open_base(configs, accelerator), begun.result()
    except BaseException:
        store.close()
        raise


def _shared(runs: Sequence[Run], processes: Together) -> list[Run]:
    """Return the runs with their folders made; several processes train one run, in the first one's folder."""
    if processes.processes > 1:
        if len(runs) > 1:
            raise Failure("several processes train one run, not a pack", "start it without accelerate launch")
        runs = [replace(runs[0], folder=Path(processes.of_the_first(str(runs[0].folder))))]
    for run in runs if processes.first else ():
        if len(os.fsencode(output_name(run.config))) > LONGEST_NAME:
            remedy = "choose a shorter one: letters outside English take up to four bytes"
            raise Failure(
                f"change_output_name has more than the {LONGEST_NAME} bytes that a file's name may have", remedy
            )
        run.folder.mkdir(parents=True, exist_ok=True)
    return list(runs)


def _each(
    runs: Sequence[Run],
    join: Callable[[int, Run], Member],
    session: Session,
    ended: dict[int, RunResult | Failure],
) -> list[Member]:
    """Let each run join the pack; one that is refused has ended, unless it is the last that there is."""
    members = []
    for key, run in enumerate(runs):
        try:
            members.append(join(key, run))
        except Failure as failure:  # noqa: PERF203 (few runs)
            if len(ended) == len(runs) - 1:
                raise
            session.pack.remove(key)
            run.record(RunEnded(status="FAILED", message=str(failure)))
            ended[key] = failure
    return members


def _go_on_together(
    member: Member, decides: Mapping[str, str], tell: Callable[[str], None], processes: Together
) -> unfinished.Found:
    """Let the first process look for a state; the others load what it has found."""
    if processes.first:
        found = _go_on(member, decides, tell)
        processes.highest(found.step)
        return found
    (step,) = processes.highest(0)
    if step:
        kept = unfinished.path_of(member)
        load_state(kept if kept.is_dir() else Path(str(member.config.load_previous_save_state)), member)
    return unfinished.Found(step, time.time())


def _go_on(member: Member, decides: Mapping[str, str], tell: Callable[[str], None]) -> unfinished.Found:
    """Load the state of the interrupted run, else the one that the config names."""
    found = unfinished.go_on(member, decides)
    if found.text:
        tell(found.text)
    if found.step or not member.config.load_previous_save_state:
        return found
    return replace(found, step=_load(member))


def _load(member: Member) -> int:
    path = Path(str(member.config.load_previous_save_state))
    done = load_state(path, member)
    if done >= member.plan.total_steps:
        raise Failure(
            f"state {path} has done {done} steps, and the config plans {member.plan.total_steps}",
            "raise num_epochs or max_steps, or start a new run from its LoRA with lora_model_for_resume",
        )
    return done


def tell_start(member: Member, dataset: Dataset, session: Session, name: str, decides: Mapping[str, str]) -> None:
    """Record the run's parameters, with those that follow from them, its machine and its data."""
    config, plan = member.config, member.plan
    batch = effective_batch(config, session.together.processes)
    judged_on = validation_set(dataset, session, config)
    derived = {
        "derived.scale": f"{effective_alpha(config) / config.net_dim:g}",
        "derived.effective_batch": str(batch),
        "derived.steps_per_epoch": str(plan.steps_per_epoch),
        "derived.total_steps": str(plan.total_steps),
        "derived.warmup_steps": str(plan.warmup_steps),
        "derived.images_seen": str(plan.total_steps * batch),
        "derived.trained_parameters": str(sum(p.numel() for g in member.groups for p in g["params"])),
        "derived.validation_set": short_name(judged_on),
    }
    about = {
        "lora_lab.version": lora_lab.__version__,
        "lora_lab.family": session.family.name,
        "lora_lab.base_hash": session.base.content,
        "lora_lab.device": _device_name(session.device),
        "lora_lab.packages": ", ".join(
            f"{package} {importlib.metadata.version(package)}"
            for package in ("torch", "diffusers", "transformers", "accelerate")
        ),
        "lora_lab.platform": f"{platform.platform()}, Python {platform.python_version()}",
        "lora_lab.memory": _memory(session.device),
        VALIDATION_SET: judged_on,
        DECIDES: hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(),
    }
    note = f"Trains {plan.total_steps} steps on {len(dataset.training.pictures)} pictures of {source_of(config)}."
    start = run_started(config, name=name or output_name(config), tags=about, note=note)
    member.record(replace(start, params={**start.params, **derived}))
    member.record(dataset_used(config, dataset))


def source_of(config: TrainConfig) -> str:
    """Where the data set of a run lies."""
    return config.dataset_config or config.img_folder


def dataset_used(config: TrainConfig, dataset: Dataset) -> DatasetUsed:
    """The data of a run with what can be counted in it: pictures, buckets, the commonest tags."""
    width, height = sides(config.train_resolution)
    counts = tags.count_tags(picture for picture in dataset.training.pictures if not picture.is_reg)
    return DatasetUsed(
        name=Path(source_of(config)).name,
        digest=dataset.training.digest[:32],
        source=source_of(config),
        profile={
            "num_rows": len(dataset.training.pictures),  # MLflow's own word for what its page shows
            "pictures": len(dataset.training.pictures),
            "held_out": len(dataset.validation.pictures) if dataset.validation else 0,
            "uses_per_epoch": dataset.training.uses_per_epoch,
            "resolution": f"{width}x{height}",
            "buckets": {f"{w}x{h}": count for (w, h), count in dataset.facts.buckets.items()},
            "mean_aspect_error": round(dataset.facts.mean_ar_error, 4),
            "tags": len(counts),
            "commonest_tags": dict(counts.most_common(MOST_TAGS)),
        },
    )


def _memory(device: torch.device) -> str:
    """What the machine has: GiB of its own, and of the GPU."""
    own = f"{psutil.virtual_memory().total / 2**30:.1f} GiB"
    if device.type != "cuda":
        return own
    return f"{own}, GPU {torch.cuda.get_device_properties(device).total_memory / 2**30:.1f} GiB"


def _device_name(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {prepare.threads()} threads"
    )


__all__ = ["PackData", "Progress", "Run", "RunResult", "train_run", "train_runs"]
