"""Trains random pairs of runs alone and as a pack, and shows how far the packed ones are from those alone.

    python benchmarks/packed_sameness.py --pairs 50 --steps 4

The runs of a pair differ in whatever may differ: kind of network, rank, alpha, convolutions, optimizer, rates,
schedule, loss, noise, dropouts, captions, text encoder, clip skip, average, length. Every pair meets one trouble:

    none        both are trained to their ends
    stopped     the pack is interrupted, and goes on as a pack from its states
    apart       it is interrupted, and each goes on alone from the state that the pack has left
    broken      the other's weights become NaN after two steps: it leaves the pack
    cut short   the other is cut short at its first validation

Shown are the worst differences over all pairs: of loss and val_loss at any step, relative; of the finished weights, the
norm of the difference against the norm of what was learned; and how many runs are equal to the bit. Exits with 1 where
one is above the bounds. They are the rounding of float32: a matrix product of more rows is added up in another order,
and Adam's first steps make a whole step of any gradient, however small.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file

from lora_lab.config import TrainConfig, check, with_absolute_paths
from lora_lab.failure import Failure
from lora_lab.tracking.events import Event, Metrics
from lora_lab.train import step, unfinished
from lora_lab.train.run import Run, RunResult, train_runs

BASE: dict[str, object] = {
    "base_model": "lora_lab:quickstart/base",
    "mixed_precision": "no",
    "save_precision": "float",
    "train_resolution": 64,
    "min_bucket_resolution": 64,
    "max_bucket_resolution": 128,
    "batch_size": 2,
    "gradient_acc_steps": 1,
    "validation_split": 0.07,
    "cache_latents_to_disk": True,
    "num_epochs": 1,
    "max_grad_norm": 1.0,
}
OPTIMIZERS: tuple[dict[str, object], ...] = (
    {"optimizer_type": "AdamW", "learning_rate": 1e-3},
    {"optimizer_type": "AdamW", "learning_rate": 2e-4, "loraplus_unet_lr_ratio": 4.0},
    {"optimizer_type": "Prodigy", "learning_rate": 1.0, "scheduler": "constant"},
    {"optimizer_type": "AdaFactor", "learning_rate": 1e-3},
    {"optimizer_type": "SGDNesterov", "learning_rate": 1e-1},
    {"optimizer_type": "DAdaptation", "learning_rate": 1.0, "scheduler": "constant"},
    {"optimizer_type": "Lion", "learning_rate": 1e-4},
    {"optimizer_type": "AdamWScheduleFree", "learning_rate": 1e-3, "scheduler": "constant"},
)
NETWORKS: tuple[dict[str, object], ...] = (
    {},
    {"conv_dim": 2, "conv_alpha": 1.0},
    {"network_type": "loha"},
    {"network_type": "lokr", "lokr_factor": 4},
    {"use_dora": True},
)
LOSSES: tuple[dict[str, object], ...] = (
    {},
    {"loss_type": "huber"},
    {"loss_type": "smooth_l1", "huber_schedule": "snr"},
    {"min_snr_gamma": 5.0},
    {"debiased_estimation_loss": True},
)
NOISES: tuple[dict[str, object], ...] = (
    {},
    {"noise_offset": 0.1},
    {"multires_noise_iterations": 4, "multires_noise_discount": 0.3},
    {"ip_noise_gamma": 0.1},
)
DROPOUTS: tuple[dict[str, object], ...] = (
    {},
    {"network_dropout": 0.3},
    {"rank_dropout": 0.3},
    {"module_dropout": 0.3},
)
CAPTIONS: tuple[dict[str, object], ...] = ({}, {"shuffle_captions": True}, {"caption_dropout_rate": 0.3})
PARTS: tuple[dict[str, object], ...] = (
    {"unet_only": True},
    {"unet_only": True, "cache_text_encoder_outputs": True},
    {},
    {"text_only": True},
)
SCHEDULES: tuple[dict[str, object], ...] = (
    {"scheduler": "cosine"},
    {"scheduler": "constant"},
    {"scheduler": "linear", "warmup_lr_ratio": 0.4},
)
MORE: tuple[dict[str, object], ...] = ({}, {"ema_decay": 0.7}, {"scale_weight_norms": 0.05}, {"clip_skip": 2})
TROUBLES = ("none", "stopped", "apart", "broken", "cut short")

CURVE, VALIDATION, WEIGHTS = 1e-3, 1e-3, 2e-2
"""The bounds: relative differences of loss, val_loss and weights."""


@dataclass
class Told:
    """What a run has told and left."""

    result: RunResult | Failure | None = None
    values: dict[str, dict[int, float]] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        if isinstance(event, Metrics):
            for name, value in event.values.items():
                self.values.setdefault(name, {})[event.step] = value

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The finished LoRA."""
        assert isinstance(self.result, RunResult), self.result
        return load_file(self.result.lora)


