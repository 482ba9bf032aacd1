"""Latents computed once per picture: in memory always, on disk on request, addressed by what they depend on.

The key is the hash of the picture's bytes, the placement, mirrored or not, the VAE's hash and the dtype: a cached
latent can't be stale, and all runs of all sweeps share it.
"""

import hashlib
import json
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lora_lab.config.buckets import Placement
from lora_lab.failure import Failure
from lora_lab.memory import ran_out
from lora_lab.train.data import augment, pixels
from lora_lab.train.data.folder import Picture
from lora_lab.train.data.store import Store
from lora_lab.train.draws import normal

Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Pixels (n, 3, h, w) in [-1, 1] → mean and log-variance (n, c, h', w') of the posterior; None: no variance.

It is called only for what is missing, so a callable that loads the VAE at its first call may never load it.
"""

LatentId = tuple[str, Placement, bool]
"""A picture's digest, where it lies in its bucket, and whether it is mirrored."""

KIND = "latents"
BATCHES_AHEAD = 3
DECODERS = 8
"""Threads at most; Pillow lets others run while it decodes."""

_LOG_VARIANCE_LIMITS = (-30.0, 20.0)  # as diffusers' DiagonalGaussianDistribution


class Recent:
    """The latents of this run, and those of the one before it in this process: the runs of a sweep use the same."""

    def __init__(self) -> None:
        self._now: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}

    def next_run(self) -> None:
        """Forget what the run before the last has left."""
        self._now, self._before = {}, self._now

    def get(self, key: str) -> Tensor | None:
        """Return a latent by its key."""
        found = self._now.get(key)
        return found if found is not None else self._before.get(key)

    def add(self, key: str, latent: Tensor) -> None:
        """Keep a latent of this run."""
        self._now[key] = latent


@dataclass(frozen=True)
class CacheOptions:
    """`store` None keeps latents in memory only. `vae_hash` names the weights; `dtype` is what is kept.

    `recent` has those of the run before this one, for runs without a store.

    At most `batch_size` pictures are encoded at a time, and at most `batch_pixels` pixels: 8 of 512 × 512 take about
    5 GiB with the published VAEs in float32, 8 of 1024 × 1024 would take 20.
    """

    vae_hash: str
    dtype: torch.dtype = torch.float32
    store: Store | None = None
    recent: Recent = field(default_factory=Recent)
    batch_size: int = 8
    batch_pixels: int = 8 * 512 * 512


@dataclass(frozen=True)
class LatentItem:
    """One latent to have: a picture, where it lies in its bucket, mirrored or not."""

    picture: Picture
    placement: Placement
    mirrored: bool = False

    @property
    def id(self) -> LatentId:
        """What the latent is found by in memory."""
        return self.picture.digest, self.placement, self.mirrored


@dataclass(frozen=True)
class Filled:
    """The latents, unscaled (c, h', w') on the CPU, and how many were read from disk or computed."""

    latents: Mapping[LatentId, Tensor]
    read: int
    computed: int


def items_of(
    pictures: Sequence[Picture], placements: Sequence[Placement], mirrored_too: bool
) -> tuple[LatentItem, ...]:
    """The latents that pictures need; with `mirrored_too` each twice; files with the same bytes share one."""
    sides = (False, True) if mirrored_too else (False,)
    pairs = zip(pictures, placements, strict=True)
    items = (LatentItem(picture, placement, side) for picture, placement in pairs for side in sides)
    return tuple({item.id: item for item in items}.values())


