"""What a run takes of this machine, measured: some steps of one adapter, then of two and more at once.

The steps are real ones, with the config's pictures' captions, losses and optimizer, on a batch of the largest bucket;
only the latents are blank. What is trained is thrown away.
"""

import contextlib
import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from torch import Tensor, nn

from lora_lab import memory
from lora_lab.config import TrainConfig, sides
from lora_lab.tracking.events import ignore
from lora_lab.train import prepare
from lora_lab.train.adapters.base import is_wide
from lora_lab.train.allocator import keep_freed_memory
from lora_lab.train.data import batches
from lora_lab.train.data.batches import PackBatch, PackDataset
from lora_lab.train.data.epochs import Arranged, plan_epoch
from lora_lab.train.data.latent_cache import LatentId
from lora_lab.train.dataset import read_dataset
from lora_lab.train.families.base import Base, Family
from lora_lab.train.loop import PackData
from lora_lab.train.opening import open_base
from lora_lab.train.sample import read_prompts
from lora_lab.train.step import Member, Session, pack_step

COUNTS = (1, 2, 4, 8)
"""Adapters at once; the first two always, more while it is quick and there is room."""

SECONDS = 3.0
"""More adapters are tried as long as that, and steps repeated."""

ROUNDS = 3

QUICK = 1.0
"""Seconds of a step that may be repeated by one thread."""

STEPS = 1000
"""Of the run that the steps seem to be part of: its schedule must not end."""


class Counts(NamedTuple):
    """Of a base: millions of parameters; adapter parameters per rank of the parts and, with conv_dim, of the rest."""

    base: float
    text_rank: int
    unet_rank: int
    per_conv_dim: int
    per_rank_beside: int


class Probed(NamedTuple):
    """By numbers of adapters: the peak of the memory in bytes, and the seconds of a step.

    `drawing` is what decoding the largest sample picture takes above the base at rest.
    """

    peaks: Mapping[int, int]
    seconds: Mapping[int, float]
    counts: Counts
    drawing: int = 0


class Probe:
    """Measures on the device that runs are trained on."""

    def __call__(self, config: TrainConfig) -> Probed:
        """Measure a run (paths absolute). Raises Failure, and whatever breaks its training."""
        keep_freed_memory()  # as training does
        accelerator = prepare.make_accelerator(config.mixed_precision)
        family, base = open_base([config], accelerator)
        counts = counts_of(family, base, config)
        pack = prepare.make_pack([config], family, base)
        try:
            session = Session(accelerator, family, base, pack)
            trial = _Trial(session, _as_trial(config))
            peaks, seconds = trial.measure(self.room())
            trial.members.clear()
            return Probed(peaks, seconds, counts, _drawing(session, config))
        finally:
            pack.detach()
            with contextlib.suppress(Exception):
                accelerator.free_memory()
            _tidy()

    def room(self) -> int:
        """Return what this process could have in all: what it holds, and what is free."""
        if torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
        return (memory.available() or psutil.virtual_memory().available) + psutil.Process().memory_info().rss


def _as_trial(config: TrainConfig) -> TrainConfig:
    """The config without what leaves traces, or asks for what a trial has not."""
    return config.model_copy(
        update={
            "max_steps": STEPS,
            "keep_best": False,
            "cache_text_encoder_outputs_to_disk": False,
            "num_workers": 0,
            "torch_compile": False,  # it would take minutes for each size of a pack, and changes little
        }
    )


class _Trial:
    """A pack that grows, on blank latents."""

    def __init__(self, session: Session, config: TrainConfig) -> None:
        self._session, self._config = session, config
        prepare.prepare_models(session, config, lambda line: None)
        self._data = read_dataset(config).training
        self._tokenize = prepare.Tokenize(session.family, session.base)
        self._number = _largest(self._data)
        self.members: list[Member] = []
        self._quick = True

    def measure(self, room: int) -> tuple[dict[int, int], dict[int, float]]:
        """Return peaks and seconds by number of adapters; where memory runs out for more than one, without them."""
        began = _clock()
        peaks: dict[int, int] = {}
        seconds: dict[int, float] = {}
        for count in COUNTS:
            if count > 2 and not self._is_worth_it(count, began, peaks, seconds, room):
                break
            try:
                self._grow(count)
                peaks[count], seconds[count] = self._peak(count)
                if self._quick:
                    seconds[count] = self._seconds(count)
            except (MemoryError, RuntimeError) as error:
                if count == 1 or not memory.ran_out(error):
                    raise
                break
        for _ in range(ROUNDS):  # turn about, as the machine may have other things to do now and then
            if self._quick and _clock() - began < SECONDS:
                seconds = {count: min(before, self._seconds(count)) for count, before in seconds.items()}
        return peaks, undisturbed(seconds)

    def _is_worth_it(
        self, count: int, began: float, peaks: Mapping[int, int], seconds: Mapping[int, float], room: int
    ) -> bool:
        half = count // 2
        each = (peaks[half] - peaks[1]) / (half - 1) if half > 1 else 0.0
        quick = _clock() - began + 3 * 2 * seconds[half] < SECONDS
        return half in peaks and quick and peaks[1] + each * count < room / 2

    def _grow(self, count: int) -> None:
        facts = _facts(self._data)
        place = (Path(), ignore)
        for key in range(len(self.members), count):
            self.members.append(prepare.add_member(self._session, self._config, key, facts, place))

    def _batch(self, count: int) -> PackBatch:
        latents = _Blank(self._data, self._number) if self._config.cache_latents else None
        options = [batches.from_config(self._config, STEPS)] * count
        return PackDataset(self._data, options, self._tokenize, latents)[self._number]

    def _peak(self, count: int) -> tuple[int, float]:
        """The most that is held during a step, after one that has made what stays; and its seconds."""
        self._step(count)  # which also does what is done once in a process
        _tidy()
        with _watched() as peak:
            seconds = self._step(count)
        self._quick = self._quick and seconds < QUICK
        return peak(), seconds

    def _seconds(self, count: int) -> float:
        """The seconds of a step; of a quick one on a CPU by one thread.

        Where other processes are at work, several threads wait for each other, and their clock says nothing.
        """
        threads = torch.get_num_threads()
        if self._quick and not torch.cuda.is_available():
            torch.set_num_threads(1)
        try:
            return self._step(count)
        finally:
            torch.set_num_threads(threads)

    def _step(self, count: int) -> float:
        """Take a step with the first members; return its seconds."""
        batch = self._batch(count)
        began = _clock()
        pack_step(self._session, self.members[:count], [batch])
        return _clock() - began


