"""A pack: K LoRAs on one frozen base, each with its own part of every batch.

The batch that reaches an adapted layer is the K active adapters' batches, concatenated. The layer applies each
adapter's own down and up to its own part, `y = W x + up(down(x)) · alpha / rank` (Hu et al. 2021), as batched matrix
products over ranks padded with zeros. Nothing an adapter computes depends on who else is in the pack.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lora_lab.train.draws import Stream, python_draws, seed_of


class LayerSize(NamedTuple):
    """Rank and alpha of a LoRA at one layer."""

    rank: int
    alpha: float


_OF_CONVOLUTIONS = re.compile(
    r"_(?:resnets|downsamplers|upsamplers)_\d+_|_(?:in_layers_2|out_layers_3|emb_layers_1|skip_connection|\d_op|\d_conv)$"
)
"""In diffusers' names of the layers, and in Stability AI's."""


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """What one adapter of a pack is made of.

    `conv` is the size at convolutions larger than 1 × 1; with it all layers of ResNet, down- and upsampling blocks are
    adapted. `sizes` gives each layer's own size instead; layers that it lacks get no LoRA.
    """

    rank: int
    alpha: float
    dropout: float  # probability, on the output of `down`
    unet: bool
    text_encoder: bool
    seed: int
    rank_dropout: float = 0.0  # probability, of each rank for a whole picture
    module_dropout: float = 0.0  # probability, of the layer's whole update for a step
    conv: LayerSize | None = None
    sizes: Mapping[str, LayerSize] | None = None

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update, at layers that are no convolution."""
        return self.alpha / self.rank

    def size_at(self, name: str, layer: nn.Linear | nn.Conv2d) -> LayerSize | None:
        """The size at a layer, by its name in the LoRA file; None where it gets no LoRA."""
        if not (self.unet if name.startswith("lora_unet") else self.text_encoder):
            return None
        if self.sizes is not None:
            return self.sizes.get(name)
        if _OF_CONVOLUTIONS.search(name) and self.conv is None:
            return None
        return self.conv if _is_wide(layer) else LayerSize(self.rank, self.alpha)


def _is_wide(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that sees more than one place."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


class LoraWeights(nn.Module):
    """Down (rank, in) and up (out, rank) of one adapter at one layer, float32; 4-D for a convolution.

    Down has the convolution's kernel then, up 1 × 1. Down starts Kaiming-uniform with a = √5, up at zero, as in
    sd-scripts' `LoRAModule`; the draw depends on the adapter's seed and the layer's name only.
    """

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, name: str, options: AdapterOptions, size: LayerSize | None = None
    ) -> None:
        super().__init__()
        self.rank, self.alpha = size or LayerSize(options.rank, options.alpha)
        height, width = layer.weight.shape[:2]
        kernel = layer.weight.shape[2:]
        draws = torch.Generator().manual_seed(seed_of(options.seed, "init", name))
        bound = 1 / math.sqrt(width * math.prod(kernel))  # kaiming_uniform(a=√5) over the fan-in
        down = torch.empty(self.rank, width, *kernel).uniform_(-bound, bound, generator=draws)
        device = layer.weight.device
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(height, self.rank, *(1 for _ in kernel), device=device))
        self.options = options

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update."""
        return self.alpha / self.rank

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Down and up as matrices (rank, in · kernel) and (out, rank)."""
        return self.down.flatten(1), self.up.flatten(1)


@dataclass
class PackState:
    """Which adapters the next forward pass serves, in order of their parts of the batch, and at which micro-step."""

    active: list[int] = field(default_factory=list)
    step: int = 0
    training: bool = True


