"""One training step of a pack: losses, gradients, and the optimizers' moves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from lora_lab import memory
from lora_lab.config import StepPlan, TrainConfig
from lora_lab.tracking.events import Record
from lora_lab.train import loss, noise, noising
from lora_lab.train.average import Average
from lora_lab.train.data.batches import PackBatch
from lora_lab.train.data.latent_cache import refuse_not_finite
from lora_lab.train.data.store import Store
from lora_lab.train.draws import normal
from lora_lab.train.families.base import Base, Encoded, Family
from lora_lab.train.optimizer import ParamGroup, clip_gradients
from lora_lab.train.pack import AdapterWeights, Pack
from lora_lab.train.schedule import Schedule
from lora_lab.train.text_cache import TextCache
from lora_lab.train.together import ALONE, Together
from lora_lab.train.transfer import to_device


@dataclass(frozen=True)
class Session:
    """What the adapters of a pack share."""

    accelerator: Any
    family: Family
    base: Base
    pack: Pack
    texts: TextCache = field(default_factory=TextCache)
    together: Together = ALONE
    store: Store = field(default_factory=Store)

    @property
    def device(self) -> torch.device:
        """Where the base lies."""
        return self.base.alphas_cumprod.device


@dataclass
class Journal:
    """What the loop has seen of one member: steps since the last look, losses of this epoch, the latest numbers."""

    steps: list[tuple[int, Tensor, Tensor, dict[str, float]]] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    epoch_losses: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One adapter of a pack with everything that is its own."""

    key: int
    config: TrainConfig
    plan: StepPlan
    folder: Path
    layers: list[tuple[str, AdapterWeights]]
    groups: list[ParamGroup]
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    record: Record
    average: Average | None = None
    first_step: int = 0  # done before, by the run that this one goes on from
    journal: Journal = field(default_factory=Journal)

    @property
    def trains_text_encoder(self) -> bool:
        """Whether gradients must reach the text encoder."""
        return not self.config.unet_only


class NotEnoughMemory(MemoryError):
    """Memory ran out on the way forward or backward: no weight has changed, and what the step held is free again."""


def pack_step(session: Session, members: Sequence[Member], batches: Sequence[PackBatch]) -> tuple[Tensor, list[Tensor]]:
    """Learn from some batches as one: losses (K,) and the gradient norm of each member, detached.

    Raises NotEnoughMemory.
    """
    _switch(members, "train")
    total, ran_out = None, ""
    try:
        total = _gradients(session, members, batches)
    except (MemoryError, RuntimeError) as error:
        if not memory.ran_out(error):
            raise
        ran_out = str(error) or "not enough memory"
    if total is None:  # out here the exception has gone, and with its traceback everything that the step held
        for member in members:
            member.optimizer.zero_grad()
        _switch(members, "eval")
        raise NotEnoughMemory(ran_out)
    norms = [_move(member) for member in members]
    _switch(members, "eval")
    for member in members:
        if member.average is not None:
            member.average.update()
    return total, norms


def _gradients(session: Session, members: Sequence[Member], batches: Sequence[PackBatch]) -> Tensor:
    """Add up the gradients of some batches; losses (K,), detached."""
    total = torch.zeros(len(members), device=session.device)
    keys = [member.key for member in members]
    with session.pack.stacked(*keys):
        for batch in batches:
            with session.pack.serving(*keys, step=batch.index, training=True):
                losses = pack_losses(session, members, batch) / len(batches)
                scaled = [member.scaler.scale(part) for member, part in zip(members, losses, strict=True)]
                torch.stack(scaled).sum().backward()  # the members share no parameter, so their gradients do not mix
            total += losses.detach()
    if session.together.processes > 1:
        gradients = [p.grad for member in members for group in member.groups for p in group["params"]]
        session.together.add_up([total, *(gradient for gradient in gradients if gradient is not None)])
    return total


def _switch(members: Sequence[Member], mode: Literal["train", "eval"]) -> None:
    """Schedule-free optimizers learn with other weights than those to look at (Defazio et al. 2024)."""
    for member in members:
        switch = getattr(member.optimizer, mode, None)
        if switch is not None:
            switch()


def _move(member: Member) -> Tensor:
    member.scaler.unscale_(member.optimizer)
    norm = clip_gradients(member.groups, member.config.max_grad_norm)
    member.scaler.step(member.optimizer)  # with fp16, leaves the weights alone where a gradient overflowed
    member.scaler.update()
    member.optimizer.zero_grad()
    member.schedule.advance()
    if member.config.scale_weight_norms:
        limit_norms(member.layers, member.config.scale_weight_norms)
    return norm.detach()


