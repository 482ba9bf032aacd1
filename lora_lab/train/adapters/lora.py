"""LoRA: ΔW = up · down · alpha / rank (Hu et al. 2021, arXiv:2106.09685)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    kaiming,
    scale_in,
    scales,
    stacked,
)
from lora_lab.train.transfer import to_device


class LoraWeights(AdapterWeights):
    """Down (rank, in) and up (out, rank); 4-D for a convolution, down with its kernel, up 1 × 1.

    With `tucker` down is 1 × 1, and mid (rank, rank, height, width) has the kernel. Down and mid start Kaiming-uniform
    with a = √5, up at zero, as in sd-scripts' `LoRAModule` and LyCORIS; the draws depend on the adapter's seed and the
    layer's name only.
    """

    KIND = "lora"
    FILE_NAMES: ClassVar[Mapping[str, str]] = {
        "down": "lora_down.weight",
        "mid": "lora_mid.weight",
        "up": "lora_up.weight",
    }
    FASTER = frozenset({"up"})
    RANK_AT: ClassVar[Mapping[str, int]] = {"down": 0, "up": 1}

    mid: nn.Parameter | None

    def __init__(self, layer: Layer, name: str, options: AdapterOptions, size: LayerSize | None = None) -> None:
        super().__init__(layer, options, size or LayerSize(options.rank, options.alpha))
        height, width = self.shape[:2]
        kernel, device = self.shape[2:], layer.weight.device
        narrow = torch.Size((1, 1)) if self.tucker else kernel
        self.down = nn.Parameter(kaiming((self.rank, width, *narrow), options.seed, name).to(device))
        mid = kaiming((self.rank, self.rank, *kernel), options.seed, name, "mid") if self.tucker else None
        self.register_parameter("mid", None if mid is None else nn.Parameter(mid.to(device)))
        self.up = nn.Parameter(torch.zeros(height, self.rank, *(1 for _ in kernel), device=device))

    def delta(self) -> Tensor:
        """See `AdapterWeights`."""
        return (_product(self.up, self.down, self.mid) * self.scale).reshape(self.shape)

    @classmethod
    def updates(cls, site: Site, x: Tensor, members: Sequence[AdapterWeights]) -> Tensor:
        """See `AdapterWeights`: batched matrix products over ranks padded with zeros, which stay exactly zero."""
        own = cast(Sequence[LoraWeights], members)
        hidden, places = _hidden(site, x, own)  # (K, n · places, rank)
        hidden = _dropped(site, hidden, own, x.shape[1])
        return from_tokens(site.layer, hidden @ _scaled_up(site, own), x.shape[1], places)

    def added(self, site: Site, x: Tensor, y: Tensor) -> Tensor:
        """See `AdapterWeights`: with as few operations as it takes, since a small step is made of their overhead."""
        layer = site.layer
        if self.mid is not None or _drops(site, [self]):
            return super().added(site, x, y)
        if isinstance(layer, nn.Linear):
            hidden = functional.linear(x, self.down).flatten(0, -2)
            return torch.addmm(y.flatten(0, -2), hidden, self.up.mT, alpha=self.scale).view_as(y)
        hidden = functional.conv2d(x, self.down, None, layer.stride, layer.padding, layer.dilation)
        return y + functional.conv2d(hidden * self.scale, self.up).to(y.dtype)

    @classmethod
    def all_added(cls, site: Site, x: Tensor, y: Tensor, members: Sequence[AdapterWeights]) -> Tensor:
        """See `AdapterWeights`: at a Linear the product is added where it is made."""
        if isinstance(site.layer, nn.Conv2d) or _drops(site, members):
            return super().all_added(site, x, y, members)
        own = cast(Sequence[LoraWeights], members)
        hidden, _ = _hidden(site, x, own)
        return torch.baddbmm(y.flatten(1, -2), hidden, _scaled_up(site, own)).view_as(y)

    @classmethod
    def delta_in(cls, tensors: Mapping[str, Tensor]) -> Tensor:
        """See `AdapterWeights`."""
        down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
        return _product(up, down, tensors.get("lora_mid.weight")) * scale_in(tensors, len(down))

    @classmethod
    def rank_in(cls, tensors: Mapping[str, Tensor]) -> int | None:
        """See `AdapterWeights`."""
        down = tensors.get("lora_down.weight")
        return None if down is None else len(down)


def _product(up: Tensor, down: Tensor, mid: Tensor | None) -> Tensor:
    """ΔW without its scale, one row an output."""
    if mid is None:
        return up.flatten(1) @ down.flatten(1)
    return by_tucker(mid, up.flatten(1).mT, down.flatten(1)).flatten(1)


def _hidden(site: Site, x: Tensor, members: Sequence[LoraWeights]) -> tuple[Tensor, torch.Size]:
    """What `down` makes of the parts, (K, n · places, rank), and how the places of a picture are arranged."""
    layer = site.layer
    down = site.stacks["down"] if site.stacks else stacked([m.down for m in members])
    mids = [m.mid for m in members if m.mid is not None]
    if mids and isinstance(layer, nn.Conv2d):
        x, down = torch.einsum("krc,knc...->knr...", down.flatten(2), x), cores(mids)
    if isinstance(layer, nn.Conv2d) and is_wide(layer):
        tokens = convolved(layer, x, down).movedim(2, -1)  # (K, n, h, w, rank)
        return tokens.flatten(1, 3), tokens.shape[2:4]
    tokens, places = as_tokens(layer, x)
    return tokens @ down.flatten(2).mT, places


def _scaled_up(site: Site, members: Sequence[LoraWeights]) -> Tensor:
    """The members' `up` times alpha / rank, (K, rank, out): smaller than what it makes, which would be scaled else."""
    up = site.stacks["up"].flatten(2).mT if site.stacks else stacked([m.up.flatten(1).mT for m in members])
    return up * scales(members, up.device)


def _drops(site: Site, members: Sequence[AdapterWeights]) -> bool:
    return site.training and any(m.options.dropout or m.options.rank_dropout for m in members)


def _dropped(site: Site, hidden: Tensor, members: Sequence[LoraWeights], count: int) -> Tensor:
    """Dropouts after `down`, whose masks depend on (seed, step, layer) only, so that recomputing gives them again.

    `count` is the number of pictures of each member.
    """
    if not _drops(site, members):
        return hidden
    return hidden * torch.stack([_mask(site, hidden[place], m, count) for place, m in enumerate(members)])


def _mask(site: Site, like: Tensor, weights: LoraWeights, count: int) -> Tensor:
    """What each of `like`, (count · places, rank), is multiplied by."""
    options = weights.options
    mask = torch.ones(like.shape)
    if options.dropout:
        mask[:, : weights.rank] *= site.kept(options.dropout, (len(like), weights.rank), options.seed, "dropout")
    if options.rank_dropout:
        ranks = site.kept(options.rank_dropout, (count, weights.rank), options.seed, "rank_dropout")
        mask[:, : weights.rank] *= ranks.repeat_interleave(len(like) // count, 0)
    return to_device(mask, like.device).to(like.dtype)
