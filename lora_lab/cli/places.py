"""Where the workers of a sweep are: which GPU each has here, or which cluster they are on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.cli.say import say
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.cli.sweep import SweepOptions
    from lora_lab.sweep.roles import Executor


def check_places(options: "SweepOptions") -> None:
    """Raise `Failure` for options that do not go together."""
    from lora_lab.config import processes

    if processes() > 1:
        raise Failure("a sweep starts its own processes", "start it without accelerate launch; --jobs says how many")
    if options.address and options.executor != "ray":
        raise Failure("--address is that of a Ray cluster", "add --executor ray")
    if options.slurm and options.executor != "slurm":
        raise Failure("--slurm says what SLURM is asked for", "add --executor slurm")


def gpu_slots(jobs: int | None) -> list[dict[str, str]]:
    """Return what each worker's environment says: a GPU of its own, turn about where there are more workers.

    Workers on a machine without GPUs share its cores, unless OMP_NUM_THREADS has been set.
    """
    names = _visible_gpus()
    count = jobs or max(len(names), 1)
    if names:
        return [{"CUDA_VISIBLE_DEVICES": names[slot % len(names)]} for slot in range(count)]
    if count == 1 or "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(count)]
    return [{"OMP_NUM_THREADS": str(max(_cores() // count, 1))} for _ in range(count)]


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use; as in CUDA, an empty CUDA_VISIBLE_DEVICES hides all, -1 the rest."""
    from lora_lab.lint.machine import Machine

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(gpu) for gpu in range(len(Machine().gpus or ()))]
    names = [name.strip() for name in visible.split(",")]
    return names[: next((place for place, name in enumerate(names) if name in ("", "-1")), len(names))]


def _cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def ray_cluster(command: Sequence[str], folder: Path, options: "SweepOptions") -> "Executor":
    """Return the workers of a Ray cluster. Raises `Failure` where Ray is not installed, or no cluster is there."""
    say("connecting to the Ray cluster ..." if options.address else "starting Ray ...")
    try:
        from lora_lab.sweep import on_ray
    except ImportError as error:
        raise Failure(f"Ray is not installed: {error}", "pip install 'lora-lab[ray]'") from error
    on_ray.connect(options.address)
    executor = on_ray.OnRay(command, folder, options.jobs)
    say(f"{executor.slots} worker{'s' if executor.slots != 1 else ''} on {executor.machines} machine(s)")
    return executor


def slurm_jobs(command: Sequence[str], folder: Path, name: str, options: "SweepOptions") -> "Executor":
    """Return jobs of a SLURM cluster. Raises `Failure` where submitit is not installed, or SLURM is not there."""
    try:
        from lora_lab.sweep import on_slurm
    except ImportError as error:
        raise Failure(f"submitit is not installed: {error}", "pip install 'lora-lab[slurm]'") from error
    wanted: dict[str, str] = {}
    for option in options.slurm:
        key, equals, value = option.partition("=")
        if not key or not equals or not value:
            raise Failure(f"--slurm {option} is not KEY=VALUE", "write for example --slurm partition=gpu")
        wanted[key] = value
    slots = options.jobs or on_slurm.SLOTS
    executor = on_slurm.OnSlurm(command, folder, on_slurm.submitter(folder.absolute(), name, wanted), slots)
    say(f"handing in up to {slots} jobs at a time; their logs are below {folder / on_slurm.JOBS}")
    return executor
