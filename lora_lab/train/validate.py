"""Validation loss: the number that runs are compared by.

Held-out pictures, fixed timesteps, fixed noise, plain mean squared error, verbatim captions: it depends on neither the
training loss nor the seed, the batch size or any noise option, so it is comparable between all runs on a data set.
"""

from collections.abc import Sequence

import torch

from lora_lab.train import noise
from lora_lab.train.average import shown
from lora_lab.train.data.batches import PackBatch, ValidationDataset
from lora_lab.train.draws import normal
from lora_lab.train.step import Member, Session, encode

TIMESTEPS = (62, 187, 312, 437, 562, 687, 812, 937)
"""The middles of eight equal parts of the schedule."""


@torch.no_grad()
def validation_losses(session: Session, members: Sequence[Member], pictures: ValidationDataset) -> list[float]:
    """Return each member's mean squared error over all held-out pictures and `TIMESTEPS`."""
    totals = torch.zeros(len(members), dtype=torch.float64)
    count = 0
    with shown(*members), session.pack.serving(*(member.key for member in members)):
        for number in range(session.together.rank, len(pictures), session.together.processes):
            batch = pictures[number].of([member.key for member in members])
            totals += _batch_losses(session, members, batch)
            count += batch.weights.numel() // len(members)
    if session.together.processes > 1:
        seen = torch.tensor([float(count)], dtype=torch.float64)
        session.together.add_up([totals, seen])
        count = int(seen.item())
    return (totals / (count * len(TIMESTEPS))).tolist()


def _batch_losses(session: Session, members: Sequence[Member], batch: PackBatch) -> torch.Tensor:
    """Sum over pictures and timesteps of the mean squared error, float64 (K,)."""
    base = session.base
    assert batch.latents is not None  # held-out pictures are always encoded beforehand
    clean = batch.latents.to(session.device) * base.scaling_factor
    sizes = batch.sizes.to(session.device)
    totals = torch.zeros(len(members), dtype=torch.float64)
    with session.accelerator.autocast():
        text = encode(session, members, batch.token_ids, batch.token_weights)
    for timestep in TIMESTEPS:
        fixed = [
            normal(tuple(clean.shape[1:]), 0, "validation", item, timestep) for part in batch.items for item in part
        ]
        noises = torch.stack(fixed).to(session.device)
        t = torch.full((clean.shape[0],), timestep, device=session.device)
        noisy = noise.add_noise(clean, noises, base.alphas_cumprod, t)
        with session.accelerator.autocast():
            predicted = session.family.predict(base, noisy, t, text, sizes)
        wanted = noise.target(clean, noises, base.alphas_cumprod, t, members[0].config.v_parameterization)
        errors = (predicted - wanted).square().mean(dim=(1, 2, 3)).double().cpu()
        totals += torch.stack([part.sum() for part in errors.chunk(len(members))])
    return totals
