"""LoKr: ΔW = w1 ⊗ w2 · alpha / rank, a Kronecker product (Edalati et al. 2022, arXiv:2212.10650; LyCORIS).

LyCORIS and peft have the same mathematics for one adapter at a time; neither computes several at once.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from lora_lab.config import factorization
from lora_lab.train.adapters.base import (
    AdapterOptions,
    AdapterWeights,
    Layer,
    LayerSize,
    Site,
    as_tokens,
    by_tucker,
    convolved,
    from_tokens,
    is_wide,
    kaiming,
    scale_in,
    without_some_rows,
)


class LokrWeights(AdapterWeights):
    """w1 (a, c) and w2 (b, d · kernel) of a layer a·b × c·d, each whole or as a product of two matrices.

    w2 is whole where the rank is half its larger side or more, w1 is a product only with `decompose_both` and a rank
    that is smaller than that. With both whole there is no rank, and the scale is 1 whatever alpha is. With `tucker` w2
    is made of t2 (rank, rank, height, width), w2_a (rank, b) and w2_b (rank, d). All as in LyCORIS, as is how they
    start: w2, or the second matrix of its product, at zero.
    """

    KIND = "lokr"
    FILE_NAMES: ClassVar[Mapping[str, str]] = {
        name: f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "t2", "w2_a", "w2_b")
    }
    FASTER = frozenset({"w1", "w1_a", "w1_b"})

    def __init__(self, layer: Layer, name: str, options: AdapterOptions, size: LayerSize) -> None:
        super().__init__(layer, options, size)
        kernel = self.shape[2:]
        a, b = factorization(self.shape[0], options.factor)
        c, d = factorization(self.shape[1], options.factor)
        self.sides = (a, b, c, d)

        def drawn(part: str, *sides: int) -> nn.Parameter:
            return nn.Parameter(kaiming(sides, options.seed, name, part).to(layer.weight.device))

        def zeros(*sides: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*sides, device=layer.weight.device))

        self.whole_first = not (options.decompose_both and self.rank < max(a, c) / 2)
        self.whole_second = self.rank >= max(b, d) / 2
        if self.whole_first:
            self.w1 = drawn("w1", a, c)
        else:
            self.w1_a, self.w1_b = drawn("w1_a", a, self.rank), drawn("w1_b", self.rank, c)
        if self.whole_second:
            self.w2 = zeros(b, d, *kernel)
        elif self.tucker:
            self.t2 = drawn("t2", self.rank, self.rank, *kernel)
            self.w2_a, self.w2_b = drawn("w2_a", self.rank, b), zeros(self.rank, d)
        else:
            self.w2_a, self.w2_b = drawn("w2_a", b, self.rank), zeros(self.rank, d * kernel.numel())

    @property
    def scale(self) -> float:
        """See `AdapterWeights`; 1 where no rank is left to divide by."""
        return 1.0 if self.whole_first and self.whole_second else self.alpha / self.rank

    @property
    def alpha_in_file(self) -> float:
        """See `AdapterWeights`: 1 where readers take none, as a rank of 100,000 is too large for fp16."""
        return 1.0 if self.whole_first and self.whole_second else self.alpha

    def first(self) -> Tensor:
        """w1 with the scale, (a, c)."""
        return (self.w1 if self.whole_first else self.w1_a @ self.w1_b) * self.scale

    def second(self) -> Tensor:
        """w2, (b, d, *kernel)."""
        if self.tucker and not self.whole_second:
            return by_tucker(self.t2, self.w2_a, self.w2_b)
        whole = self.w2 if self.whole_second else self.w2_a @ self.w2_b
        return whole.view(self.sides[1], self.sides[3], *self.shape[2:])

    def delta(self) -> Tensor:
        """See `AdapterWeights`."""
        return torch.kron(self.first(), self.second().flatten(1)).view(self.shape)

    def batch_key(self) -> Hashable:
        """See `AdapterWeights`."""
        return *cast(tuple[Hashable, ...], super().batch_key()), self.sides

    @classmethod
    def updates(cls, site: Site, x: Tensor, members: Sequence[AdapterWeights]) -> Tensor:
        """See `AdapterWeights`: the two factors one after the other, as their product is as large as W."""
        own, layer = cast(Sequence[LokrWeights], members), site.layer
        first, second = torch.stack([m.first() for m in own]), torch.stack([m.second() for m in own])
        if isinstance(layer, nn.Conv2d) and is_wide(layer):
            update = _convolved(layer, x, first, second)
        else:
            tokens, places = as_tokens(layer, x)
            update = from_tokens(layer, _multiplied(tokens, first, second.flatten(2)), x.shape[1], places)
        return without_some_rows(site, update, members)

    @classmethod
    def delta_in(cls, tensors: Mapping[str, Tensor]) -> Tensor:
        """See `AdapterWeights`."""
        whole = "lokr_w1" in tensors and "lokr_w2" in tensors
        if "lokr_t2" in tensors:
            tensors = {**tensors, "lokr_w2": by_tucker(*(tensors[f"lokr_{part}"] for part in ("t2", "w2_a", "w2_b")))}
        first, second = (
            tensors[f"lokr_w{side}"]
            if f"lokr_w{side}" in tensors
            else tensors[f"lokr_w{side}_a"] @ tensors[f"lokr_w{side}_b"]
            for side in (1, 2)
        )
        rank = cls.rank_in(tensors)
        scale = 1.0 if whole or rank is None else scale_in(tensors, rank)
        return torch.kron(first, second.flatten(1)) * scale

    @classmethod
    def rank_in(cls, tensors: Mapping[str, Tensor]) -> int | None:
        """See `AdapterWeights`; one that no layer reaches where all matrices are whole."""
        product = next((tensors[name] for name in ("lokr_w2_b", "lokr_w1_b") if name in tensors), None)
        if product is not None:
            return len(product)
        return WHOLE if "lokr_w2" in tensors else None


WHOLE = 100_000
"""The rank of matrices that are whole, by custom."""


def _multiplied(tokens: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(w1 ⊗ w2) x for tokens (K, T, c · d): (K, T, a · b)."""
    count, c, d = tokens.shape[1], first.shape[2], second.shape[2]
    inner = tokens.reshape(len(tokens), -1, d) @ second.mT  # (K, T · c, b)
    by_first = inner.unflatten(1, (count, c)).transpose(1, 2).flatten(2)  # (K, c, T · b)
    outer = (first @ by_first).unflatten(2, (count, -1))  # (K, a, T, b)
    return outer.transpose(1, 2).flatten(2)


def _convolved(layer: nn.Conv2d, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The same for pictures (K, n, c · d, h, w) and a second factor with a kernel: (K, n, a · b, h', w')."""
    count, c = x.shape[1], first.shape[2]
    apart = x.unflatten(2, (c, -1)).flatten(1, 2)  # (K, n · c, d, h, w)
    inner = convolved(layer, apart, second).unflatten(1, (count, c))  # (K, n, c, b, h', w')
    outer = first @ inner.transpose(1, 2).flatten(2)  # (K, a, n · b · h' · w')
    return outer.unflatten(2, (count, *inner.shape[3:])).transpose(1, 2).flatten(2, 3)
