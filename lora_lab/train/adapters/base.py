"""What every kind of adapter is to the pack, the files, the states and the optimizers.

A kind learns some tensors at a layer, of which it makes a correction ΔW of the layer's weight. The pack asks it for
the corrections of several members at once; everything else asks for the tensors by name.
"""

import functools
import math
import re
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lora_lab.config.blocks import Blocks
from lora_lab.train.draws import Stream, seed_of
from lora_lab.train.transfer import to_device

Layer = nn.Linear | nn.Conv2d
Kind = Literal["lora", "loha", "lokr"]


class LayerSize(NamedTuple):
    """Rank and alpha of an adapter at one layer."""

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
    adapted. `blocks` gives the U-Net's blocks sizes of their own, `sizes` every layer, whatever the rest says; layers
    that they lack get no adapter.
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
    blocks: Blocks | None = None
    kind: Kind = "lora"
    dora: bool = False  # the length of each row of the weight is learned apart from its direction
    factor: int = -1  # LoKr: how large the first factor may be; -1: as square as the layer's width allows
    decompose_both: bool = False  # LoKr: the first factor, too, is a product of two matrices
    tucker: bool = False  # wide convolutions: a kernel of its own between the matrices (Tucker's decomposition)

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update, at layers that are no convolution."""
        return self.alpha / self.rank

    @property
    def _convolutions(self) -> bool:
        return self.conv is not None or (self.blocks is not None and self.blocks.wide is not None)

    def size_at(self, name: str, layer: Layer) -> LayerSize | None:
        """The size at a layer, by its name in the LoRA file; None where it gets no adapter."""
        if not (self.unet if name.startswith("lora_unet") else self.text_encoder):
            return None
        if self.sizes is not None:
            return self.sizes.get(name)
        if _OF_CONVOLUTIONS.search(name) and not self._convolutions:
            return None
        if self.blocks is not None and name.startswith("lora_unet"):
            size = self.blocks.size_at(name, is_wide(layer))
            return None if size is None else LayerSize(*size)
        return self.conv if is_wide(layer) else LayerSize(self.rank, self.alpha)


def is_wide(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that sees more than one place."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)


class Site(NamedTuple):
    """Where an update is made, and when: the layer, its name, the micro-step, and whether anything is dropped.

    `share` is which of how many pictures these are, where several processes share a batch; `stacks` the members'
    matrices by their names, one above the other (`train/stacks.py`), where they are at hand.
    """

    layer: Layer
    name: str
    step: int
    training: bool
    share: tuple[slice, int] | None = None
    stacks: Mapping[str, Tensor] = MappingProxyType({})

    def kept(self, rate: float, shape: tuple[int, int], seed: int, stream: Stream) -> Tensor:
        """Which of (rows, width) are kept here; of a shared batch, its own rows of what the whole batch draws."""
        rows, width = shape
        if self.share is None:
            return kept(rate, shape, seed, stream, self.step, self.name)
        own, pictures = self.share
        each = rows // (own.stop - own.start)  # rows of a picture: places, or pieces of a long caption
        whole = kept(rate, (each * pictures, width), seed, stream, self.step, self.name)
        return whole[each * own.start : each * own.stop]


class AdapterWeights(nn.Module):
    """The trained tensors of one adapter at one layer, float32, on the layer's device.

    Its parameters' names are those of a training state. With `options.dora` there is also `magnitude`, the wanted
    length of each row of W + ΔW (Liu et al. 2024, arXiv:2402.09353).
    """

    KIND: ClassVar[Kind]
    FILE_NAMES: ClassVar[Mapping[str, str]]
    """Each factor with its tensor's name in a file, after the layer's name."""
    FASTER: ClassVar[frozenset[str]]
    """The factors that LoRA+ lets learn faster, as sd-scripts chooses them (networks/network_base.py)."""

    RANK_AT: ClassVar[Mapping[str, int]] = MappingProxyType({})
    """The factors that `train/stacks.py` puts together, and which of their dimensions is the rank."""

    magnitude: nn.Parameter | None

    def __init__(self, layer: Layer, options: AdapterOptions, size: LayerSize) -> None:
        super().__init__()
        self.rank, self.alpha = size
        self.options = options
        self.shape = layer.weight.shape
        self.tucker = options.tucker and is_wide(layer)
        self.register_parameter("magnitude", nn.Parameter(row_lengths(layer.weight)) if options.dora else None)

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update."""
        return self.alpha / self.rank

    @abstractmethod
    def delta(self) -> Tensor:
        """ΔW as it acts, scaled, in the shape of the layer's weight; without the magnitude."""

    @classmethod
    @abstractmethod
    def updates(cls, site: Site, x: Tensor, members: Sequence["AdapterWeights"]) -> Tensor:
        """What ΔW makes of the members' inputs `x`, (K, n, …), as (K, n, …); the members have one `batch_key`."""

    def added(self, site: Site, x: Tensor, y: Tensor) -> Tensor:
        """Add what ΔW makes of inputs `x` (n, …), all of them its own, to the layer's outputs `y` (n, …)."""
        return y + self.updates(site, x[None], [self])[0].to(y.dtype)

    @classmethod
    def all_added(cls, site: Site, x: Tensor, y: Tensor, members: Sequence["AdapterWeights"]) -> Tensor:
        """Add the members' updates to the layer's outputs; `x` and `y` are (K, n, …), as in `updates`."""
        return y + cls.updates(site, x, members).to(y.dtype)

    def batch_key(self) -> Hashable:
        """What members must have in common for their updates to be computed at once."""
        return type(self), self.magnitude is None, self.tucker

    def factors(self) -> dict[str, nn.Parameter]:
        """The tensors that ΔW is made of, by their own names."""
        return {name: tensor for name, tensor in self.named_parameters() if name in self.FILE_NAMES}

    def trained(self, *, faster: bool | None = None) -> list[nn.Parameter]:
        """All trained tensors; with `faster` those that LoRA+ lets learn faster, or the others."""
        return [p for name, p in self.named_parameters() if faster is None or (name in self.FASTER) == faster]

    def in_file(self) -> dict[str, Tensor]:
        """The trained tensors as they are, by the names that a file gives them after the layer's."""
        found: dict[str, Tensor] = {self.FILE_NAMES[name]: tensor for name, tensor in self.factors().items()}
        if self.magnitude is not None:
            found[DORA_SCALE] = self.magnitude
        return found

    @property
    def alpha_in_file(self) -> float:
        """The alpha of which readers make the scale."""
        return self.alpha

    @classmethod
    @abstractmethod
    def delta_in(cls, tensors: Mapping[str, Tensor]) -> Tensor:
        """ΔW of a layer's tensors in a file, by their names there, scaled, without the magnitude; one row an output.

        Raises RuntimeError where their widths do not fit each other.
        """

    @classmethod
    @abstractmethod
    def rank_in(cls, tensors: Mapping[str, Tensor]) -> int | None:
        """The rank of a layer's tensors in a file, by their names there; None where it has none."""


