"""The blocks of a U-Net: which layer is in which, and what rank, alpha and learning rate each is given.

As sd-scripts counts them (networks/lora.py get_block_index, get_block_lr_weight, get_block_dims_and_alphas): of SD 1
and 2 twelve down, one in the middle, twelve up; of SDXL the embedding, nine down, three in the middle, nine up, and the
output. Some have no layer that is adapted: the first and the last of SDXL, the first of SD.
"""

import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from lora_lab.config.number_lists import is_curve, numbers
from lora_lab.config.train_config import TrainConfig

WEIGHTS: Final = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
"""The keys of the learning rates' weights, in the order of the blocks."""

DIMS: Final = ("block_dims", "conv_block_dims")
ALPHAS: Final = ("block_alphas", "conv_block_alphas")
SIZES: Final = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
"""The keys of ranks and alphas."""

_LEVEL: Final = re.compile(r"_(down|up)_blocks_(\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_")
_ROW: Final = re.compile(r"_(input_blocks|middle_block|output_blocks)_(\d+)_")
_STARTS: Final = {"input_blocks": 1, "middle_block": 10, "output_blocks": 13}


class Counts(NamedTuple):
    """How many blocks a family has: weights of the learning rate down, middle and up, and sizes."""

    down: int
    mid: int
    up: int
    sizes: int

    def of(self, key: str) -> int:
        """Return how many numbers a key's list has."""
        return {"down_lr_weight": self.down, "mid_lr_weight": self.mid, "up_lr_weight": self.up}.get(key, self.sizes)


OF_SD: Final = Counts(12, 1, 12, 25)
OF_SDXL: Final = Counts(9, 3, 9, 23)


def counts_of(family: str | None) -> tuple[Counts, ...]:
    """Return the counts that a family has; of one that is not known, those that it may have."""
    return {"sdxl": (OF_SDXL,), "sd1": (OF_SD,), "sd2": (OF_SD,)}.get(family or "", (OF_SD, OF_SDXL))


class Size(NamedTuple):
    """Rank and alpha of an adapter."""

    rank: int
    alpha: float


class Blocks(NamedTuple):
    """What each block is given; None as a size, and 0 as a weight, say that its layers are not trained.

    `wide` are the convolutions that see more than one place; None where no convolution is adapted.
    """

    narrow: tuple[Size | None, ...]
    wide: tuple[Size | None, ...] | None
    weights: tuple[float, ...]

    def size_at(self, name: str, wide: bool) -> Size | None:
        """Return the size at a layer of the U-Net by its name in a LoRA file; None where it gets no adapter."""
        sizes = self.wide if wide else self.narrow
        return None if sizes is None else sizes[block_of(name)]


def block_of(name: str) -> int:
    """Return the number of the block that a layer of the U-Net is in, by its name in a LoRA file.

    Raises ValueError for a layer that is in none.
    """
    if found := _ROW.search(name):
        return _STARTS[found[1]] + int(found[2])
    if found := _LEVEL.search(name):
        way, level, part, place = found.groups()
        within = 3 * int(level) + (2 if part.endswith("samplers") else int(place))
        return within + (1 if way == "down" else 13)
    if "_mid_block_" in name:
        return 12
    raise ValueError(f"{name} is in no block of a U-Net")


def wrong_counts(config: TrainConfig, family: str | None) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Yield each key whose list is not as long as the family has blocks, with its length and the right ones."""
    for key in (*WEIGHTS, *SIZES):
        value = getattr(config, key)
        if value is None or is_curve(value):
            continue
        found, right = len(numbers(value)), tuple(counts.of(key) for counts in counts_of(family))
        if found not in right:
            yield key, found, right


def uses_blocks(config: TrainConfig) -> bool:
    """Return whether a config gives blocks something of their own."""
    return any(getattr(config, key) is not None for key in (*WEIGHTS, *SIZES))


def adapts_convolutions(config: TrainConfig) -> bool:
    """Return whether a config has a LoRA at the U-Net's ResNet, down- and upsampling blocks too."""
    return bool(config.conv_dim or config.conv_block_dims)


