"""Captions to token ids in chunks of 75, and the chunks' text-encoder states back to one sequence."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lora_lab.config.emphasis import Piece

CHUNK = 75  # tokens of text per chunk
WIDTH = CHUNK + 2  # and begin and end


class _Marks(NamedTuple):
    begin: int
    end: int
    pad: int


Text = str | tuple[Piece, ...]
"""A caption, or its pieces where they count differently."""


def chunk_ids(tokenizer: Any, text: Text, max_clip_token_length: int) -> Tensor:
    """Token ids, int64, (chunks, 77): each chunk is begin, 75 ids, end or padding. Text beyond the limit is cut off.

    `tokenizer` is a CLIPTokenizer of transformers; `max_clip_token_length` is 75, 150 or 225 (ValueError otherwise).
    If it pads with its end token (SD 1, SDXL's first encoder) every chunk ends with that; if it pads with another
    (SD 2, SDXL's second) a chunk without text is begin, end, padding, and only a full one is closed with the end token.
    Source: sd-scripts `strategy_base.TokenizeStrategy._get_input_ids`.
    """
    if max_clip_token_length not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise ValueError(f"max_clip_token_length must be 75, 150 or 225, not {max_clip_token_length}")
    if isinstance(text, str):
        ids: list[int] = tokenizer(text, padding="max_length", truncation=True, max_length=max_clip_token_length + 2)[
            "input_ids"
        ]
    else:
        inner, _ = _of_pieces(tokenizer, text, max_clip_token_length)
        padding = [tokenizer.pad_token_id] * (max_clip_token_length - len(inner))
        ids = [tokenizer.bos_token_id, *inner, tokenizer.eos_token_id, *padding]
    if max_clip_token_length == CHUNK:
        return torch.tensor([ids])
    marks = _Marks(ids[0], tokenizer.eos_token_id, tokenizer.pad_token_id)
    starts = range(1, max_clip_token_length + 1, CHUNK)
    return torch.tensor([_chunk(ids[start : start + CHUNK], ids[-1], marks) for start in starts])


def join_states(states: Tensor) -> Tensor:
    """(..., chunks, 77, C) → (..., 75 · chunks + 2, C): first begin, every chunk's 75 inner states, last end."""
    inner = states[..., 1:-1, :].flatten(-3, -2)
    return torch.cat([states[..., 0, :1, :], inner, states[..., -1, -1:, :]], dim=-2)


def joined_weights(tokenizer: Any, pieces: tuple[Piece, ...], max_clip_token_length: int) -> Tensor:
    """How much the state at each place counts, float32 (75 · chunks + 2,), as `join_states` has the places.

    Begin, end and padding count 1. Source: sd-scripts `strategy_base._get_weighted_input_ids`.
    """
    _, weights = _of_pieces(tokenizer, pieces, max_clip_token_length)
    return torch.tensor([1.0, *weights, *[1.0] * (max_clip_token_length + 1 - len(weights))])


def _of_pieces(tokenizer: Any, pieces: tuple[Piece, ...], limit: int) -> tuple[list[int], list[float]]:
    """Ids and weights of the pieces, each tokenized by itself, up to the limit."""
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in pieces:
        found = tokenizer(text, truncation=True, max_length=limit + 2)["input_ids"][1:-1]
        ids += found
        weights += [weight] * len(found)
    return ids[:limit], weights[:limit]


def _chunk(inner: list[int], last: int, marks: _Marks) -> list[int]:
    if marks.pad == marks.end:
        return [marks.begin, *inner, last]
    if inner[-1] not in (marks.end, marks.pad):
        last = marks.end
    if inner[0] == marks.pad:
        inner = [marks.end, *inner[1:]]
    return [marks.begin, *inner, last]
