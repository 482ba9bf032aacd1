"""What a training step costs, against loops of others' making on the same base and batch, in alternation.

    python benchmarks/step_floor.py [--bases nano mini] [--batches 1 4] [--precisions no bf16] [--seconds 20] [--rank 8]

`ours` is the trainer's own loop with everything in it but files and validation; `bare` the least loop in torch that
learns the same (rival_loops.py), `peft` the same with peft, `documented` diffusers' example. Latents and texts are
cached but for the last. Bare and peft run with the trainer's knobs: the same attention, the same threads, and the
allocator's setting, which is the whole process's. Each turn is a few steps of each; the ratio is the median over the
turns, of wall time and of the process's CPU time (less disturbed by others on the machine). The goal is 1.05 × bare.
"""

import argparse
import contextlib
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import rival_loops
import small_bases
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.tracking.events import ignore
from lora_lab.train import attention, prepare
from lora_lab.train.allocator import keep_freed_memory
from lora_lab.train.dataset import read_dataset
from lora_lab.train.loop import Progress, train_pack
from lora_lab.train.opening import open_base
from lora_lab.train.step import Member, Session

SIDE = 256
WARM_UP = 3
STEPS = 2
"""Of each loop, in a turn."""


class Enough(Exception):
    """Time is up."""


@dataclass
class Turns:
    """The trainer's hook that lets the rivals have their turns between its steps, and keeps the time."""

    rivals: dict[str, Callable[[], None]]
    seconds: float
    taken: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    _seen: int = 0
    _clock: tuple[float, float] = (0.0, 0.0)
    _ends: float = 0.0

    def due(self, member: Member, step: int, epoch: int) -> bool:
        """Called in every step of ours."""
        self._seen += 1
        if self._seen == WARM_UP:
            for rival in self.rivals.values():
                for _ in range(WARM_UP):
                    rival()
            self._ends = time.perf_counter() + self.seconds
            self._clock = _now()
        elif self._seen > WARM_UP and (self._seen - WARM_UP) % STEPS == 0:
            self._turn()
            self._clock = _now()
        return False

    def _turn(self) -> None:
        taken = {"ours": _since(self._clock)}
        for name, rival in self.rivals.items():
            clock = _now()
            for _ in range(STEPS):
                rival()
            taken[name] = _since(clock)
        self.taken.append(taken)
        if time.perf_counter() > self._ends and len(self.taken) >= 5:
            raise Enough

    def __call__(self, member: Member, step: int, epoch: int) -> None:
        """Nothing is written."""

    def judged(self, member: Member, step: int, epoch: int) -> None:
        """Nobody judges."""

    def finished(self, member: Member) -> None:
        """It never is."""

    def failed(self, member: Member, failure: Failure) -> None:
        """A benchmark that diverges is none."""
        raise failure

    def state_due(self, boundary: bool) -> bool:
        """No states."""
        return False

    def keep_state(self, members: Sequence[Member], step: int, epoch: int) -> None:
        """No states."""


def _now() -> tuple[float, float]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _since(clock: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    return now[0] - clock[0], now[1] - clock[1]


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", default=["nano", "mini"], choices=small_bases.SIZES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--precisions", nargs="+", default=["no", "bf16"], choices=["no", "bf16"])
    parser.add_argument("--rivals", nargs="+", default=["bare", "peft", "documented"])
    parser.add_argument("--seconds", type=float, default=16, help="for each case, after warming up")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="a folder for the bases, to have them next time")
    options = parser.parse_args()
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, {SIDE} px")
    print(
        "base batch precision turns | s/step ours | " + " | ".join(f"ours/{name} wall, CPU" for name in options.rivals)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = small_bases.write_pictures(folder / "pictures", SIDE)
        for size in options.bases:
            base = small_bases.write(options.keep or folder, size)
            for precision in options.precisions:
                for batch in options.batches:
                    config = config_of(base, pictures, options.rank, batch, precision)
                    taken = measure(config, options.rivals, options.seconds)
                    print(f"{size} {batch} {precision} {len(taken)} | {row(taken, options.rivals)}", flush=True)


def row(taken: Sequence[dict[str, tuple[float, float]]], rivals: Sequence[str]) -> str:
    """Our seconds a step and the ratios to the rivals, with the quartiles of the first kind."""
    ours = statistics.median(one["ours"][0] for one in taken) / STEPS
    cells = [f"{ours:.4f}"]
    for name in rivals:
        wall, cpu = (statistics.median(one["ours"][kind] / one[name][kind] for one in taken) for kind in (0, 1))
        cells.append(f"{wall:.3f}, {cpu:.3f}")
    return " | ".join(cells)


def config_of(base: Path, pictures: Path, rank: int, batch: int, precision: str) -> TrainConfig:
    """The run that is measured."""
    return TrainConfig(
        base_model=str(base),
        img_folder=str(pictures),
        output_folder=str(pictures.parent / "out"),
        train_resolution=SIDE,
        min_bucket_resolution=SIDE,
        max_bucket_resolution=SIDE,
        mixed_precision=precision,
        net_dim=rank,
        alpha=1.0,
        batch_size=batch,
        unet_only=True,
        cache_latents=True,
        cache_latents_to_disk=False,
        cache_text_encoder_outputs=True,
        max_steps=100_000,
        learning_rate=rival_loops.RATE,
        optimizer_type="AdamW",
    )


def measure(config: TrainConfig, rivals: Sequence[str], seconds: float) -> list[dict[str, tuple[float, float]]]:
    """Let the trainer and its rivals take turns; the wall and CPU seconds of each turn."""
    accelerator = prepare.make_accelerator(config.mixed_precision)
    family, base = open_base([config], accelerator)
    unets = {name: copy.deepcopy(base.unet) for name in rivals}
    for name in {"bare", "peft"} & unets.keys():
        attention.choose(unets[name], config, accelerator.device, print)
    pack = prepare.make_pack([config], family, base)
    try:
        session = Session(accelerator, family, base, pack)
        prepare.prepare_models(session, config, print)
        dataset = read_dataset(config)
        data = prepare.make_data([config], dataset, session, ignore)
        member = prepare.add_member(session, config, 0, data, (Path(config.output_folder), ignore))
        material = _material(session, config, data)
        loops = {name: _loop(session, replace(material, base=replace(base, unet=unets[name])), name) for name in rivals}
        turns = Turns(loops, seconds)
        with contextlib.suppress(Enough):
            train_pack(session, [member], data, turns, _silent)
        return turns.taken
    finally:
        pack.detach()


def _loop(session: Session, material: rival_loops.Material, name: str) -> Callable[[], None]:
    return {"bare": rival_loops.bare, "peft": rival_loops.peft, "documented": rival_loops.documented}[name](material)


def _silent(progress: Progress) -> None:
    pass


def _material(session: Session, config: TrainConfig, data: Any) -> rival_loops.Material:
    batches = [data.training[number] for number in range(data.batches_per_epoch)]
    device, side = session.device, SIDE
    return rival_loops.Material(
        family=session.family,
        base=session.base,
        latents=[batch.latents.to(device) * session.base.scaling_factor for batch in batches],
        ids=[torch.cat(batch.token_ids).to(device) for batch in batches],
        pixels=[torch.rand(config.batch_size, 3, side, side, device=device) * 2 - 1 for _ in batches],
        rank=config.net_dim,
        precision=config.mixed_precision,
    )


if __name__ == "__main__":
    main()
