"""K runs as one pack, one after the other in one process, and in K processes: steps, memory, the first result.

    python benchmarks/packed_throughput.py [--bases nano mini] [--packs 1 2 4 8] [--precision no|bf16] [--seconds 60]
    python benchmarks/packed_throughput.py --whole 100 [--packs 8] [--bases nano]

The first form measures steps alone: for each K a pack of K and its adapters one by one take turns on the same base, so
that a busy machine slows both alike; `steps` is how many adapter steps a second the pack makes against one run after
the other, by wall and by CPU time. Its row for K = 1 is the cost of a pack of one over no packing code: its rival is
the same loop with a plain LoRA layer in the pack's place. `memory` is the peak of a process that trains K packed
against that of one. The second form is whole processes from nothing, N steps a run: packed, one after the other in one
process, K processes one after the other, and K at a time, with an even share of the cores each and with as many threads
each as torch takes by itself; it says when the first finished LoRA was there, and how much memory all held at once
(pages that they share counted once). Each way begins with an empty cache. Where there is a GPU, everything runs on it,
and the default is SD 1's full width, 512 px, bf16. Latents and texts are cached.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import small_bases
import step_floor
import torch
from rival_loops import BareLora

from lora_lab.config import TrainConfig
from lora_lab.tracking.events import ignore
from lora_lab.train import prepare
from lora_lab.train.allocator import keep_freed_memory
from lora_lab.train.dataset import read_dataset
from lora_lab.train.loop import steps
from lora_lab.train.opening import open_base
from lora_lab.train.pack import PackedLayer
from lora_lab.train.step import Member, Session, pack_step

MIB = 2**20
WAYS = ("in turn", "process by process", "processes", "processes, all threads")


def main() -> None:
    """Measure and print."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", default=["full"] if gpu else ["nano", "mini"], choices=small_bases.SIZES)
    parser.add_argument("--packs", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--precision", choices=["no", "bf16"], default="bf16" if gpu else "no")
    parser.add_argument("--side", type=int, default=512 if gpu else 256, help="of the pictures, in pixels")
    parser.add_argument("--seconds", type=float, default=60, help="for the steps of each base")
    parser.add_argument("--whole", type=int, metavar="STEPS", help="measure whole processes of so many steps a run")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="of --whole, beside packed")
    parser.add_argument("--keep", type=Path, help="a folder for the bases, to have them next time")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    where = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, load {os.getloadavg()[0]:.1f}, {options.precision}, {options.side} px, batch 1, rank 8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = small_bases.write_pictures(folder / "pictures", options.side)
        for size in options.bases:
            base = small_bases.write(options.keep or folder, size)
            config = step_floor.config_of(base, pictures, 8, 1, options.precision)
            sides = dict.fromkeys(("train_resolution", "min_bucket_resolution", "max_bucket_resolution"), options.side)
            config = config.model_copy(update=sides)
            print(f"\n{size}")
            if options.whole:
                for count in options.packs:
                    whole(configs_of(config, count, options.whole), options.ways, folder)
            else:
                steps_only(config, options.packs, options.seconds)


def configs_of(config: TrainConfig, count: int, steps_each: int) -> list[TrainConfig]:
    """Runs that differ in seed, learning rate and rank."""
    return [
        config.model_copy(
            update={"test_seed": n, "learning_rate": 1e-4 * (1 + n), "net_dim": (8, 4)[n % 2], "max_steps": steps_each}
        )
        for n in range(count)
    ]


def steps_only(config: TrainConfig, packs: Sequence[int], seconds: float) -> None:
    """Print throughput of packs against one run after the other, and the peak memory of each."""
    keep_freed_memory()
    print("K | turns | adapter steps/s packed | steps: packed / in turn, wall, CPU | memory: packed / one")
    one = peak_of(config, 1)
    for count in packs:
        taken = turns(config, count, seconds / len(packs))
        wall, cpu = (statistics.median(alone[i] / packed[i] for packed, alone in taken) for i in (0, 1))
        speed = count / statistics.median(packed[0] for packed, _ in taken)
        memory = 1.0 if count == 1 else peak_of(config, count) / one
        against = "no packing code" if count == 1 else "in turn"
        print(f"{count} | {len(taken)} | {speed:.2f} | {wall:.3f}, {cpu:.3f} ({against}) | {memory:.2f}", flush=True)
    print(f"peak of one: {one / MIB:.0f} MiB")