DORA_SCALE = "dora_scale"


def scale_in(tensors: Mapping[str, Tensor], rank: int) -> float:
    """Alpha / rank of a layer's tensors in a file; a missing alpha is the rank, as in sd-scripts."""
    return float(tensors["alpha"]) / rank if "alpha" in tensors else 1.0


def row_lengths(weight: Tensor) -> Tensor:
    """The Euclidean length of each output's row, float32 (out, 1) or (out, 1, 1, 1), detached.

    One length for each output, as peft has it and LyCORIS since 3.0 (`wd_on_out`); the paper's words and older LyCORIS
    files have one for each input.
    """
    lengths = weight.detach().float().flatten(1).norm(dim=1)
    return lengths.reshape(-1, *(1 for _ in weight.shape[1:]))


def kaiming(shape: Sequence[int], seed: int, *keys: str) -> Tensor:
    """Draw as `kaiming_uniform_(a=√5)` does, over the fan-in of all dimensions but the first."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(*shape).uniform_(-bound, bound, generator=_generator(seed, *keys))


def normal(shape: Sequence[int], std: float, seed: int, *keys: str) -> Tensor:
    """Draw from a normal distribution around zero."""
    return torch.empty(*shape).normal_(0, std, generator=_generator(seed, *keys))


def _generator(seed: int, *keys: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, "init", *keys))


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors whose first dimension, the rank, may differ: the missing ranks are zeros."""
    if len(tensors) == 1:
        return tensors[0][None]
    rank = max(len(tensor) for tensor in tensors)
    if all(len(tensor) == rank for tensor in tensors):
        return torch.stack(list(tensors))
    return torch.stack([nn.functional.pad(t, (*(0, 0) * (t.ndim - 1), 0, rank - len(t))) for t in tensors])