def settings(draws: random.Random, steps: int) -> dict[str, object]:
    """Draw the settings of a run."""
    found: dict[str, object] = {"net_dim": draws.choice([1, 2, 4, 7, 16]), "alpha": draws.choice([0.5, 1.0, 4.0])}
    for choices in (SCHEDULES, PARTS, NETWORKS, LOSSES, NOISES, DROPOUTS, CAPTIONS, MORE, OPTIMIZERS):
        found |= draws.choice(choices)
    if found.get("text_only"):  # the text encoder is all linear
        found.pop("conv_dim", None)
        found.pop("conv_alpha", None)
    if "loraplus_unet_lr_ratio" in found and found.get("text_only"):
        del found["loraplus_unet_lr_ratio"]
    return {**found, "test_seed": draws.randrange(1000), "max_steps": draws.randint(max(steps - 2, 3), steps)}


def config_of(values: Mapping[str, object], pictures: Path) -> TrainConfig:
    """Return a config, its paths absolute."""
    checked = check({**BASE, "img_folder": str(pictures), "output_folder": str(pictures), **values})
    assert not checked.problems, (checked.problems, values)
    return with_absolute_paths(checked.config, Path())


def train(
    configs: Sequence[TrainConfig], folders: Sequence[Path], told: Sequence[Told], judges: Sequence[Any] = ()
) -> None:
    """Train configs as a pack."""
    runs = [
        Run(config=config, folder=folder, record=one, judge=judge)
        for config, folder, one, judge in zip(configs, folders, told, judges or [None] * len(configs), strict=True)
    ]
    for one, result in zip(told, train_runs(runs, lambda progress: None), strict=True):
        one.result = result


@contextlib.contextmanager
def interrupted_at(batch: int) -> Iterator[None]:
    """Within, training is interrupted in a batch, and states are kept after every step."""
    real = step.pack_losses

    def losses(session: Any, members: Any, given: Any) -> Any:
        if given.index == batch:
            raise KeyboardInterrupt
        return real(session, members, given)

    with (
        mock.patch.object(step, "pack_losses", losses),
        mock.patch.multiple(unfinished, SECONDS=0.0, COST=0),
        contextlib.suppress(KeyboardInterrupt),
    ):
        yield


@contextlib.contextmanager
def broken_after(moves: int) -> Iterator[None]:
    """Within, the second adapter's weights become NaN after so many steps."""
    real: Callable[[Any], Any] = step._move
    done: list[int] = []

    def move(member: Any) -> Any:
        norm = real(member)
        if member.key == 1:
            done.append(1)
            if len(done) == moves:
                with torch.no_grad():
                    for group in member.groups:
                        for tensor in group["params"]:
                            tensor.fill_(torch.nan)
        return norm

    with mock.patch.object(step, "_move", move):
        yield


def train_packed(trouble: str, configs: Sequence[TrainConfig], folder: Path) -> list[Told]:
    """Train a pair as a pack that meets with trouble."""
    told = [Told(), Told()]
    folders = [folder / "0", folder / "1"]
    if trouble in ("stopped", "apart"):
        with interrupted_at(2):
            train(configs, folders, told)
    if trouble == "apart":
        for place in (0, 1):
            train(configs[place : place + 1], folders[place : place + 1], told[place : place + 1])
    elif trouble == "broken":
        with broken_after(2):
            train(configs, folders, told)
    elif trouble == "cut short":
        train(configs, folders, told, [None, lambda step, metrics: True])
    else:
        train(configs, folders, told)
    return told