def turns(config: TrainConfig, count: int, seconds: float) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Wall and CPU seconds of a step of K packed, and of K steps of single runs, in alternation."""
    configs = configs_of(config, count, 100_000)
    with opened(configs) as (session, members, loop):
        keys = [[member] for member in members]
        found = []
        ends = 0.0
        while not found or time.perf_counter() < ends or len(found) < 4:
            batches = next(loop)
            clock = step_floor._now()
            pack_step(session, members, batches)
            packed = step_floor._since(clock)
            with without_packs(session) if count == 1 else contextlib.nullcontext():
                clock = step_floor._now()
                for alone in keys:
                    pack_step(session, alone, [batch.of([alone[0].key]) for batch in batches])
                found.append((packed, step_floor._since(clock)))
            if len(found) == 1:
                ends = time.perf_counter() + seconds
        return found[1:]


@contextlib.contextmanager
def opened(configs: Sequence[TrainConfig]) -> Iterator[tuple[Session, list[Member], Iterator[Any]]]:
    """A pack of the configs on their base, and its batches."""
    accelerator = prepare.make_accelerator(configs[0].mixed_precision)
    family, base = open_base(configs, accelerator)
    pack = prepare.make_pack(configs, family, base)
    try:
        session = Session(accelerator, family, base, pack)
        prepare.prepare_models(session, configs[0], print)
        data = prepare.make_data(configs, read_dataset(configs[0]), session, ignore)
        members = [
            prepare.add_member(session, config, key, data, (Path(config.output_folder), ignore))
            for key, config in enumerate(configs)
        ]
        yield session, members, steps(data, 1, 0, 100_000)
    finally:
        pack.detach()


@contextlib.contextmanager
def without_packs(session: Session) -> Iterator[None]:
    """Within: every packed layer is a plain LoRA layer over the same tensors, as a trainer without packs has it."""
    owners = [
        (owner, name, layer)
        for owner in session.base.unet.modules()
        for name, layer in owner.named_children()
        if isinstance(layer, PackedLayer)
    ]
    for owner, name, layer in owners:
        weights: Any = layer.adapters["0"]
        plain = BareLora(layer.base, weights.rank)
        plain.scale, plain.down, plain.up = weights.scale, weights.down, weights.up
        setattr(owner, name, plain)
    try:
        yield
    finally:
        for owner, name, layer in owners:
            setattr(owner, name, layer)


def peak_of(config: TrainConfig, count: int) -> float:
    """The peak memory of a process that makes three steps of a pack, in bytes."""
    told = {"configs": [c.model_dump(mode="json") for c in configs_of(config, count, 3)]}
    command = [sys.executable, __file__, "--child", json.dumps(told)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.split()[-1])


def child(told: dict[str, Any]) -> None:
    """Make three steps of a pack, and print the peak of the memory."""
    keep_freed_memory()
    with opened([TrainConfig.model_validate(values) for values in told["configs"]]) as (session, members, loop):
        for _ in range(3):
            pack_step(session, members, next(loop))
    peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    print(peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def whole(configs: list[TrainConfig], ways: Sequence[str], folder: Path) -> None:
    """Print what whole processes need, from nothing, packed and in other ways."""
    print("K | how | seconds | CPU seconds | first result, s | peak MiB, all processes")
    needs: dict[str, Need] = {}
    for how in ("packed", *ways):
        groups = [configs] if how in ("packed", "in turn") else [[one] for one in configs]
        place = folder / f"{Path(configs[0].base_model).name}-{len(configs)}-{how.replace(' ', '-').replace(',', '')}"
        need = needs[how] = _processes(how, groups, place)
        told = f"{need.seconds:.1f} | {need.cpu:.1f} | {need.first:.1f} | {need.peak / MIB:.0f}"
        print(f"{len(configs)} | {how} | {told}", flush=True)
    packed = needs.pop("packed")
    for how, need in needs.items():
        ratios = f"{need.seconds / packed.seconds:.2f}, memory packed / {how} {packed.peak / need.peak:.2f}"
        print(f"{len(configs)} | {how} / packed {ratios}", flush=True)


class Need(NamedTuple):
    """What some runs took: wall and CPU seconds, seconds to the first result, bytes that their processes held."""

    seconds: float
    cpu: float
    first: float
    peak: float


def _processes(how: str, groups: Sequence[Sequence[TrainConfig]], place: Path) -> Need:
    around = {**os.environ, "LORA_LAB_CACHE": str(place / "cache"), "PYTHONWARNINGS": "ignore"}
    if how == "processes":
        around["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // len(groups)))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    peaks = []
    for several in [[group] for group in groups] if how == "process by process" else [groups]:
        started: list[subprocess.Popen[str]] = []
        for group in several:
            told = {
                "what": "packed" if how == "packed" else "in turn",
                "folder": str(place / str(len(peaks) + len(started))),
                "configs": [replaced.model_dump(mode="json") for replaced in group],
            }
            command = [sys.executable, str(Path(__file__).with_name("whole_runs.py")), json.dumps(told)]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=around))
        with peak_together(started) as most:
            on_gpu = [float(one.communicate()[0].split()[-1]) for one in started]
        if any(one.returncode for one in started):
            raise SystemExit("a run failed")
        peaks.append(sum(on_gpu) if torch.cuda.is_available() else most[0])
    taken, after = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    first = min(float(line) for path in place.glob("*/ended") for line in path.read_text().split()) - start
    return Need(taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, first, max(peaks))


@contextlib.contextmanager
def peak_together(processes: Sequence[subprocess.Popen[str]]) -> Iterator[list[float]]:
    """Within: watch the memory that the processes hold at the same time; the peak, in bytes, is the list's number."""
    most, done = [0.0], threading.Event()
    watched = [psutil.Process(process.pid) for process in processes]

    def watch() -> None:
        while not done.wait(0.2):
            now = 0
            for process in watched:
                with contextlib.suppress(psutil.Error):
                    held = process.memory_full_info()
                    now += getattr(held, "pss", held.rss)
            most[0] = max(most[0], now)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
