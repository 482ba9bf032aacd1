"""Chunks of 75 tokens with the real CLIP tokenizer, and the way back from chunks to one sequence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

import lora_lab
from lora_lab.train.data.tokens import chunk_ids, join_states

BEGIN, END, CAT = 49406, 49407, 2368  # OpenAI's CLIP vocabulary; 2368 is "cat</w>"


@pytest.fixture(scope="module")
def sd1() -> Any:
    """Pads with its end token, as SD 1 does."""
    return CLIPTokenizer.from_pretrained(str(Path(lora_lab.__file__).parent / "quickstart" / "base" / "tokenizer"))


@pytest.fixture(scope="module")
def sd2() -> Any:
    """Pads with "!", id 0, as SD 2 and SDXL's second encoder do."""
    folder = str(Path(lora_lab.__file__).parent / "quickstart" / "base" / "tokenizer")
    return CLIPTokenizer.from_pretrained(folder, pad_token="!")


def test_one_chunk(sd1: Any, sd2: Any) -> None:
    """The ids are the well-known ones of CLIP; the rest is the tokenizer's own padding."""
    text = [BEGIN, 320, 1125, 539, 320, CAT]
    assert chunk_ids(sd1, "a photo of a cat", 75).tolist() == [text + [END] * 71]
    assert chunk_ids(sd2, "a photo of a cat", 75).tolist() == [[*text, END] + [0] * 70]
    assert chunk_ids(sd1, "", 75).tolist() == [[BEGIN] + [END] * 76]


def test_long_captions_are_cut_at_75(sd1: Any, sd2: Any) -> None:
    """Of 90 tokens the first 75 stay, closed with the end token."""
    for tokenizer in (sd1, sd2):
        assert chunk_ids(tokenizer, "cat " * 90, 75).tolist() == [[BEGIN] + [CAT] * 75 + [END]]


@pytest.mark.parametrize(("limit", "chunks"), [(150, 2), (225, 3)])
def test_sd1_chunks(sd1: Any, limit: int, chunks: int) -> None:
    """90 tokens fill the first chunk and 15 of the second; the others hold only end tokens."""
    rows = chunk_ids(sd1, "cat " * 90, limit)
    assert rows.dtype == torch.int64
    assert rows.shape == (chunks, 77)
    assert rows[0].tolist() == [BEGIN] + [CAT] * 75 + [END]
    assert rows[1].tolist() == [BEGIN] + [CAT] * 15 + [END] * 61
    assert all(row.tolist() == [BEGIN] + [END] * 76 for row in rows[2:])


@pytest.mark.parametrize(("limit", "chunks"), [(150, 2), (225, 3)])
def test_sd2_chunks(sd2: Any, limit: int, chunks: int) -> None:
    """A full chunk is closed with the end token; one without text is begin, end, padding."""
    rows = chunk_ids(sd2, "cat " * 90, limit)
    assert rows.shape == (chunks, 77)
    assert rows[0].tolist() == [BEGIN] + [CAT] * 75 + [END]
    assert rows[1].tolist() == [BEGIN] + [CAT] * 15 + [END] + [0] * 60
    assert all(row.tolist() == [BEGIN, END] + [0] * 75 for row in rows[2:])


def test_sd2_text_that_ends_with_its_chunk(sd2: Any) -> None:
    """With 75 tokens the end token falls into the second chunk; with 74 it is the first chunk's 75th id."""
    rows = chunk_ids(sd2, "cat " * 75, 150).tolist()
    assert rows == [[BEGIN] + [CAT] * 75 + [END], [BEGIN, END] + [0] * 75]
    rows = chunk_ids(sd2, "cat " * 74, 150).tolist()
    assert rows == [[BEGIN] + [CAT] * 74 + [END, 0], [BEGIN, END] + [0] * 75]


@pytest.mark.parametrize("tokens", [225, 226, 300])
def test_text_beyond_225_is_cut(sd1: Any, sd2: Any, tokens: int) -> None:
    """Three full chunks and no more."""
    for tokenizer in (sd1, sd2):
        assert chunk_ids(tokenizer, "cat " * tokens, 225).tolist() == [[BEGIN] + [CAT] * 75 + [END]] * 3


def test_other_limits_are_refused(sd1: Any) -> None:
    """100 is not a number of whole chunks."""
    with pytest.raises(ValueError, match="100"):
        chunk_ids(sd1, "cat", 100)


@pytest.mark.parametrize(("chunks", "length"), [(1, 77), (2, 152), (3, 227)])
def test_join_states(chunks: int, length: int) -> None:
    """First begin, 75 inner states of each chunk in order, last end: 77, 152 or 227 states."""
    states = torch.arange(chunks * 77 * 2).view(1, chunks, 77, 2).repeat(3, 1, 1, 1)
    joined = join_states(states)
    assert joined.shape == (3, length, 2)
    inner = [77 * chunk + place for chunk in range(chunks) for place in range(1, 76)]
    assert (joined[0, :, 0] // 2).tolist() == [0, *inner, 77 * chunks - 1]
    assert torch.equal(join_states(states[0]), joined[0])
