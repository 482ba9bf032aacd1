"""From a config to what the loop needs: data set, latents, base, adapters."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import nn

from lora_lab.config import TrainConfig, plan_steps, processes
from lora_lab.config.blocks import adapts_convolutions
from lora_lab.config.emphasis import read_emphasis
from lora_lab.config.packs import SHARED_BY_A_PACK
from lora_lab.failure import Failure
from lora_lab.tracking.events import Record
from lora_lab.train import attention, compiling, lora_file, optimizer, schedule, texts
from lora_lab.train.adapting import adapter_options
from lora_lab.train.average import Average
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.data import batches, latent_cache, pixels
from lora_lab.train.data.batches import PackDataset, ValidationDataset
from lora_lab.train.data.epochs import Arranged
from lora_lab.train.data.latent_cache import Begun, LatentId
from lora_lab.train.data.masks import Masks
from lora_lab.train.data.store import Store
from lora_lab.train.data.tokens import joined_weights
from lora_lab.train.dataset import Dataset
from lora_lab.train.families.base import Base, Family
from lora_lab.train.loop import PackData
from lora_lab.train.lora_names import with_own_names
from lora_lab.train.noising import check_noise_and_loss
from lora_lab.train.opening import not_at_once
from lora_lab.train.pack import Pack
from lora_lab.train.step import Member, Session, encode_all, encode_pixels
from lora_lab.train.together import PATIENCE


def make_accelerator(mixed_precision: str) -> Any:
    """Return accelerate's handle on the machine. Raises Failure for fp16 without a GPU."""
    if mixed_precision == "fp16" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise Failure(
            "mixed_precision fp16 needs a GPU, and this machine has none", 'set "mixed_precision": "bf16" or "no"'
        )
    # accelerate keeps its settings in class attributes: without this the second run of a sweep could not differ
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        wait = InitProcessGroupKwargs(timeout=PATIENCE)
        several = processes()
        on_cpus = several > 1 and not torch.cuda.is_available()  # accelerate has to be told, or each trains alone
        accelerator = Accelerator(cpu=on_cpus, mixed_precision=mixed_precision, kwargs_handlers=[wait])
        if accelerator.num_processes != several:
            raise Failure(f"{several} processes were started, and cannot train together here", "start one")
        return accelerator
    except ValueError as error:  # what accelerate says of a precision that the device lacks
        raise Failure(f"mixed_precision {mixed_precision}: {error}", 'set "mixed_precision": "fp16" or "no"') from error


