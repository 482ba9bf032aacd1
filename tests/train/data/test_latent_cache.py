"""The latent cache: what its keys depend on, that disk and memory agree, that damage is mended."""

import errno
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from lora_lab import cache_folder
from lora_lab.cache_entry import fault
from lora_lab.config.buckets import BucketOptions
from lora_lab.failure import Failure
from lora_lab.train.data import store
from lora_lab.train.data.epochs import arrange
from lora_lab.train.data.folder import pictures_of, scan
from lora_lab.train.data.latent_cache import CacheOptions, Filled, LatentItem, fill, items_of, key_of
from lora_lab.train.data.store import Store


class Vae:
    """Averages 8×8 blocks; counts what it encodes."""

    def __init__(self, log_variance: float | None = -2.0) -> None:
        self.log_variance = log_variance
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log-variance."""
        self.batches.append(tuple(pixels.shape))
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return mean, None if self.log_variance is None else torch.full_like(mean, self.log_variance)


@pytest.fixture
def items(tmp_path: Path) -> Sequence[LatentItem]:
    """Three pictures in two buckets and a copy of one, each mirrored too."""
    folder = tmp_path / "pictures" / "2_a"
    folder.mkdir(parents=True)
    for name, size, seed in (("a", (64, 64), 1), ("b", (64, 64), 2), ("c", (96, 32), 3), ("copy", (64, 64), 1)):
        values = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
        Image.fromarray(values).save(folder / f"{name}.png")
    data = arrange(pictures_of(scan(folder.parent)), BucketOptions((64, 64), True, 32, 128, 32), 2)
    return items_of(data.pictures, data.placements, mirrored_too=True)


def _same(first: Filled, second: Filled) -> bool:
    return first.latents.keys() == second.latents.keys() and all(
        torch.equal(first.latents[name], second.latents[name]) for name in first.latents
    )


def test_copies_share_a_latent_and_buckets_do_not_mix(items: Sequence[LatentItem]) -> None:
    """Four files of three contents, mirrored too, are six latents; no batch mixes shapes or exceeds its size."""
    vae, seen = Vae(), []
    filled = fill(items, CacheOptions("v", batch_size=3), vae, lambda done, total: seen.append((done, total)))
    assert len(filled.latents) == filled.computed == 6
    assert sorted(vae.batches) == [(1, 3, 64, 64), (2, 3, 32, 96), (3, 3, 64, 64)]
    assert seen[0] == (0, 6)
    assert seen[-1] == (6, 6)
    assert len(seen) == 4


def test_a_latent_is_one_sample_of_the_posterior(items: Sequence[LatentItem]) -> None:
    """mean + exp(log variance / 2) · noise with standard normal noise of its own for every latent."""
    means = fill(items, CacheOptions("v"), Vae(None)).latents
    samples = fill(items, CacheOptions("v"), Vae(-2.0)).latents
    noise = [(samples[name] - means[name]) / torch.exp(torch.tensor(-1.0)) for name in means]
    every = torch.cat([one.flatten() for one in noise])
    assert abs(float(every.mean())) < 0.15
    assert abs(float(every.std()) - 1) < 0.15
    square = [one for one in noise if one.shape[1:] == (8, 8)]
    assert len(square) == 4
    assert all(not torch.allclose(square[i], square[j]) for i in range(4) for j in range(i))
    side = {item.id: item for item in items}
    for (digest, place, mirrored), mean in means.items():
        if mirrored:
            assert torch.allclose(mean.flip(-1), means[digest, place, False], atol=1e-6), side[digest, place, True]


def test_disk_and_memory_agree(items: Sequence[LatentItem], tmp_path: Path) -> None:
    """Caching on disk or not, cold or warm, in any batch size: the same bits; warm calls no VAE."""
    memory = fill(items, CacheOptions("v"), Vae())
    options = CacheOptions("v", store=Store(tmp_path / "cache"))
    cold = fill(items, options, Vae())
    vae = Vae()
    warm = fill(items, options, vae)
    assert vae.batches == []
    assert (cold.read, cold.computed, warm.read, warm.computed) == (0, 6, 6, 0)
    assert _same(memory, cold)
    assert _same(cold, warm)
    assert _same(memory, fill(items, CacheOptions("v", batch_size=1), Vae()))
    names = [path.name for path in (tmp_path / "cache" / "latents").rglob("*") if path.is_file()]
    assert sorted(names) == sorted(f"{key_of(item, options)}.safetensors" for item in items)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "folder", "other", "shape"])
def test_damaged_files_are_computed_again(items: Sequence[LatentItem], tmp_path: Path, damage: str) -> None:
    """A file cut short, with a flipped bit, empty, or something else, counts as missing, is told and replaced."""
    told: list[str] = []
    options = CacheOptions("v", store=Store(tmp_path / "cache", told.append))
    first = fill(items, options, Vae())
    keys = {item.id: key_of(item, options) for item in items}
    path = cache_folder.path_of(tmp_path / "cache", "latents", keys[items[0].id])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    other = cache_folder.path_of(tmp_path / "cache", "latents", keys[items[1].id]).read_bytes()
    reshaped = save({"latent": torch.zeros(3, 8, 8)}, {"key": path.stem})
    spoiled = {"cut": bytes(content[:-40]), "flip": bytes(content), "empty": b"", "text": b"not safetensors at all"}
    path.unlink()
    assert not told
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes({**spoiled, "other": other, "shape": reshaped}[damage])
    again = fill(items, options, Vae())
    assert (again.read, again.computed) == (5, 1)
    assert _same(first, again)
    if damage == "folder":
        assert told[0].startswith(f"the cache {tmp_path / 'cache'} cannot be written (")
        assert not list(path.parent.glob(".*"))
        return
    assert told == [f"a cache entry was damaged and made anew ({path})"]
    assert fill(items, options, Vae()).computed == 0


def test_full_disk(items: Sequence[LatentItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full the latents are all there, and one line says that they are not kept."""
    told: list[str] = []

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(store, "write_whole", full)
    options = CacheOptions("v", store=Store(tmp_path / "cache", told.append))
    filled = fill(items, options, Vae())
    assert filled.computed == 6
    assert told == [
        f"the cache {tmp_path / 'cache'} cannot be written (No space left on device); training goes on without it"
    ]


