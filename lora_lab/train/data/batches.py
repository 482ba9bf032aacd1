"""The batches of a pack: K adapters' batches, one after another in one tensor.

A batch is a function of its number alone, so any count of workers gives the same batches and a resumed run starts at
the number it stopped at.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lora_lab.config.buckets import Placement, Size
from lora_lab.failure import Failure
from lora_lab.train.data import augment, caption, pixels
from lora_lab.train.data.augment import AugmentOptions
from lora_lab.train.data.caption import CaptionOptions
from lora_lab.train.data.epochs import Arranged, BatchPlan, Entry, order_in_bucket, plan_epoch
from lora_lab.train.data.folder import Picture
from lora_lab.train.data.latent_cache import LatentId
from lora_lab.train.data.masks import Masks
from lora_lab.train.draws import python_draws

if TYPE_CHECKING:
    from lora_lab.config import TrainConfig

Tokenize = Callable[[str, int], Tensor]
"""(caption, max_clip_token_length) → ids (..., chunks, 77); it goes to workers, so it must be picklable."""

_REMEMBERED_CAPTIONS = 20_000


@dataclass(frozen=True)
class AdapterOptions:
    """What may differ between the adapters of a pack as far as data goes."""

    seed: int
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    max_clip_token_length: int = 75
    prior_loss_weight: float = 1.0
    gradient_acc_steps: int = 1


def from_config(config: "TrainConfig", total_steps: int) -> AdapterOptions:
    """The data settings of one adapter that `config` names, for a run of that many optimizer steps."""
    return AdapterOptions(
        seed=config.test_seed,
        captions=caption.from_config(config, total_steps),
        augment=augment.from_config(config),
        max_clip_token_length=config.max_clip_token_length,
        prior_loss_weight=config.prior_loss_weight,
        gradient_acc_steps=config.gradient_acc_steps,
    )


@dataclass(frozen=True)
class PackBatch:
    """K batches of b pictures each, adapter after adapter; all on the CPU.

    Either `latents` (K·b, c, h, w), unscaled, or `pixels` (K·b, 3, H, W) in [-1, 1]. `token_ids` has one tensor
    (b, ..., chunks, 77) per adapter. `weights` (K·b,) are the loss weights. `items` name every use, per adapter: what
    per-item draws depend on. `bucket` is (width, height); `original_sizes` (K·b, 2) are (height, width), `crops` (top,
    left). `masks` (K·b, 1, h, w) say what each latent value's loss counts, None: all of it.
    """

    index: int
    epoch: int
    bucket: Size
    latents: Tensor | None
    pixels: Tensor | None
    token_ids: list[Tensor]
    weights: Tensor
    captions: list[list[str]]
    items: list[list[str]]
    original_sizes: Tensor
    crops: Tensor
    masks: Tensor | None = None

    @property
    def sizes(self) -> Tensor:
        """What SDXL is told of each picture, float32 (K·b, 6), in pixels.

        Height and width of the file, top and left of the crop in the resized picture, height and width of the bucket
        (Podell et al. 2023, arXiv:2307.01952, section 2.2; in this order in diffusers' `_get_add_time_ids`).
        """
        width, height = self.bucket
        target = torch.tensor([[height, width]]).expand(len(self.crops), 2)
        return torch.cat([self.original_sizes, self.crops, target], dim=1).float()

    def of(self, places: Sequence[int]) -> "PackBatch":
        """The batch of some of the adapters, in the order of `places`."""
        count = len(self.token_ids)
        if list(places) == list(range(count)):
            return self

        def chosen(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (count, -1))[list(places)].flatten(0, 1)

        return replace(
            self,
            latents=None if self.latents is None else chosen(self.latents),
            pixels=None if self.pixels is None else chosen(self.pixels),
            token_ids=[self.token_ids[place] for place in places],
            weights=chosen(self.weights),
            captions=[self.captions[place] for place in places],
            items=[self.items[place] for place in places],
            original_sizes=chosen(self.original_sizes),
            crops=chosen(self.crops),
            masks=None if self.masks is None else chosen(self.masks),
        )


class _Use(NamedTuple):
    picture: Picture
    placement: Placement
    item: str
    caption: str
    mirrored: bool = False
    color: random.Random | None = None
    weight: float = 1.0


class PackDataset(Dataset[PackBatch]):
    """Training batches by number: number i is batch i mod n of epoch i div n + 1. It has no end.

    `latents` holds every picture of `data`, mirrored too where an adapter flips; None: each use decodes its picture.
    Raises Failure for augmentation that cached latents can't have.
    """

    def __init__(
        self,
        data: Arranged,
        adapters: Sequence[AdapterOptions],
        tokenize: Tokenize,
        latents: Mapping[LatentId, Tensor] | None = None,
        masks: Masks | None = None,
    ) -> None:
        for options in adapters:
            if latents is not None and (options.augment.color or options.augment.random_crop):
                key = "color_aug" if options.augment.color else "random_crop"
                raise Failure(f"{key} changes pixels, which cached latents can't follow", "set cache_latents to false")
        self._data = data
        self._adapters = tuple(adapters)
        self._assemble = _Assembler(self._adapters, tokenize, latents, masks)
        self._epoch = 0
        self._plans: tuple[BatchPlan, ...] = ()
        self._orders: dict[tuple[int, int], tuple[Entry, ...]] = {}

    def __getitem__(self, index: int) -> PackBatch:
        """Batch number `index`, from 0."""
        epoch, position = divmod(index, self._data.batches_per_epoch)
        epoch += 1
        if epoch != self._epoch:  # kept only for speed: the same numbers come out of any epoch asked for
            self._epoch, self._plans, self._orders = epoch, plan_epoch(self._data, epoch), {}
        plan = self._plans[position]
        uses = [
            [self._use(entry, options, epoch, position) for entry in self._drawn(plan, options)]
            for options in self._adapters
        ]
        return self._assemble(uses, index, epoch)

    def _drawn(self, plan: BatchPlan, options: AdapterOptions) -> tuple[Entry, ...]:
        known = (plan.bucket, options.seed)
        if known not in self._orders:
            self._orders[known] = order_in_bucket(self._data.buckets[plan.bucket], options.seed, self._epoch)
        return self._orders[known][plan.start : plan.start + plan.length]

    def _use(self, entry: Entry, options: AdapterOptions, epoch: int, position: int) -> _Use:
        picture, placement = self._data.pictures[entry.picture], self._data.placements[entry.picture]
        item = f"{picture.item}#{entry.repeat}"
        draws = python_draws(options.seed, "caption", epoch, item)
        step = (epoch - 1) * -(-self._data.batches_per_epoch // options.gradient_acc_steps)
        step += position // options.gradient_acc_steps
        text = caption.process(picture.caption, options.captions, draws, epoch=epoch, step=step)
        wanted = options.augment
        if wanted.random_crop:
            placement = augment.random_crop(placement, python_draws(options.seed, "crop", epoch, item))
        mirrored = wanted.flip and augment.flipped(python_draws(options.seed, "flip", epoch, item))
        color = python_draws(options.seed, "color", epoch, item) if wanted.color else None
        weight = options.prior_loss_weight if picture.is_reg else 1.0
        return _Use(picture, placement, item, text, mirrored, color, weight)


class ValidationDataset(Dataset[PackBatch]):
    """Every held-out picture once, in a fixed order, without any draw or augmentation: captions as `caption.plain`."""

    def __init__(
        self,
        data: Arranged,
        adapters: Sequence[AdapterOptions],
        tokenize: Tokenize,
        latents: Mapping[LatentId, Tensor] | None = None,
    ) -> None:
        self._data = data
        self._assemble = _Assembler(tuple(adapters), tokenize, latents)
        self._captions = [options.captions for options in adapters]
        firsts = ([entry.picture for entry in bucket.entries if entry.repeat == 0] for bucket in data.buckets)
        size = data.batch_size
        self._batches = [group[i : i + size] for group in firsts for i in range(0, len(group), size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> PackBatch:
        """Batch number `index`, from 0; its `epoch` is 0."""
        chosen = [(self._data.pictures[i], self._data.placements[i]) for i in self._batches[index]]
        uses = [
            [_Use(picture, place, picture.item, caption.plain(picture.caption, options)) for picture, place in chosen]
            for options in self._captions
        ]
        return self._assemble(uses, index, 0)


def loader(
    dataset: PackDataset, numbers: range, num_workers: int = 0, persistent_workers: bool = False
) -> DataLoader[PackBatch]:
    """The batches `numbers`, in order, made by up to `num_workers` processes (no more than there are cores).

    The batches are the same for any number of workers. torch's global generator is not touched.
    """
    workers = min(num_workers, os.cpu_count() or 1)
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        persistent_workers=persistent_workers and workers > 0,
        generator=torch.Generator(),
    )


class _Assembler:
    """Uses of pictures, per adapter, to a batch; remembers the ids of captions."""

    def __init__(
        self,
        adapters: Sequence[AdapterOptions],
        tokenize: Tokenize,
        latents: Mapping[LatentId, Tensor] | None,
        masks: Masks | None = None,
    ) -> None:
        self._masks = masks
        self._limits = [options.max_clip_token_length for options in adapters]
        self._tokenize = tokenize
        self._latents = latents
        self._ids: dict[tuple[str, int], Tensor] = {}

    def __call__(self, uses: Sequence[Sequence[_Use]], index: int, epoch: int) -> PackBatch:
        every = [use for adapter in uses for use in adapter]
        latents, masks = self._latents, self._masks
        return PackBatch(
            index=index,
            epoch=epoch,
            bucket=every[0].placement.bucket,
            latents=None if latents is None else torch.stack([_latent(use, latents) for use in every]),
            pixels=torch.stack([_pixels(use) for use in every]) if latents is None else None,
            token_ids=[
                torch.stack([self._ids_of(use.caption, limit) for use in adapter])
                for adapter, limit in zip(uses, self._limits, strict=True)
            ],
            weights=torch.tensor([use.weight for use in every], dtype=torch.float32),
            captions=[[use.caption for use in adapter] for adapter in uses],
            items=[[use.item for use in adapter] for adapter in uses],
            original_sizes=torch.tensor([(use.picture.height, use.picture.width) for use in every]),
            crops=torch.tensor([_top_left(use) for use in every]),
            masks=torch.stack([masks.of(u.picture, u.placement, u.mirrored) for u in every]) if masks else None,
        )

    def _ids_of(self, text: str, limit: int) -> Tensor:
        if (text, limit) not in self._ids:
            if len(self._ids) >= _REMEMBERED_CAPTIONS:  # shuffled captions rarely come back
                self._ids.clear()
            self._ids[text, limit] = self._tokenize(text, limit)
        return self._ids[text, limit]


def _latent(use: _Use, latents: Mapping[LatentId, Tensor]) -> Tensor:
    return latents[use.picture.digest, use.mirrored]


def _pixels(use: _Use) -> Tensor:
    image = pixels.place(pixels.load_unchanged(use.picture.path, use.picture.digest), use.placement)
    if use.color is not None:
        image = augment.shift_color(image, use.color)
    return pixels.to_tensor(augment.mirror(image) if use.mirrored else image)


def _top_left(use: _Use) -> tuple[int, int]:
    left, top = use.placement.crop
    if use.mirrored:
        left = use.placement.resized[0] - use.placement.bucket[0] - left
    return top, left