@dataclass(frozen=True)
class Distance:
    """How far a packed run is from the run alone."""

    curve: float
    validation: float
    weights: float
    same: bool


def distance(packed: Told, alone: Told) -> Distance:
    """Compare a packed run with the run alone."""
    curve, validation = (_relative(packed.values[name], alone.values[name]) for name in ("loss", "val_loss"))
    mine, theirs = packed.tensors, alone.tensors
    assert mine.keys() == theirs.keys()
    learned = [name for name in mine if name.endswith((".lora_up.weight", ".hada_w2_a", ".lokr_w2", ".lokr_w2_a"))]
    off = sum(float((mine[name] - theirs[name]).square().sum()) for name in learned)
    whole = sum(float(theirs[name].square().sum()) for name in learned)
    same = all(torch.equal(mine[name], theirs[name]) for name in mine)
    return Distance(curve, validation, (off / max(whole, 1e-30)) ** 0.5, same)


def _relative(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    assert one.keys() == other.keys(), (sorted(one), sorted(other))
    return max(abs(one[step] - other[step]) / max(abs(other[step]), 1e-12) for step in other)


def pictures(folder: Path, count: int) -> Path:
    """Copy some of the packaged pictures; one that is used once, in a folder of its own."""
    source = Path(step.__file__).parents[1] / "quickstart" / "pictures"
    top = next(path for path in sorted(source.iterdir()) if path.is_dir())
    target = folder / "pictures" / "1_lumi"
    target.mkdir(parents=True)
    for picture in sorted(top.glob("*.png"))[:count]:
        for path in (picture, picture.with_suffix(".txt")):
            shutil.copy(path, target)
    return folder / "pictures"


def main() -> int:
    """Train the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("pairs", 50), ("steps", 4), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--verbose", action="store_true", help="print every pair")
    given = parser.parse_args()
    found: dict[str, list[tuple[Distance, dict[str, object]]]] = {trouble: [] for trouble in TROUBLES}
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="sameness_") as name:
        top = Path(name)
        os.environ["LORA_LAB_CACHE"] = str(top / "cache")
        data = pictures(top, 16)
        for number in range(given.pairs):
            draws = random.Random(given.seed * 1000 + number)
            trouble = TROUBLES[number % len(TROUBLES)]
            chosen = [settings(draws, given.steps) for _ in range(2)]
            if trouble == "cut short":  # at the end of the first epoch, which has seven or eight steps
                chosen = [{**values, "max_steps": 9} for values in chosen]
            configs = [config_of(values, data) for values in chosen]
            packed = train_packed(trouble, configs, top / str(number))
            for place in (0,) if trouble in ("broken", "cut short") else (0, 1):
                alone = Told()
                train([configs[place]], [top / str(number) / f"alone{place}"], [alone])
                off = distance(packed[place], alone)
                found[trouble].append((off, chosen[place]))
                if given.verbose:
                    print(f"{number:>3} {trouble:<9} {off} {json.dumps(chosen[place])}", flush=True)
    return show(found, time.process_time() - began)


def show(found: Mapping[str, Sequence[tuple[Distance, Mapping[str, object]]]], seconds: float) -> int:
    """Print the worst differences by trouble; return the exit code."""
    print(f"{'':<10} {'runs':>5} {'loss':>9} {'val_loss':>9} {'weights':>9} {'same bits':>9}")
    every = [pair for pairs in found.values() for pair in pairs]
    for trouble, pairs in {**found, "all": every}.items():
        if pairs:
            worst = [max(getattr(off, name) for off, _ in pairs) for name in ("curve", "validation", "weights")]
            bits = sum(off.same for off, _ in pairs)
            print(f"{trouble:<10} {len(pairs):>5} {' '.join(f'{value:>9.1e}' for value in worst)} {bits:>9}")
    print(f"{seconds:.0f} s of CPU time, {torch.get_num_threads()} threads, torch {torch.__version__}")
    bad = [
        (off, values)
        for off, values in every
        if off.curve > CURVE or off.validation > VALIDATION or off.weights > WEIGHTS
    ]
    for off, values in bad:
        print(f"too far: {off} {json.dumps(values)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