@torch.no_grad()
def limit_norms(layers: Sequence[tuple[str, AdapterWeights]], limit: float) -> None:
    """Scale each layer's ΔW down to a Frobenius norm of `limit` (sd-scripts' apply_max_norm_regularization).

    The matrices that it is made of share the scaling; DoRA's magnitude is no part of it. Layers that learn nothing, of
    blocks whose weight is 0, stay as they are.
    """
    for _, weights in layers:
        factors = [tensor for tensor in weights.factors().values() if tensor.requires_grad]
        if not factors:
            continue
        factor = loss.scaled_to_norm(weights.delta().norm(), limit) ** (1 / len(factors))
        for tensor in factors:
            tensor.mul_(factor)


def pack_losses(session: Session, members: Sequence[Member], batch: PackBatch) -> Tensor:
    """Each member's loss on its part of the batch, float32 (K,), with gradients."""
    parts = len(members)
    clean = latents_of(session, batch, [m.config.test_seed for m in members])
    size = clean.shape[0] // parts
    pairs = list(zip([m.config for m in members], clean.chunk(parts), strict=True))
    drawn = [noising.drawn_noise(config, own, batch.index) for config, own in pairs]
    added = [noising.perturbed(m.config, own, batch.index) for m, own in zip(members, drawn, strict=True)]
    noises = torch.cat(drawn)
    t = to_device(torch.cat([noising.timesteps(m.config, size, batch.index) for m in members]), clean.device)
    acp = session.base.alphas_cumprod
    noisy = noise.add_noise(clean, torch.cat(added), acp, t)
    weights, sizes = to_device(batch.weights, clean.device), to_device(batch.sizes, clean.device)
    masks = to_device(torch.ones(len(clean), 1, 1, 1) if batch.masks is None else batch.masks, clean.device)
    ids, counts, part_of_loss = batch.token_ids, batch.token_weights, 1.0
    if session.together.processes > 1:  # then the pack has one member
        own, part_of_loss = session.together.share(size)
        session.pack.state.share = own, size
        shared = (noisy, clean, noises, t, weights, sizes, masks)
        noisy, clean, noises, t, weights, sizes, masks = (x[own] for x in shared)
        ids = [part[own] for part in ids]
        counts = counts and [part[own] for part in counts]
    with session.accelerator.autocast():
        text = encode(session, members, ids, counts)
        predicted = session.family.predict(session.base, noisy, t, text, sizes)
    whole = (predicted, clean, noises, t, weights, masks)
    split = zip(*(tensor.chunk(parts) for tensor in whole), strict=True)
    losses = [_loss_of(m.config, session.base, _Part(*part)) for m, part in zip(members, split, strict=True)]
    return torch.stack(losses) * part_of_loss


class _Part(NamedTuple):
    """One member's part of the batch."""

    predicted: Tensor
    clean: Tensor
    noises: Tensor
    t: Tensor
    weights: Tensor  # of the pictures
    masks: Tensor  # (n, 1, h, w), or (n, 1, 1, 1) for the whole picture


def _loss_of(config: TrainConfig, base: Base, part: _Part) -> Tensor:
    t, acp, own = part.t, base.alphas_cumprod, noise.snr(base.own_alphas_cumprod, part.t)
    wanted = noise.target(part.clean, part.noises, acp, t, config.v_parameterization)
    threshold = loss.huber_threshold(config.huber_schedule, config.huber_c, config.huber_scale, acp, t)
    # not divided by what the masks leave, as in sd-scripts' apply_masked_loss: a small subject counts little
    errors = loss.elementwise(config.loss_type, part.predicted, wanted, threshold) * part.masks
    return (errors.mean(dim=(1, 2, 3)) * part.weights * _timestep_weights(config, own)).mean()


def _timestep_weights(config: TrainConfig, snr: Tensor) -> Tensor:
    """What the loss of each picture counts by its timestep, (n,); several wishes multiply, as in sd-scripts."""
    weights = torch.ones_like(snr)
    if config.min_snr_gamma:
        weights = weights * loss.min_snr_weight(snr, config.min_snr_gamma, config.v_parameterization)
    if config.scale_v_pred_loss_like_noise_pred:
        weights = weights * loss.like_noise_weight(snr)
    if config.v_pred_like_loss:
        weights = weights * loss.like_velocity_weight(snr, config.v_pred_like_loss)
    if config.debiased_estimation_loss:
        weights = weights * loss.debiased_weight(snr, config.v_parameterization)
    return weights