def undisturbed(seconds: Mapping[int, float]) -> dict[int, float]:
    """Return seconds by number of adapters as they are at most: a pack does all that a smaller one does, and more.

    Where the smaller one took longer, something else was in its way, and the larger one would seem to pay many times.
    """
    return {count: min(seconds[more] for more in seconds if more >= count) for count in seconds}


def _facts(data: Arranged) -> PackData:
    """As much of the data as members are made from."""
    nothing = PackDataset(data, [], lambda text, limit: torch.empty(0))
    return PackData(nothing, None, data.batches_per_epoch, 0, False)


def _largest(data: Arranged) -> int:
    """The number of a batch of the first epoch that has the most pixels, and the most pictures."""

    def size(number: int) -> tuple[int, int]:
        width, height = data.buckets[plans[number].bucket].size
        return width * height, plans[number].length

    plans = plan_epoch(data, 1)
    return max(range(len(plans)), key=size)


class _Blank(Mapping[LatentId, Tensor]):
    """Latents of zeros, in the shape of one batch's bucket, whatever the picture."""

    def __init__(self, data: Arranged, number: int) -> None:
        width, height = data.buckets[plan_epoch(data, 1)[number].bucket].size
        self._latent = torch.zeros(4, height // 8, width // 8)

    def __getitem__(self, key: LatentId) -> Tensor:
        return self._latent

    def __iter__(self) -> Iterator[LatentId]:
        return iter(())

    def __len__(self) -> int:
        return 0


def counts_of(family: Family, base: Base, config: TrainConfig) -> Counts:
    """Count what adapters of a base are made of; `down` and `up` have in + out numbers per rank."""
    text = unet = wide = narrow = 0
    for name, (owner, attribute) in family.layers(base).items():
        if name.startswith("lora_te"):
            text += _per_rank(getattr(owner, attribute))
        else:
            unet += _per_rank(getattr(owner, attribute))
    for owner, attribute in family.convolutions(base).values():
        layer = getattr(owner, attribute)
        wide, narrow = wide + _per_rank(layer) * is_wide(layer), narrow + _per_rank(layer) * (not is_wide(layer))
    models = (base.unet, *base.text_encoders)
    return Counts(sum(p.numel() for model in models for p in model.parameters()) / 1e6, text, unet, wide, narrow)


def _per_rank(layer: nn.Module) -> int:
    height, *rest = layer.weight.shape  # type: ignore[misc]  # a Linear or Conv2d
    return int(height + torch.Size(rest).numel())


@torch.no_grad()
def _drawing(session: Session, config: TrainConfig) -> int:
    """What decoding the largest sample picture takes above the base at rest."""
    prompts = read_prompts(config.sample_prompts, Path(), sides(config.train_resolution))
    if not prompts:
        return 0
    _tidy()
    largest = max(prompts, key=lambda prompt: prompt.width * prompt.height)
    with _watched() as rest:
        pass
    with _watched() as peak:
        latents = torch.zeros(1, 4, largest.height // 8, largest.width // 8, device=session.device)
        session.base.vae.decode(latents)  # type: ignore[operator]  # a diffusers VAE
    return max(peak() - rest(), 0)


def _clock() -> float:
    """Seconds; on a CPU those that this process has worked, by threads, as other processes may be at work too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def _tidy() -> None:
    """Give back what nobody uses, so that what is measured next is not hidden behind it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[], int]]:
    """Within, the peak of the memory is watched; what is given tells it afterwards, in bytes."""
    found: list[int] = []
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield lambda: found[0]
        found.append(torch.cuda.max_memory_allocated())
    elif _reset_high_water():
        yield lambda: found[0]
        found.append(_high_water())
    else:
        with _sampled(found):
            yield lambda: max(found)


def _reset_high_water() -> bool:
    """Let the kernel count anew the most that this process held; return whether it does (Linux, proc(5))."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _high_water() > 0
    except OSError:
        return False


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


@contextlib.contextmanager
def _sampled(found: list[int]) -> Iterator[None]:
    """Within, a thread looks every millisecond at what this process holds."""
    process, done = psutil.Process(os.getpid()), threading.Event()
    found.append(process.memory_info().rss)

    def look() -> None:
        while not done.wait(0.001):
            found[0] = max(found[0], process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True, name="memory")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        found[0] = max(found[0], process.memory_info().rss)