class Tokenize:
    """(caption, limit) → token ids; a class that holds no weights, so that it can go to worker processes."""

    def __init__(self, family: Family, base: Base) -> None:
        self.known: texts.Ids = {}
        nothing = nn.Module()
        self._family = family
        self._tokenizer_of = replace(base, unet=nothing, text_encoders=(nothing,), vae=nothing)

    def __call__(self, caption: str, limit: int) -> torch.Tensor:
        """Return int64 (chunks, 77)."""
        known = self.known.get((caption, limit))
        return known if known is not None else self._family.tokenize(self._tokenizer_of, caption, limit)

    def weigh(self, caption: str, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids of a caption without its brackets, and how much each place counts, (75 · chunks + 2,).

        The text encoders of a family share one vocabulary, so that one's weights are the other's.
        """
        pieces = read_emphasis(caption).pieces
        base = self._tokenizer_of
        return self._family.tokenize(base, pieces, limit), joined_weights(base.tokenizers[0], pieces, limit)


def make_data(
    configs: Sequence[TrainConfig],
    dataset: Dataset,
    session: Session,
    report: Callable[[str], None],
    begun: Begun | None = None,
) -> PackData:
    """Encode the pictures where the configs cache latents, and join everything into what the loop reads.

    `begun` are the latents of the training pictures where somebody has begun with them. Held-out pictures are encoded
    in any case: what runs are compared by must not depend on how they train.
    """
    first, per_epoch = configs[0], dataset.training.batches_per_epoch
    options = [
        batches.from_config(config, plan_steps(config, per_epoch).total_steps, dataset.parts_of(config))
        for config in configs
    ]
    tokenize = Tokenize(session.family, session.base)
    if "text" in not_at_once(configs) and first.cache_text_encoder_outputs_to_disk:
        held = dataset.validation.pictures if dataset.validation else ()
        if wanted := texts.texts_of(dataset.training.pictures, held, options):
            tokenize.known = texts.known_ids(wanted, (session.family, session.base), tokenize, session.store)
            encode_all(session, configs, list(tokenize.known.values()))
    report("encoding pictures")
    store = session.store if first.cache_latents_to_disk else None
    mirrored = any(augment.flip for option in options for augment in option.augments)
    latents = None
    if first.cache_latents:
        begun = begun or begin_latents(dataset.training, mirrored, session.base.vae_hash, store)
        latents = fill_latents(begun, session)
    else:
        pixels.check(picture.path for picture in dataset.training.pictures)  # not in the middle of the run
    masks = None
    if any(picture.mask or picture.alpha for picture in dataset.training.pictures):
        masks = Masks()
        masks.fill(dataset.training, mirrored, store)
    held_out = None
    if dataset.validation:
        begun = begin_latents(dataset.validation, False, session.base.vae_hash, store)
        known = fill_latents(begun, session)
        held_out = ValidationDataset(dataset.validation, options, tokenize, known, weigh=tokenize.weigh)
    return PackData(
        PackDataset(dataset.training, options, tokenize, latents, masks, tokenize.weigh),
        held_out,
        dataset.training.batches_per_epoch,
        first.num_workers,
        first.persistent_workers,
    )


RECENT = latent_cache.Recent()
"""What the runs of one process hand on to each other."""


def latents_ahead(
    configs: Sequence[TrainConfig], dataset: Dataset, asked: tuple[Family, Asked], store: Store
) -> Begun | None:
    """Begin with the latents of the training pictures while the base is being loaded; None where none are cached."""
    if not configs[0].cache_latents:
        return None
    RECENT.next_run()
    family, base = asked
    mirrored = any(one.flip_aug for config in configs for one in dataset.parts_of(config) or (config,))
    used = store if configs[0].cache_latents_to_disk else None
    return begin_latents(dataset.training, mirrored, family.hashes(base)[1].full, used)


def begin_latents(data: Arranged, mirrored: bool, vae_hash: str, store: Store | None) -> Begun:
    """Read the cached latents of all pictures, and begin to decode the pictures that have none."""
    items = latent_cache.items_of(data.pictures, data.placements, mirrored)
    return latent_cache.begin(items, latent_cache.CacheOptions(vae_hash=vae_hash, store=store, recent=RECENT))


def fill_latents(begun: Begun, session: Session) -> Mapping[LatentId, torch.Tensor]:
    """Return the latents of all pictures, those that the cache has not encoded now."""
    return latent_cache.finish(begun, lambda pixels: encode_pixels(session.base, pixels)).latents


def check_pack(configs: Sequence[TrainConfig]) -> None:
    """Raise Failure when configs can't be trained as one pack."""
    for key in SHARED_BY_A_PACK:
        values = [getattr(config, key) for config in configs]
        if any(value != values[0] for value in values):
            raise Failure(f"runs with different {key} cannot be trained as one pack", "train them one after another")


def make_pack(configs: Sequence[TrainConfig], family: Family, base: Base) -> Pack:
    """Make every layer that some config adapts ready for adapters; the convolutions only where one wants them."""
    convolutions = any(adapts_convolutions(config) or config.dim_from_weights for config in configs)
    text = any(not config.unet_only for config in configs)
    names = family.other_names(base, text)
    return Pack({**family.layers(base, text), **(family.convolutions(base) if convolutions else {})}, names)


def add_member(session: Session, config: TrainConfig, key: int, data: PackData, place: tuple[Path, Record]) -> Member:
    """Attach an adapter for the config to the pack, with its optimizer and schedule.

    `place` is the run's folder and who hears its events. Raises Failure for what the optimizer refuses.
    """
    check_noise_and_loss(config)
    if config.keep_best and not data.validation:
        raise Failure("keep_best goes by the validation loss, and there is none", "set validation_split to 0.1 or so")
    start = None
    if config.lora_model_for_resume:
        start = with_own_names(lora_file.read_lora(Path(config.lora_model_for_resume)), session.pack.other_names)
    options = adapter_options(config, start, session.family.name)
    session.pack.add(key, options)
    layers = list(session.pack.weights(key))
    if not layers and config.unet_only and config.text_only:
        raise Failure("unet_only and text_only together leave nothing to train", "set one of them to false")
    if start is not None:
        lora_file.load_into(layers, start, Path(str(config.lora_model_for_resume)))
    plan = plan_steps(config, data.batches_per_epoch)
    groups = optimizer.param_groups(layers, config, options.blocks)
    if not groups:
        raise Failure("every block has the weight or rank 0: nothing is left to train", "give some block more")
    own = optimizer.make_optimizer(groups, config)
    return Member(
        key=key,
        config=config,
        plan=plan,
        folder=place[0],
        layers=layers,
        groups=groups,
        optimizer=own,
        # its own: in a pack, one adapter's overflow must not change what another learns
        scaler=torch.amp.GradScaler(session.device.type, enabled=config.mixed_precision == "fp16"),
        schedule=schedule.make_schedule(own, config, plan.total_steps, plan.warmup_steps),
        record=place[1],
        average=Average([p for group in groups for p in group["params"]], config.ema_decay)
        if config.ema_decay
        else None,
    )


def prepare_models(
    session: Session, config: TrainConfig, warn: Callable[[str], None], trains_text: bool = True
) -> None:
    """Switch gradient checkpointing and attention kernels as the config says, both ways: the base is shared.

    Text encoders that no run of the pack trains are left as they are; they may not be loaded yet.
    """
    unet: Any = session.base.unet
    text_encoders: Any = session.base.text_encoders if trains_text else ()
    for model in (unet, *text_encoders):
        model.train(config.gradient_checkpointing)  # transformers checkpoints in training mode only
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        for encoder in text_encoders:
            _newer(encoder, "activation_checkpointing_enable", "gradient_checkpointing_enable")(
                {"use_reentrant": False}
            )
    elif unet.is_gradient_checkpointing:
        unet.disable_gradient_checkpointing()
        for encoder in text_encoders:
            _newer(encoder, "activation_checkpointing_disable", "gradient_checkpointing_disable")()
    attention.choose(unet, config, session.device, warn)
    compiling.choose(unet, config, session.device, warn)


def _newer(model: Any, name: str, former: str) -> Callable[..., None]:
    """Return a method under the name that transformers gave it in 5.x, else under its former one."""
    return getattr(model, name, None) or getattr(model, former)


def threads() -> int:
    """How many threads torch uses, for the record."""
    return torch.get_num_threads() or os.cpu_count() or 1