def latents_of(session: Session, batch: PackBatch, seeds: Sequence[int]) -> Tensor:
    """The batch's latents, scaled, on the device; pixels go through the VAE, each member with its own sample."""
    if batch.latents is not None:
        return to_device(batch.latents, session.device) * session.base.scaling_factor
    assert batch.pixels is not None
    with torch.no_grad():
        mean, log_variance = encode_pixels(session.base, batch.pixels.to(session.device))
    refuse_not_finite(mean + log_variance, [name for part in batch.items for name in part])
    size = mean.shape[0] // len(seeds)
    sample = torch.cat([normal((size, *mean.shape[1:]), seed, "posterior", batch.index) for seed in seeds])
    return (mean + (0.5 * log_variance).exp() * sample.to(session.device)) * session.base.scaling_factor


@torch.no_grad()
def encode_pixels(base: Base, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of the VAE's posterior, float32 (n, 4, h / 8, w / 8), unscaled."""
    posterior = base.vae.encode(pixels.to(base.alphas_cumprod.device)).latent_dist  # type: ignore[operator]  # a VAE
    return posterior.mean, posterior.logvar


def encode(
    session: Session, members: Sequence[Member], token_ids: Sequence[Tensor], counts: Sequence[Tensor] | None = None
) -> Encoded:
    """Text states for the whole batch, with gradients only where some member trains the text encoder.

    `counts` (n, tokens) per member are multiplied onto the states, and not onto a vector of the whole caption
    (sd-scripts `strategy_sd.encode_tokens_with_weights`).
    """
    text = _encode(session, members, token_ids)
    if counts is None:
        return text
    factors = to_device(torch.cat(list(counts)), text.states.device).to(text.states.dtype)
    return Encoded(text.states * factors[..., None], text.pooled)


def _encode(session: Session, members: Sequence[Member], token_ids: Sequence[Tensor]) -> Encoded:
    if all(m.config.cache_text_encoder_outputs and not m.trains_text_encoder for m in members):
        return _encode_once(session, members, token_ids)
    ids = [to_device(part, session.device) for part in token_ids]
    skips = {m.config.clip_skip for m in members}
    with torch.set_grad_enabled(torch.is_grad_enabled() and any(m.trains_text_encoder for m in members)):
        if len(skips) == 1:
            return session.family.encode(session.base, torch.cat(ids), skips.pop())
        return _encode_apart(session, members, ids)


def _encode_once(session: Session, members: Sequence[Member], ids: Sequence[Tensor]) -> Encoded:
    """The outputs of a text encoder that no member trains, each text encoded when it first comes.

    Texts are looked up by ids in main memory: a GPU is not asked for anything.
    """
    store = session.store if members[0].config.cache_text_encoder_outputs_to_disk else None
    skips = [m.config.clip_skip for m, part in zip(members, ids, strict=True) for _ in part]
    known = session.texts.of(torch.cat(list(ids)), skips, _asking(session), store)
    pooled = None if known.pooled is None else to_device(known.pooled, session.device)
    return Encoded(to_device(known.states, session.device), pooled)


def _asking(session: Session) -> Callable[[Tensor, int], Encoded]:
    return lambda text, clip_skip: session.family.encode(session.base, text.to(session.device), clip_skip)


def encode_all(session: Session, configs: Sequence[TrainConfig], ids: Sequence[Tensor]) -> None:
    """Have the outputs of texts on the disk, as the steps will ask for them: no later run needs the text encoder."""
    with session.accelerator.autocast():
        for clip_skip in sorted({config.clip_skip for config in configs}):
            for text in ids:
                session.texts.of(text[None], [clip_skip], _asking(session), session.store)


def _encode_apart(session: Session, members: Sequence[Member], ids: Sequence[Tensor]) -> Encoded:
    """Members that read different layers of the text encoder take turns."""
    state, answers = session.pack.state, []
    for member, part in zip(members, ids, strict=True):
        with session.pack.serving(member.key, step=state.step, training=state.training):
            answers.append(session.family.encode(session.base, part, member.config.clip_skip))
    return Encoded.join(answers)