def blocks_of(config: TrainConfig, family: str) -> Blocks | None:
    """Return what each block is given, None where the config tells none anything of its own.

    Raises ValueError where a list is not as long as the family has blocks.
    """
    if not uses_blocks(config):
        return None
    for key, found, right in wrong_counts(config, family):
        raise ValueError(f"{key} has {found} numbers, and {right[0]} are needed")
    weights = lr_weights(config, family)
    count = counts_of(family)[0].sizes
    dims = _row(config.block_dims, float(config.net_dim), count)
    alphas = _row(config.block_alphas, config.alpha, count)
    narrow = [_size(*both) for both in zip(dims, alphas, strict=True)]
    wide = None
    if adapts_convolutions(config):
        conv_dims = _row(config.conv_block_dims, float(config.conv_dim or 0), count)
        wide = [
            _size(dim, alpha) for dim, alpha in zip(conv_dims, _conv_alphas(config, conv_dims, narrow), strict=True)
        ]
    trained = [weight > 0 for weight in weights]
    return Blocks(_kept(narrow, trained), None if wide is None else _kept(wide, trained), weights)


def _row(value: str | list[float] | list[int] | None, otherwise: float, count: int) -> tuple[float, ...]:
    return (otherwise,) * count if value is None else numbers(value)


def _size(dim: float, alpha: float) -> Size | None:
    """Return a size; an alpha of 0 is as large as the rank, as in sd-scripts."""
    return Size(int(dim), alpha or dim) if dim else None


def _kept(sizes: list[Size | None], trained: list[bool]) -> tuple[Size | None, ...]:
    return tuple(size if kept else None for size, kept in zip(sizes, trained, strict=True))


def _conv_alphas(config: TrainConfig, dims: tuple[float, ...], narrow: list[Size | None]) -> Iterator[float]:
    """Yield the alphas of the convolutions: their own, `conv_alpha`, or what gives the block's other layers' strength.

    A block without other layers gets the strength of `net_dim` and `alpha`.
    """
    own = None if config.conv_block_alphas is None else numbers(config.conv_block_alphas)
    for place, (dim, other) in enumerate(zip(dims, narrow, strict=True)):
        strength = other.alpha / other.rank if other else (config.alpha or config.net_dim) / config.net_dim
        if own is not None:
            yield own[place]
        else:
            yield strength * dim if config.conv_alpha is None else config.conv_alpha


def lr_weights(config: TrainConfig, family: str) -> tuple[float, ...]:
    """Return by how much the learning rate of each block is multiplied; 1 for those that no key names.

    It is 0 where it is `block_lr_zero_threshold` or less.
    """
    counts = counts_of(family)[0]
    found: list[float] = []
    for key in WEIGHTS:
        value: float | str | list[float] | None = getattr(config, key)
        if value is None:
            found += [1.0] * counts.of(key)
        else:
            row = _curve(value, counts.of(key)) if is_curve(value) else numbers(value)
            found += [weight if weight > config.block_lr_zero_threshold else 0.0 for weight in row]
    return (1.0, *found, 1.0) if counts is OF_SDXL else tuple(found)


def _curve(text: object, count: int) -> tuple[float, ...]:
    """Return the weights of a named curve: sine and linear rise from 0 to 1, cosine and reverse_linear fall."""
    name, _, added = str(text).partition("+")
    places = [place / (count - 1) if count > 1 else 0.0 for place in range(count)]
    if name in ("cosine", "reverse_linear"):
        places.reverse()
    if name in ("cosine", "sine"):
        places = [math.sin(math.pi * place / 2) for place in places]
    if name == "zeros":
        places = [0.0] * count
    return tuple(place + float(added or 0.0) for place in places)
