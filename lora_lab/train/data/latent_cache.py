"""Latents computed once per picture: in memory always, on disk on request, addressed by what they depend on.

The key is the hash of the picture's bytes, the placement, mirrored or not, the VAE's hash and the dtype: a cached
latent can't be stale, and all runs of all sweeps share it.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from lora_lab.config.buckets import Placement
from lora_lab.failure import Failure
from lora_lab.train.data import augment, pixels
from lora_lab.train.data.folder import Picture
from lora_lab.train.draws import normal
from lora_lab.whole_files import write_whole

Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Pixels (n, 3, h, w) in [-1, 1] → mean and log-variance (n, c, h', w') of the posterior; None: no variance.

It is called only for what is missing, so a callable that loads the VAE at its first call may never load it.
"""

LatentId = tuple[str, Placement, bool]
"""A picture's digest, where it lies in its bucket, and whether it is mirrored."""

_LOG_VARIANCE_LIMITS = (-30.0, 20.0)  # as diffusers' DiagonalGaussianDistribution


@dataclass(frozen=True)
class CacheOptions:
    """`folder` None keeps latents in memory only. `vae_hash` names the weights; `dtype` is what is kept."""

    vae_hash: str
    dtype: torch.dtype = torch.float32
    folder: Path | None = None
    batch_size: int = 8


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


def default_folder() -> Path:
    """`$LORA_LAB_CACHE`, else `~/.cache/lora-lab`."""
    named = os.environ.get("LORA_LAB_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "lora-lab"


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


def path_of(key: str, folder: Path) -> Path:
    """Where a key's file lies below the cache folder."""
    return folder / "latents" / key[:2] / f"{key}.safetensors"


def find(items: Iterable[LatentItem], options: CacheOptions) -> dict[LatentId, Tensor]:
    """What the disk has, checked against its own checksum; a damaged file counts as missing."""
    if options.folder is None:
        return {}
    found = ((item.id, read(path_of(key_of(item, options), options.folder))) for item in items)
    return {name: latent for name, latent in found if latent is not None and latent.dtype == options.dtype}


def fill(
    items: Sequence[LatentItem],
    options: CacheOptions,
    encode: Encode,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Filled:
    """Every latent of `items`: from disk, else encoded in batches of one bucket and written if there is a folder.

    `progress(done, total)` counts latents. A latent is one sample of the posterior, its noise a function of the key.
    Raises Failure if the VAE gives numbers that are not finite, a picture can't be read, or the folder not be written.
    """
    latents = find(items, options)
    read = len(latents)
    missing = [item for item in items if item.id not in latents]
    progress(read, len(items))
    for batch in _batches(missing, options.batch_size):
        for item, latent in zip(batch, _encode(batch, options, encode), strict=True):
            latents[item.id] = latent
            if options.folder is not None:
                write(path_of(key_of(item, options), options.folder), latent)
        progress(len(latents), len(items))
    return Filled(latents, read, len(missing))


def _batches(items: Iterable[LatentItem], size: int) -> list[list[LatentItem]]:
    by_bucket: dict[tuple[int, int], list[LatentItem]] = defaultdict(list)
    for item in items:
        by_bucket[item.placement.bucket].append(item)
    return [group[start : start + size] for group in by_bucket.values() for start in range(0, len(group), size)]


def _pixels(item: LatentItem) -> Tensor:
    image = pixels.place(pixels.load_unchanged(item.picture.path, item.picture.digest), item.placement)
    return pixels.to_tensor(augment.mirror(image) if item.mirrored else image)


def _encode(batch: Sequence[LatentItem], options: CacheOptions, encode: Encode) -> list[Tensor]:
    with torch.no_grad():
        mean, log_variance = encode(torch.stack([_pixels(item) for item in batch]))
    latents = mean.detach().float().cpu()
    if log_variance is not None:
        deviation = (0.5 * log_variance.detach().float().cpu().clamp(*_LOG_VARIANCE_LIMITS)).exp()
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


def _checksum(latent: Tensor) -> str:
    return hashlib.sha256(latent.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def read(path: Path) -> Tensor | None:
    """The tensor of a file, or None if the file is missing or damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            latent: Tensor = file.get_tensor("latent").clone()
            checksum = (file.metadata() or {}).get("sha256")
    except (OSError, safetensors.SafetensorError):
        return None
    return latent if checksum == _checksum(latent) else None


def write(path: Path, latent: Tensor) -> None:
    """Write a tensor so that a reader sees the whole file or none, even when runs write the same key at once.

    Raises Failure.
    """
    content = save({"latent": latent.contiguous()}, {"sha256": _checksum(latent)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise Failure(
            f"the cache {path.parent.parent.parent} cannot be written ({error.strerror or error})",
            "make room or name another folder in LORA_LAB_CACHE, or switch caching to disk off",
        ) from None
