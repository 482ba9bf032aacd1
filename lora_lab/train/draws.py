"""Randomness without state: every draw is a function of (seed, stream, epoch or step, item).

Nothing has to be saved to resume a run bit for bit, and neither the number of workers nor what else is in the pack can
change a draw. The `stream` keeps the purposes apart: two streams with the same seed and keys are independent.
"""

import hashlib
import json
import random
from typing import Literal, get_args

import numpy
import torch
from torch import Tensor

Stream = Literal[
    "order",  # pictures inside a bucket: epoch, bucket
    "bucket_order",  # batches of an epoch: epoch, data set digest; never the run's seed
    "caption",  # dropout, shuffle, tag dropout: epoch, item
    "flip",  # epoch, item
    "crop",  # epoch, item
    "color",  # epoch, item
    "posterior",  # the cached latent's sample: the cache key; never the run's seed
    "init",  # LoRA weights: layer name
    "timestep",  # step, item
    "noise",  # step, item
    "noise_offset",  # step, item
    "noise_offset_strength",  # step
    "pyramid",  # step: the sizes; step, level: the noise
    "perturbation",  # step, item
    "perturbation_strength",  # step
    "dropout",  # step, layer name
    "rank_dropout",  # step, layer name
    "module_dropout",  # step, layer name
    "split",  # which pictures are held out: content hash
    "validation",  # fixed timesteps and noise of the validation loss: content hash, repeat
    "sample",  # first noise of sample pictures: prompt number
]
STREAMS: tuple[str, ...] = get_args(Stream)


def seed_of(seed: int, stream: Stream, *keys: int | str) -> int:
    """A 64-bit seed for one draw: BLAKE2b over the JSON list `[seed, stream, *keys]`, so that 1 and "1" differ.

    Raises ValueError for a stream that is not listed above: a typo would silently be a stream of its own.
    """
    if stream not in STREAMS:
        raise ValueError(f"no such stream: {stream!r}")
    text = json.dumps([int(seed), stream, *keys], separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def python_draws(seed: int, stream: Stream, *keys: int | str) -> random.Random:
    """Python's generator for one draw, e.g. for shuffling tags."""
    return random.Random(seed_of(seed, stream, *keys))


def torch_draws(seed: int, stream: Stream, *keys: int | str) -> torch.Generator:
    """A CPU generator of torch for one draw.

    torch's CPU generator keeps only the low 32 bits of a seed; where many draws must differ use `normal`.
    """
    return torch.Generator("cpu").manual_seed(seed_of(seed, stream, *keys))


def normal(shape: tuple[int, ...], seed: int, stream: Stream, *keys: int | str) -> Tensor:
    """Standard normal float32 noise of `shape` on the CPU, from NumPy's Philox keyed with all 64 bits of the seed."""
    draws = numpy.random.Generator(numpy.random.Philox(key=seed_of(seed, stream, *keys)))
    return torch.from_numpy(draws.standard_normal(shape, dtype=numpy.float32))