def cores(tensors: Sequence[Tensor]) -> Tensor:
    """Stack Tucker's cores (rank, rank, …), whose ranks may differ: the missing ones are zeros."""
    rank = max(len(tensor) for tensor in tensors)
    return torch.stack([nn.functional.pad(t, (*(0, 0) * (t.ndim - 2), *(0, rank - len(t)) * 2)) for t in tensors])


def by_tucker(core: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Σ core[i, j, …] first[i, p] second[j, r] as (…, p, r, …kernel), as LyCORIS' `rebuild_tucker`.

    The core is (…, rank, rank, height, width), the matrices (…, rank, out) and (…, rank, in).
    """
    return torch.einsum("...ijkl,...ip,...jr->...prkl", core, first, second)


def scales(members: Sequence[AdapterWeights], device: torch.device) -> Tensor:
    """The members' alpha / rank as (K, 1, 1)."""
    return _column(tuple(m.scale for m in members), device)


@functools.lru_cache(maxsize=1024)
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device: kept, as a GPU has to stop for each new tensor from here."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


def as_tokens(layer: Layer, x: Tensor) -> tuple[Tensor, torch.Size]:
    """Inputs (K, n, …) of a layer that sees one place at a time as (K, n · places, in), and the places of a picture."""
    tokens = x.movedim(2, -1) if isinstance(layer, nn.Conv2d) else x  # channels last
    return tokens.reshape(len(x), -1, tokens.shape[-1]), tokens.shape[2:-1]


def from_tokens(layer: Layer, tokens: Tensor, count: int, places: torch.Size) -> Tensor:
    """Outputs (K, n · places, out) as the layer gives them, (K, n, …); `count` is n."""
    found = tokens.unflatten(1, (count, *places))
    return found.movedim(-1, 2) if isinstance(layer, nn.Conv2d) else found


def convolved(layer: nn.Conv2d, x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each member's inputs (K, n, in, h, w) with its own kernels (K, out, in, …) as `layer` does.

    The members are the groups of one convolution; returns (K, n, out, h', w').
    """
    together = x.transpose(0, 1).flatten(1, 2)  # (n, K · in, h, w)
    wide = nn.functional.conv2d(
        together, kernels.flatten(0, 1), None, layer.stride, layer.padding, layer.dilation, groups=len(x)
    )
    return wide.unflatten(1, (len(x), -1)).transpose(0, 1)


def kept(rate: float, shape: tuple[int, int], seed: int, stream: Stream, *keys: int | str) -> Tensor:
    """Zeros at a rate, elsewhere what keeps the mean at 1."""
    draws = torch.Generator().manual_seed(seed_of(seed, stream, *keys))
    return torch.bernoulli(torch.full(shape, 1 - rate), generator=draws) / (1 - rate)


def without_some_rows(site: Site, update: Tensor, members: Sequence[AdapterWeights]) -> Tensor:
    """Leave rows of ΔW out for a whole picture, at the rate `rank_dropout`: for kinds without single ranks.

    `update` is (K, n, …) with the outputs last, or third for a convolution.
    """
    if not site.training or not any(m.options.rank_dropout for m in members):
        return update
    height, count = site.layer.weight.shape[0], update.shape[1]
    masks = torch.ones(len(members), count, height)
    for place, member in enumerate(members):
        rate = member.options.rank_dropout
        if rate:
            seed = member.options.seed
            masks[place] = site.kept(rate, (count, height), seed, "rank_dropout")
    return update * over_outputs(site.layer, to_device(masks, update.device).to(update.dtype), update.ndim)


def over_outputs(layer: Layer, values: Tensor, ndim: int) -> Tensor:
    """Values (K, n, out) in a shape that multiplies updates of `ndim` dimensions."""
    if isinstance(layer, nn.Conv2d):
        return values[..., None, None]
    return values.view(*values.shape[:2], *(1,) * (ndim - 3), values.shape[-1])