class PackedLayer(nn.Module):
    """A frozen Linear or Conv2d with the adapters of a pack beside it."""

    def __init__(self, base: nn.Linear | nn.Conv2d, name: str, state: PackState) -> None:
        super().__init__()
        self.base = base
        self.name = name
        self.state = state
        self.adapters = nn.ModuleDict()

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        """Answer for the layer that this one replaces: models read `weight.dtype`, `in_features` and the like."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x: Tensor) -> Tensor:
        """Add each active adapter's update to its part of the batch; the batch divides evenly by their number."""
        y = self.base(x)
        active = self.state.active
        present = [place for place, key in enumerate(active) if str(key) in self.adapters]
        if not present:
            return y
        parts = x.unflatten(0, (len(active), -1))
        members = [self._weights(active[place]) for place in present]
        if len(present) < len(active):
            update = self._update(parts[present], members, y.dtype)
            return y.unflatten(0, (len(active), -1)).index_add(0, self._places(present), update).flatten(0, 1)
        return y + self._update(parts, members, y.dtype).flatten(0, 1)

    def _weights(self, key: int) -> LoraWeights:
        weights = self.adapters[str(key)]
        assert isinstance(weights, LoraWeights)
        return weights

    def _places(self, present: list[int]) -> Tensor:
        return torch.tensor(present, device=self.base.weight.device)

    def _update(self, x: Tensor, members: Sequence[LoraWeights], dtype: torch.dtype) -> Tensor:
        """The scaled updates of the members for their parts `x`, (K, n, …), as (K, n, …) of `dtype`."""
        hidden, places = self._hidden(x, members)  # (K, n · places, rank)
        hidden = self._dropped(hidden, members, x.shape[1])
        up = _stacked([m.matrices()[1].mT for m in members]).mT  # (K, out, rank)
        scale = torch.tensor([m.scale for m in members], device=x.device).view(-1, 1, 1)
        update = ((hidden @ up.mT) * scale).unflatten(1, (x.shape[1], *places))
        if isinstance(self.base, nn.Conv2d):
            update = update.movedim(-1, 2)
        return update.to(dtype)

    def _hidden(self, x: Tensor, members: Sequence[LoraWeights]) -> tuple[Tensor, torch.Size]:
        """What `down` makes of the parts, (K, n · places, rank), and how the places of a picture are arranged."""
        if isinstance(self.base, nn.Conv2d) and _is_wide(self.base):
            down = _stacked([m.down for m in members]).flatten(0, 1)
            base, together = self.base, x.transpose(0, 1).flatten(1, 2)  # (n, K · in, h, w): a group for each member
            wide = nn.functional.conv2d(
                together, down, None, base.stride, base.padding, base.dilation, groups=len(members)
            )
            tokens = wide.unflatten(1, (len(members), -1)).permute(1, 0, 3, 4, 2)  # (K, n, h, w, rank)
            return tokens.flatten(1, 3), tokens.shape[2:4]
        tokens = x.movedim(2, -1) if isinstance(self.base, nn.Conv2d) else x  # (K, n, …, in): channels last
        down = _stacked([m.matrices()[0] for m in members])
        return tokens.reshape(len(members), -1, tokens.shape[-1]) @ down.mT, tokens.shape[2:-1]

    def _dropped(self, hidden: Tensor, members: Sequence[LoraWeights], count: int) -> Tensor:
        """Dropouts after `down`, whose masks depend on (seed, step, layer) only, so that recomputing gives them again.

        `count` is the number of pictures of each member.
        """
        wanted = [m.options.dropout or m.options.rank_dropout or m.options.module_dropout for m in members]
        if not self.state.training or not any(wanted):
            return hidden
        return hidden * torch.stack([self._mask(hidden[place], m, count) for place, m in enumerate(members)])

    def _mask(self, like: Tensor, weights: LoraWeights, count: int) -> Tensor:
        """What each of `like`, (count · places, rank), is multiplied by."""
        options, at = weights.options, (self.state.step, self.name)
        if options.module_dropout:
            draws = python_draws(options.seed, "module_dropout", *at)
            if draws.random() < options.module_dropout:
                return torch.zeros_like(like)
        mask = torch.ones(like.shape)
        if options.dropout:
            mask[:, : weights.rank] *= _kept(options.dropout, (len(like), weights.rank), options.seed, "dropout", *at)
        if options.rank_dropout:
            ranks = _kept(options.rank_dropout, (count, weights.rank), options.seed, "rank_dropout", *at)
            mask[:, : weights.rank] *= ranks.repeat_interleave(len(like) // count, 0)
        return mask.to(like)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors whose first dimension, the rank, may differ: the missing ranks are zeros."""
    if len(tensors) == 1:
        return tensors[0][None]
    rank = max(len(tensor) for tensor in tensors)
    return torch.stack([nn.functional.pad(t, (*(0, 0) * (t.ndim - 1), 0, rank - len(t))) for t in tensors])


def _kept(rate: float, shape: tuple[int, int], seed: int, stream: Stream, *keys: int | str) -> Tensor:
    """Zeros at a rate, elsewhere what keeps the mean at 1."""
    draws = torch.Generator().manual_seed(seed_of(seed, stream, *keys))
    return torch.bernoulli(torch.full(shape, 1 - rate), generator=draws) / (1 - rate)


class Pack:
    """The adapters of one base: attached to its layers, addressed by number, taken off again.

    `layers` maps each layer's name in the LoRA file (`lora_unet_…`, `lora_te_…`) to its owner module and attribute.
    """

    def __init__(self, layers: dict[str, tuple[nn.Module, str]]) -> None:
        self.state = PackState()
        self._places = layers
        self._layers: dict[str, PackedLayer] = {}
        for name, (owner, attribute) in layers.items():
            packed = PackedLayer(getattr(owner, attribute), name, self.state)
            setattr(owner, attribute, packed)
            self._layers[name] = packed

    def add(self, key: int, options: AdapterOptions) -> None:
        """Attach a new adapter to every layer that its options name."""
        for name, layer in self._layers.items():
            size = options.size_at(name, layer.base)
            if size is not None:
                layer.adapters[str(key)] = LoraWeights(layer.base, name, options, size)

    def weights(self, key: int) -> Iterator[tuple[str, LoraWeights]]:
        """Each layer name with the adapter's weights there, text encoder first."""
        for name, layer in self._layers.items():
            if str(key) in layer.adapters:
                yield name, layer._weights(key)

    def remove(self, key: int) -> None:
        """Take an adapter off every layer."""
        for layer in self._layers.values():
            if str(key) in layer.adapters:
                del layer.adapters[str(key)]

    def detach(self) -> None:
        """Give the base its own layers back."""
        for name, (owner, attribute) in self._places.items():
            setattr(owner, attribute, self._layers[name].base)

    @contextmanager
    def serving(self, *keys: int, step: int = 0, training: bool = False) -> Iterator[None]:
        """Within: forward passes serve these adapters; none at all is the bare base."""
        before = (self.state.active, self.state.step, self.state.training)
        self.state.active, self.state.step, self.state.training = list(keys), step, training
        try:
            yield
        finally:
            self.state.active, self.state.step, self.state.training = before
