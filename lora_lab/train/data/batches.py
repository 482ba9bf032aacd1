"""The batches of a pack: K adapters' batches, one after another in one tensor.

A batch is a function of its number alone, so any count of workers gives the same batches and a resumed run starts at
the number it stopped at.
"""

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
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

Weigh = Callable[[str, int], tuple[Tensor, Tensor]]
"""The same of a caption with brackets that weight its words: ids, and a factor for each place (75 · chunks + 2,)."""

_REMEMBERED_CAPTIONS = 20_000


class PartOptions(NamedTuple):
    """How an adapter has the pictures of one folder."""

    captions: CaptionOptions
    augment: AugmentOptions


@dataclass(frozen=True)
class AdapterOptions:
    """What may differ between the adapters of a pack as far as data goes.

    `parts` are the options of each folder where a data set file gives them, by number.
    """

    seed: int
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    max_clip_token_length: int = 75
    prior_loss_weight: float = 1.0
    gradient_acc_steps: int = 1
    parts: tuple[PartOptions, ...] = ()
    weighted: bool = False

    def of(self, picture: Picture) -> PartOptions:
        """The options of a picture's folder."""
        return self.parts[picture.part] if self.parts else PartOptions(self.captions, self.augment)

    @property
    def augments(self) -> tuple[AugmentOptions, ...]:
        """The augmentation of every folder."""
        return tuple(part.augment for part in self.parts) or (self.augment,)


def from_config(config: "TrainConfig", total_steps: int, parts: Sequence["TrainConfig"] = ()) -> AdapterOptions:
    """The data settings of one adapter that `config` names, for a run of that many optimizer steps.

    `parts` are its settings for each folder of a data set file.
    """
    return AdapterOptions(
        seed=config.test_seed,
        captions=caption.from_config(config, total_steps),
        augment=augment.from_config(config),
        max_clip_token_length=config.max_clip_token_length,
        prior_loss_weight=config.prior_loss_weight,
        gradient_acc_steps=config.gradient_acc_steps,
        parts=tuple(PartOptions(caption.from_config(one, total_steps), augment.from_config(one)) for one in parts),
        weighted=config.weighted_captions,
    )


@dataclass(frozen=True)
class PackBatch:
    """K batches of b pictures each, adapter after adapter; all on the CPU.

    Either `latents` (K·b, c, h, w), unscaled, or `pixels` (K·b, 3, H, W) in [-1, 1]. `token_ids` has one tensor
    (b, ..., chunks, 77) per adapter. `weights` (K·b,) are the loss weights. `items` name every use, per adapter: what
    per-item draws depend on. `bucket` is (width, height); `original_sizes` (K·b, 2) are (height, width), `crops` (top,
    left). `masks` (K·b, 1, h, w) say what each latent value's loss counts, None: all of it. `token_weights` are factors
    on the text states, (b, tokens) per adapter, None: all 1.
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
    token_weights: list[Tensor] | None = None

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
            token_weights=self.token_weights and [self.token_weights[place] for place in places],
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
        weigh: Weigh | None = None,
    ) -> None:
        for wanted in (one for options in adapters for one in options.augments):
            if latents is not None and (wanted.color or wanted.random_crop):
                key = "color_aug" if wanted.color else "random_crop"
                raise Failure(f"{key} changes pixels, which cached latents can't follow", "set cache_latents to false")
        self._data = data
        self._adapters = tuple(adapters)
        self._assemble = _Assembler(self._adapters, (tokenize, weigh), latents, masks)
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
        part = options.of(picture)
        text = caption.process(picture.caption, part.captions, draws, epoch=epoch, step=step)
        wanted = part.augment
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
        weigh: Weigh | None = None,
    ) -> None:
        self._data = data
        self._assemble = _Assembler(tuple(adapters), (tokenize, weigh), latents)
        self._adapters = tuple(adapters)
        self._batches = [
            firsts[start : start + bucket.batch_size]
            for bucket in data.buckets
            for firsts in [[entry.picture for entry in bucket.entries if entry.repeat == 0]]
            for start in range(0, len(firsts), bucket.batch_size)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> PackBatch:
        """Batch number `index`, from 0; its `epoch` is 0."""
        chosen = [(self._data.pictures[i], self._data.placements[i]) for i in self._batches[index]]
        uses = [
            [_Use(one, place, one.item, caption.plain(one.caption, options.of(one).captions)) for one, place in chosen]
            for options in self._adapters
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


def in_order(batches: DataLoader[PackBatch]) -> Iterator[PackBatch]:
    """The batches; a Failure in a process that makes them is the Failure itself.

    torch raises one with the text of that process's whole traceback, which ends with `module.Failure: what; remedy`.
    """
    try:
        yield from batches
    except Failure as failure:
        mark = f"{Failure.__module__}.{Failure.__qualname__}: "
        if batches.num_workers and mark in failure.what:
            raise Failure(failure.what.rpartition(mark)[2].strip()) from None
        raise


class _Assembler:
    """Uses of pictures, per adapter, to a batch; remembers the ids of captions."""

    def __init__(
        self,
        adapters: Sequence[AdapterOptions],
        tokenize: tuple[Tokenize, Weigh | None],
        latents: Mapping[LatentId, Tensor] | None,
        masks: Masks | None = None,
    ) -> None:
        self._masks = masks
        self._adapters = adapters
        self._tokenize, self._weigh = tokenize
        self._latents = latents
        self._ids: dict[tuple[str, int, bool], tuple[Tensor, Tensor]] = {}

    def __call__(self, uses: Sequence[Sequence[_Use]], index: int, epoch: int) -> PackBatch:
        every = [use for adapter in uses for use in adapter]
        latents, masks = self._latents, self._masks
        texts = [
            [self._ids_of(use.caption, options) for use in adapter]
            for adapter, options in zip(uses, self._adapters, strict=True)
        ]
        weighted = any(options.weighted for options in self._adapters)
        return PackBatch(
            index=index,
            epoch=epoch,
            bucket=every[0].placement.bucket,
            latents=None if latents is None else torch.stack([_latent(use, latents) for use in every]),
            pixels=torch.stack([_pixels(use) for use in every]) if latents is None else None,
            token_ids=[torch.stack([ids for ids, _ in adapter]) for adapter in texts],
            weights=torch.tensor([use.weight for use in every], dtype=torch.float32),
            captions=[[use.caption for use in adapter] for adapter in uses],
            items=[[use.item for use in adapter] for adapter in uses],
            original_sizes=torch.tensor([(use.picture.height, use.picture.width) for use in every]),
            crops=torch.tensor([_top_left(use) for use in every]),
            masks=torch.stack([masks.of(u.picture, u.placement, u.mirrored) for u in every]) if masks else None,
            token_weights=[torch.stack([part for _, part in adapter]) for adapter in texts] if weighted else None,
        )

    def _ids_of(self, text: str, options: AdapterOptions) -> tuple[Tensor, Tensor]:
        """The ids of a text, and what its places count."""
        limit, weigh = options.max_clip_token_length, self._weigh if options.weighted else None
        key = text, limit, options.weighted
        if key not in self._ids:
            if len(self._ids) >= _REMEMBERED_CAPTIONS:  # shuffled captions rarely come back
                self._ids.clear()
            self._ids[key] = weigh(text, limit) if weigh else (self._tokenize(text, limit), torch.ones(limit + 2))
        return self._ids[key]


def _latent(use: _Use, latents: Mapping[LatentId, Tensor]) -> Tensor:
    return latents[use.picture.digest, use.placement, use.mirrored]


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
