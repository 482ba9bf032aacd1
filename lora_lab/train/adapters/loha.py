"""LoHa: ΔW = (w1_a · w1_b) ⊙ (w2_a · w2_b) · alpha / rank (Hyeon-Woo et al. 2022, arXiv:2108.06098; LyCORIS).

LyCORIS and peft have the same mathematics for one adapter at a time; neither computes several at once.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lora_lab.train.adapters.base import (
    AdapterOptions,
    AdapterWeights,
    Layer,
    LayerSize,
    Site,
    as_tokens,
    by_tucker,
    convolved,
    cores,
    from_tokens,
    is_wide,
    normal,
    scale_in,
    scales,
    stacked,
    without_some_rows,
)


class LohaWeights(AdapterWeights):
    """w1_a and w2_a (out, rank), w1_b and w2_b (rank, in · kernel); they start as LyCORIS' do, w2_a at zero.

    With `tucker` they are (rank, out) and (rank, in), and t1 and t2 (rank, rank, height, width) have the kernel.
    """

    KIND = "loha"
    FILE_NAMES: ClassVar[Mapping[str, str]] = {
        name: f"hada_{name}" for name in ("t1", "w1_a", "w1_b", "t2", "w2_a", "w2_b")
    }
    FASTER = frozenset({"w2_a"})

    t1: nn.Parameter | None
    t2: nn.Parameter | None

    def __init__(self, layer: Layer, name: str, options: AdapterOptions, size: LayerSize) -> None:
        super().__init__(layer, options, size)
        height, width = self.shape[0], self.shape[1] if self.tucker else self.shape[1:].numel()
        seed, device = options.seed, layer.weight.device
        for part in ("t1", "t2"):
            shape = (self.rank, self.rank, *self.shape[2:])
            core = normal(shape, 0.1, seed, name, part).to(device) if self.tucker else None
            self.register_parameter(part, None if core is None else nn.Parameter(core))
        tall = (self.rank, height) if self.tucker else (height, self.rank)
        self.w1_a = nn.Parameter(normal(tall, 0.1, seed, name, "w1_a").to(device))
        self.w1_b = nn.Parameter(normal((self.rank, width), 1.0, seed, name, "w1_b").to(device))
        self.w2_a = nn.Parameter(torch.zeros(tall, device=device))
        self.w2_b = nn.Parameter(normal((self.rank, width), 1.0, seed, name, "w2_b").to(device))

    def delta(self) -> Tensor:
        """See `AdapterWeights`."""
        return _deltas([self])[0].view(self.shape)

    @classmethod
    def updates(cls, site: Site, x: Tensor, members: Sequence[AdapterWeights]) -> Tensor:
        """See `AdapterWeights`."""
        own, layer = cast(Sequence[LohaWeights], members), site.layer
        # ΔW is as large as W: it is made again in the backward pass, and its two factors are not kept for it
        delta = cast(Tensor, checkpoint(_deltas, own, use_reentrant=False, preserve_rng_state=False))
        if isinstance(layer, nn.Conv2d) and is_wide(layer):
            update = convolved(layer, x, delta.unflatten(2, layer.weight.shape[1:]))
        else:
            tokens, places = as_tokens(layer, x)
            update = from_tokens(layer, tokens @ delta.mT, x.shape[1], places)
        return without_some_rows(site, update, members)

    @classmethod
    def delta_in(cls, tensors: Mapping[str, Tensor]) -> Tensor:
        """See `AdapterWeights`."""
        one, two = (
            by_tucker(tensors[f"hada_t{side}"], tensors[f"hada_w{side}_a"], tensors[f"hada_w{side}_b"]).flatten(1)
            if f"hada_t{side}" in tensors
            else tensors[f"hada_w{side}_a"] @ tensors[f"hada_w{side}_b"]
            for side in (1, 2)
        )
        return one * two * scale_in(tensors, len(tensors["hada_w1_b"]))

    @classmethod
    def rank_in(cls, tensors: Mapping[str, Tensor]) -> int | None:
        """See `AdapterWeights`."""
        first = tensors.get("hada_w1_b")
        return None if first is None else len(first)


def _deltas(members: Sequence[LohaWeights]) -> Tensor:
    """The members' ΔW, (K, out, in · kernel); a missing rank adds nothing to either product."""
    first, second = ([m.t1 for m in members if m.t1 is not None], [m.t2 for m in members if m.t2 is not None])
    if first:
        one = by_tucker(cores(first), stacked([m.w1_a for m in members]), stacked([m.w1_b for m in members])).flatten(2)
        two = by_tucker(cores(second), stacked([m.w2_a for m in members]), stacked([m.w2_b for m in members])).flatten(
            2
        )
        return one * two * scales(members, one.device)
    one = stacked([m.w1_a.mT for m in members]).mT @ stacked([m.w1_b for m in members])
    two = stacked([m.w2_a.mT for m in members]).mT @ stacked([m.w2_b for m in members])
    return one * two * scales(members, one.device)
