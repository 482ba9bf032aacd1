"""Sweeps that nobody has trained, written through the project's own writers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_lab.config import check
from lora_lab.sweep.grid import Metric
from lora_lab.sweep.plan import Plan, PlannedRun
from lora_lab.sweep.roles import Job
from lora_lab.sweep.run_folder import CONFIG, LINT, RunRecord, claim, write_record
from lora_lab.sweep.sweep_record import write_sweep
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import VALIDATION_SET, Metrics, RunEnded, SamplePicture
from lora_lab.tracking.spool import Spool
from lora_lab.whole_files import write_whole

BASE = {"base_model": "/models/sd15", "img_folder": "/data/cats", "output_folder": "/out", "validation_split": 0.2}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A run as it is to be found: its values, its val_loss curve by step, how it ended, what it is judged on."""

    axes: Mapping[str, object]
    val_loss: Mapping[int, float] = field(default_factory=dict)
    status: str = "FINISHED"
    judged_on: str = "base=1 pictures=1"
    reason: str = ""
    seconds: float = 90.0
    name: str = ""
    values: Mapping[str, object] = field(default_factory=dict)
    findings: str = "[]"
    pictures: Sequence[tuple[int, str, Path]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def make_run(folder: Path, made: Made, identity: str, sweep: Path | None) -> None:
    """Write what a run leaves."""
    values = {**BASE, **made.values, **made.axes}
    config = check(values).config
    steps = max(made.val_loss, default=0)
    spool = Spool(folder, "sweep", sweep, print)
    start = run_started(config, name=made.name, tags={VALIDATION_SET: made.judged_on, **made.tags})
    spool(start)
    for step in range(1, steps + 1):
        spool(Metrics(step=step, values={"loss": 1 / step, "grad_norm": 0.5}, time_ms=step))
    for step, value in made.val_loss.items():
        spool(Metrics(step=step, values={"val_loss": value}, time_ms=step))
    for step, key, path in made.pictures:
        spool(SamplePicture(step=step, key=key, path=path))
    if made.status == "FINISHED":
        spool(RunEnded(status="FINISHED"))
    spool.close()
    if sweep is None:
        return
    write_whole(folder / CONFIG, json.dumps(config.model_dump(mode="json")))
    write_whole(folder / LINT, made.findings)
    (folder / "l.safetensors").write_bytes(b"lora")
    metrics = {"loss": 1 / max(steps, 1), "val_loss": made.val_loss[steps]} if made.val_loss else {}
    record = RunRecord(
        identity=identity,
        name=made.name,
        status=made.status,
        axes=made.axes,
        metrics=metrics if made.status == "FINISHED" else {},
        lora="l.safetensors" if made.status == "FINISHED" else None,
        steps=steps,
        seconds=made.seconds,
        reason=made.reason,
        validation=made.judged_on,
    )
    write_record(folder, record)


def make_sweep(folder: Path, runs: Sequence[Made], name: str = "ranks", planned: int = 0) -> Path:
    """Write a sweep of runs and return its folder."""
    axes = tuple(dict.fromkeys(axis for run in runs for axis in run.axes))
    jobs = []
    for place, made in enumerate(runs):
        run = PlannedRun(place, made.name, made.axes, BASE)
        jobs.append(Job(run, check({}).config, f"{name}-{place}"))
    write_sweep(folder / name, Plan(name, Metric(), axes, ()), jobs, planned)
    for place, made in enumerate(runs):
        make_run(claim(folder / name), made, f"{name}-{place}", folder / name)
    return folder / name


def seeded(rank: int, *values: float) -> list[Made]:
    """Return runs of one rank that differ by their seed, with these validation losses at step 20."""
    return [
        Made(
            axes={"net_dim": rank, "test_seed": seed},
            val_loss={0: 1.0, 10: value * 0.96, 20: value},
            name=f"net_dim={rank} test_seed={seed}",
        )
        for seed, value in enumerate(values, 1)
    ]