def test_memory_that_runs_out_halves_the_batch(items: Sequence[LatentItem]) -> None:
    """A VAE that takes one picture at a time gives what it gives of three; what one picture needs is not to be had."""
    vae = Vae()

    def small(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        if len(pixels) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return vae(pixels)

    room = 1
    assert _same(fill(items, CacheOptions("v"), small), fill(items, CacheOptions("v"), Vae()))
    assert {len(shape) and shape[0] for shape in vae.batches} == {1}
    room = 0
    with pytest.raises(torch.OutOfMemoryError):
        fill(items, CacheOptions("v"), small)


def test_batches_are_limited_by_their_pixels(items: Sequence[LatentItem]) -> None:
    """Twice the pixels, half the pictures; one at least."""
    for pixels, most in ((64 * 64 * 2, 2), (64 * 64, 1), (1, 1)):
        vae = Vae()
        fill(items, CacheOptions("v", batch_pixels=pixels), vae)
        assert max(shape[0] for shape in vae.batches if shape[2:] == (64, 64)) == most


def test_processes_may_fill_at_once(items: Sequence[LatentItem], tmp_path: Path) -> None:
    """Four threads with a store each fill the same folder: all have the same latents, and every entry is whole."""
    with ThreadPoolExecutor(4) as pool:
        every = list(pool.map(lambda _: fill(items, CacheOptions("v", store=Store(tmp_path)), Vae()), range(4)))
    assert all(_same(every[0], one) for one in every)
    found = cache_folder.entries(tmp_path)
    assert len(found) == 6
    assert [fault(entry) for entry in found] == [None] * 6


def test_keys_depend_on_everything_that_decides_the_latent(items: Sequence[LatentItem]) -> None:
    """Bytes, bucket, size, crop, mirroring, VAE and dtype each change the key; name, caption and folder don't."""
    item, options = items[0], CacheOptions("v")
    place = item.placement
    key = key_of(item, options)
    others = [
        key_of(replace(item, picture=replace(item.picture, digest="0")), options),
        key_of(replace(item, placement=place._replace(bucket=(32, 32))), options),
        key_of(replace(item, placement=place._replace(resized=(65, 64))), options),
        key_of(replace(item, placement=place._replace(crop=(1, 0))), options),
        key_of(replace(item, mirrored=not item.mirrored), options),
        key_of(item, CacheOptions("w")),
        key_of(item, CacheOptions("v", torch.float16)),
    ]
    assert len({key, *others}) == 8
    moved = replace(item.picture, path=Path("elsewhere.png"), caption="other", subset="9_z", repeats=9)
    assert key_of(replace(item, picture=moved), CacheOptions("v", store=Store(Path("x")), batch_size=1)) == key


def test_dtype_is_kept(items: Sequence[LatentItem], tmp_path: Path) -> None:
    """Half precision is stored and read back as half precision."""
    options = CacheOptions("v", torch.float16, Store(tmp_path / "cache"))
    cold, warm = fill(items, options, Vae()), fill(items, options, Vae())
    assert {latent.dtype for latent in warm.latents.values()} == {torch.float16}
    assert _same(cold, warm)


def test_numbers_that_are_not_finite_are_refused(items: Sequence[LatentItem], tmp_path: Path) -> None:
    """A VAE that overflows is a failure that names the picture, and nothing of it is cached."""
    with pytest.raises(Failure, match=r"not finite for .*\.png"):
        fill(items, CacheOptions("v", store=Store(tmp_path / "cache")), Vae(float("nan")))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
