"""A pack: K LoRAs on one frozen base, each with its own part of every batch.

The batch that reaches an adapted layer is the K active adapters' batches, concatenated. The layer applies each
adapter's own down and up to its own part, `y = W x + up(down(x)) · alpha / rank` (Hu et al. 2021), as batched matrix
products over ranks padded with zeros. Nothing an adapter computes depends on who else is in the pack.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lora_lab.train.draws import seed_of


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """What one adapter of a pack is made of."""

    rank: int
    alpha: float
    dropout: float  # probability, on the output of `down`
    unet: bool
    text_encoder: bool
    seed: int

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update."""
        return self.alpha / self.rank


class LoraWeights(nn.Module):
    """Down (rank, in) and up (out, rank) of one adapter at one layer, float32; for a convolution 4-D, kernels 1 × 1.

    Down starts Kaiming-uniform with a = √5, up at zero, as in sd-scripts' `LoRAModule`; the draw depends on the
    adapter's seed and the layer's name only.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, name: str, options: AdapterOptions) -> None:
        super().__init__()
        width, height = layer.weight.shape[1], layer.weight.shape[0]
        kernel = (1, 1) if isinstance(layer, nn.Conv2d) else ()
        draws = torch.Generator().manual_seed(seed_of(options.seed, "init", name))
        bound = 1 / math.sqrt(width)  # kaiming_uniform(a=√5) over fan-in `width`
        down = torch.empty(options.rank, width, *kernel).uniform_(-bound, bound, generator=draws)
        device = layer.weight.device
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(height, options.rank, *kernel, device=device))
        self.options = options

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Down and up as matrices (rank, in) and (out, rank)."""
        return self.down.flatten(1), self.up.flatten(1)


@dataclass
class PackState:
    """Which adapters the next forward pass serves, in order of their parts of the batch, and at which micro-step."""

    active: list[int] = field(default_factory=list)
    step: int = 0
    training: bool = True


class PackedLayer(nn.Module):
    """A frozen Linear or 1 × 1 Conv2d with the adapters of a pack beside it."""

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
        convolution = isinstance(self.base, nn.Conv2d)
        tokens = x.flatten(3).transpose(2, 3) if convolution else x  # (K, n, …, in): channels last
        down, up = self._stacked(members)  # (K, rank, in), (K, out, rank)
        hidden = tokens.reshape(len(members), -1, tokens.shape[-1]) @ down.mT
        hidden = self._dropped(hidden, members)
        scale = torch.tensor([m.options.scale for m in members], device=x.device).view(-1, 1, 1)
        update = ((hidden @ up.mT) * scale).unflatten(1, tokens.shape[1:-1])
        if convolution:
            update = update.transpose(2, 3).unflatten(3, x.shape[3:])
        return update.to(dtype)

    @staticmethod
    def _stacked(members: Sequence[LoraWeights]) -> tuple[Tensor, Tensor]:
        if len(members) == 1:
            down, up = members[0].matrices()
            return down[None], up[None]
        rank = max(m.options.rank for m in members)
        downs, ups = zip(*(m.matrices() for m in members), strict=True)
        down = torch.stack([nn.functional.pad(d, (0, 0, 0, rank - d.shape[0])) for d in downs])
        up = torch.stack([nn.functional.pad(u, (0, rank - u.shape[1])) for u in ups])
        return down, up

    def _dropped(self, hidden: Tensor, members: Sequence[LoraWeights]) -> Tensor:
        """Dropout after `down` whose mask depends on (seed, step, layer) only, so that recomputing gives it again."""
        if not self.state.training or not any(m.options.dropout for m in members):
            return hidden
        masks = [self._mask(hidden[place], m.options) for place, m in enumerate(members)]
        return hidden * torch.stack(masks)

    def _mask(self, like: Tensor, options: AdapterOptions) -> Tensor:
        if not options.dropout:
            return torch.ones_like(like)
        draws = torch.Generator().manual_seed(seed_of(options.seed, "dropout", self.state.step, self.name))
        keep = 1 - options.dropout
        kept = torch.zeros(like.shape)
        kept[:, : options.rank] = (
            torch.bernoulli(torch.full_like(kept[:, : options.rank], keep), generator=draws) / keep
        )
        return kept.to(like)


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
            if options.unet if name.startswith("lora_unet") else options.text_encoder:
                layer.adapters[str(key)] = LoraWeights(layer.base, name, options)

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
