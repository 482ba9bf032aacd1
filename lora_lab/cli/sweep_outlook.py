"""What `lora-lab sweep` says before it trains: steps, time, disk, memory, packs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.cli.say import say

if TYPE_CHECKING:
    from lora_lab.cli.sweep import SweepOptions
    from lora_lab.sweep.roles import Job

GIB = 1 << 30

MOST_LINES = 3
"""About packs."""


def show_outlook(jobs: "Sequence[Job]", folder: Path, options: "SweepOptions") -> None:
    """Print what the runs are going to take, as far as it is known."""
    from lora_lab.cli.places import gpu_slots
    from lora_lab.cli.table import duration
    from lora_lab.lint import Disk
    from lora_lab.sweep.outlook import outlook

    rule = jobs[0].rule.text if jobs and jobs[0].rule is not None else ""
    known = outlook([job.config for job in jobs], [job.identity for job in jobs], folder, Disk(Path()), rule)
    left = known.runs - known.done
    if not left:
        say(f"  all {known.runs} runs are done before")
        return
    slots = len(gpu_slots(options.jobs)) if options.executor == "local" else options.jobs or 1
    seconds = known.seconds(slots)
    time = "unknown, no run like these was trained here yet"
    if seconds is not None:
        speed = f"{known.seconds_per_step:.3g} s a step in {known.earlier} earlier run{'s' * (known.earlier > 1)} here"
        time = f"about {duration(seconds)}: {speed}" + (f", {slots} at a time" if slots > 1 else "")
    lines = {
        "to train": f"{left:,} run{'s' * (left > 1)}"
        + (f" ({known.done:,} done before)" if known.done else "")
        + (f", {known.steps:,} steps" if known.steps else ""),
        "time": time,
        "disk": f"{known.disk / GIB:.2g} GiB" if known.disk else "",
        "memory": f"{known.memory / GIB:.1f} GiB on the card for one run (an estimate)" if known.memory else "",
        "packs": f"{options.pack} runs at a time on one base" if (options.pack or 1) > 1 else "",
    }
    for name, text in lines.items():
        if text:
            say(f"  {name:<9} {text}")
    for number, line in enumerate(_packs_ahead(jobs, options)):
        say(f"  {'' if number else 'packs':<9} {line}")


def _packs_ahead(jobs: "Sequence[Job]", options: "SweepOptions") -> list[str]:
    """Return how packs are going to be sized where nobody says it, in lines."""
    from lora_lab.cli.places import gpu_slots
    from lora_lab.lint import Disk
    from lora_lab.sweep.dealing import outlook_of_packs
    from lora_lab.sweep.packing import Workers
    from lora_lab.sweep.processes import most_on_one

    if options.pack is not None or options.train is not None or len(jobs) < 2:
        return []
    if options.executor == "slurm":
        return ["each run is a job of its own; --pack N makes jobs of N runs on one base"]
    if options.executor == "ray":
        return ["as many runs share a base as a short probe on the cluster finds to fit, and to pay"]
    slots = gpu_slots(options.jobs)
    threads = slots[0].get("OMP_NUM_THREADS")
    lines = outlook_of_packs(
        jobs, Workers(len(slots), most_on_one(slots)), Disk(Path()), int(threads) if threads else None
    )
    return [*lines[:MOST_LINES], *([f"and {len(lines) - MOST_LINES} more kinds"] if len(lines) > MOST_LINES else [])]