def key_of(item: LatentItem, options: CacheOptions) -> str:
    """The content address, 64 hex digits."""
    parts = [item.picture.digest, item.placement, item.mirrored, options.vae_hash, str(options.dtype)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Begun:
    """Latents on their way: those that the disk had, and the pictures of the others, which threads decode meanwhile."""

    items: tuple[LatentItem, ...]
    latents: dict[LatentId, Tensor]
    missing: tuple[LatentItem, ...]
    decoded: Iterator[tuple[list[LatentItem], Tensor]]
    options: CacheOptions


def begin(items: Sequence[LatentItem], options: CacheOptions) -> Begun:
    """Read what the disk has of `items`, and let threads decode the first pictures of the rest.

    It needs no VAE, only its hash: so the pictures can be ready when the models are.
    """
    items = tuple(items)
    found = {item.id: _read(item, options) for item in items}
    missing = tuple(item for item in items if found[item.id] is None)
    latents = {name: latent for name, latent in found.items() if latent is not None}
    return Begun(items, latents, missing, Ahead(_batches(missing, options)), options)


def _read(item: LatentItem, options: CacheOptions) -> Tensor | None:
    """What memory or disk have of a latent; what has the wrong shape or dtype counts as missing, like all damage."""
    key = key_of(item, options)
    if options.store is None:
        return options.recent.get(key)
    entry = options.store.get(KIND, key)
    latent = entry.get("latent") if entry else None
    width, height = item.placement.bucket
    if latent is None or latent.dtype != options.dtype or latent.ndim != 3:
        return None
    return latent if latent.shape[1] * width == latent.shape[2] * height else None


def fill(
    items: Sequence[LatentItem],
    options: CacheOptions,
    encode: Encode,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Filled:
    """Every latent of `items`: from disk, else encoded in batches of one bucket and written if there is a store.

    `progress(done, total)` counts latents. A latent is one sample of the posterior, its noise a function of the key.
    Raises Failure if the VAE gives numbers that are not finite, or a picture can't be read.
    """
    return finish(begin(items, options), encode, progress)


def finish(begun: Begun, encode: Encode, progress: Callable[[int, int], None] = lambda done, total: None) -> Filled:
    """Encode what `begin` has not found; see `fill`. A batch for which memory runs out is encoded in smaller parts."""
    latents, options = dict(begun.latents), begun.options
    total = len(latents) + len(begun.missing)
    progress(len(latents), total)
    most = options.batch_size
    for batch, pictures in begun.decoded:
        posterior, most = _encode_all(pictures, encode, most)
        for item, latent in zip(batch, _sample(batch, options, posterior), strict=True):
            latents[item.id] = latent
            if options.store:
                options.store.put(KIND, key_of(item, options), {"latent": latent})
        progress(len(latents), total)
    for item in begun.items:
        options.recent.add(key_of(item, options), latents[item.id])
    if options.store:
        options.store.settle()
    return Filled(latents, len(begun.latents), len(begun.missing))


def _batches(items: Iterable[LatentItem], options: CacheOptions) -> list[list[LatentItem]]:
    """Batches of one bucket each; what the VAE takes to encode one goes with its pixels, so those are limited."""
    by_bucket: dict[tuple[int, int], list[LatentItem]] = defaultdict(list)
    for item in items:
        by_bucket[item.placement.bucket].append(item)
    batches = []
    for (width, height), group in by_bucket.items():
        size = max(1, min(options.batch_size, options.batch_pixels // (width * height)))
        batches += [group[start : start + size] for start in range(0, len(group), size)]
    return batches


class Ahead:
    """Batches with their pixels (n, 3, h, w), in order; threads decode a few more than have been asked for."""

    def __init__(self, batches: Sequence[list[LatentItem]]) -> None:
        """Begin at once. What can't be decoded raises Failure when its batch is asked for."""
        self._waiting = iter(batches)
        self._pool = ThreadPoolExecutor(min(DECODERS, os.cpu_count() or 1), "decode")
        self._begun: deque[tuple[list[LatentItem], list[Future[Tensor]]]] = deque()
        for _ in range(BATCHES_AHEAD):
            self._more()

    def _more(self) -> None:
        batch = next(self._waiting, None)
        if batch is not None:
            self._begun.append((batch, [self._pool.submit(_pixels, item) for item in batch]))

    def __iter__(self) -> Iterator[tuple[list[LatentItem], Tensor]]:
        return self

    def __next__(self) -> tuple[list[LatentItem], Tensor]:
        if not self._begun:
            self._pool.shutdown()
            raise StopIteration
        batch, pictures = self._begun.popleft()
        self._more()
        return batch, torch.stack([picture.result() for picture in pictures])


def _pixels(item: LatentItem) -> Tensor:
    image = pixels.place(pixels.load_unchanged(item.picture.path, item.picture.digest), item.placement)
    return pixels.to_tensor(augment.mirror(image) if item.mirrored else image)


Posterior = tuple[Tensor, Tensor | None]


def _encode_all(pictures: Tensor, encode: Encode, most: int) -> tuple[Posterior, int]:
    """Encode pictures, at most so many at a time; where memory runs out half as many. Also returns how many it took."""
    while True:
        try:
            with torch.no_grad():
                parts = [encode(part) for part in pictures.split(most)]
        except (RuntimeError, MemoryError) as error:
            most = min(most, len(pictures)) // 2
            if not most or not ran_out(error):
                raise
        else:
            break
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    means, log_variances = zip(*((mean.float().cpu(), spread) for mean, spread in parts), strict=True)
    spreads = [spread.float().cpu() for spread in log_variances if spread is not None]
    return (torch.cat(means), torch.cat(spreads) if spreads else None), most


def _sample(batch: Sequence[LatentItem], options: CacheOptions, posterior: Posterior) -> list[Tensor]:
    latents, log_variance = posterior
    if log_variance is not None:
        deviation = (0.5 * log_variance.clamp(*_LOG_VARIANCE_LIMITS)).exp()
        noise = [normal(tuple(latents.shape[1:]), 0, "posterior", key_of(item, options)) for item in batch]
        latents = latents + deviation * torch.stack(noise)
    refuse_not_finite(latents, [item.picture.path for item in batch])
    return [latent.clone() for latent in latents.to(options.dtype)]


def refuse_not_finite(latents: Tensor, pictures: Sequence[object]) -> None:
    """Raise Failure, naming the picture, where a latent of (n, c, h, w) has NaN or ∞: a LoRA of that draws black."""
    for picture, fine in zip(pictures, latents.isfinite().flatten(1).all(dim=1).tolist(), strict=True):
        if not fine:
            raise Failure(
                f"the VAE gives numbers that are not finite for {picture}",
                "the VAE runs in full precision, so its own weights are damaged: give another vae",
            )
