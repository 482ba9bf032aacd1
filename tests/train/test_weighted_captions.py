"""`weighted_captions`: words that count more or less reach the U-Net so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

from lora_lab.config import TrainConfig
from lora_lab.config.emphasis import Piece, read_emphasis
from lora_lab.train.data.tokens import chunk_ids, joined_weights
from lora_lab.train.step import encode, pack_step

Make = Callable[..., TrainConfig]
TOKENIZER = Path(__file__).parents[2] / "lora_lab" / "quickstart" / "base" / "tokenizer"


@pytest.fixture
def captioned(picture_folder: Path, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that lays out one picture with a caption."""

    def lay_out(caption: str) -> str:
        folder = tmp_path / "weighted" / "1_a"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "0.png").write_bytes((picture_folder / "2_lumi" / "0.png").read_bytes())
        (folder / "0.txt").write_text(caption)
        return str(folder.parent)

    return lay_out


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
@pytest.mark.parametrize("limit", [75, 150, 225])
def test_ids_are_those_of_the_words_alone(pad: str, limit: int) -> None:
    """Pieces have the ids of their words, in chunks, padded and cut off as a text's; begin, end and padding count 1."""
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    tokenizer.pad_token = pad
    for words in ("a cat", "one two three four five " * 20, "", "cat " * 75, "x " * 300):
        pieces = (Piece(words, 1.5),) if words else ()
        ids, weights = chunk_ids(tokenizer, pieces, limit), joined_weights(tokenizer, pieces, limit)
        assert torch.equal(ids, chunk_ids(tokenizer, words, limit))
        count = min(len(tokenizer(words)["input_ids"]) - 2, limit)
        assert weights.tolist() == [1.0, *[1.5] * count, *[1.0] * (limit + 1 - count)]


def states_of(opened: Any) -> torch.Tensor:
    """The text states of the first batch."""
    batch = opened.data.training[0]
    with torch.no_grad(), opened.session.pack.serving(0):
        return encode(opened.session, opened.members, batch.token_ids, batch.token_weights).states[0]


@pytest.mark.parametrize("base", ["base_folder", "xl_base"])
@pytest.mark.parametrize("cached", [False, True])
def test_states_are_multiplied(
    base: str, cached: bool, captioned: Any, make_config: Make, open_pack: Any, request: pytest.FixtureRequest
) -> None:
    """The states of weighted words are the plain ones times their weight, cached or not, with SD 1 and SDXL."""
    common: dict[str, Any] = {"base_model": str(request.getfixturevalue(base)), "batch_size": 1, "unet_only": True}
    plain = states_of(open_pack(make_config(img_folder=captioned("a red cat"), **common)))
    config = make_config(
        img_folder=captioned("a (red:1.5) cat"), weighted_captions=True, cache_text_encoder_outputs=cached, **common
    )
    opened = open_pack(config)
    weighted = states_of(opened)
    assert torch.allclose(weighted[2], 1.5 * plain[2], atol=1e-5)
    others = [place for place in range(77) if place != 2]
    assert torch.allclose(weighted[others], plain[others], atol=1e-5)
    assert torch.equal(states_of(opened), weighted)


def test_in_a_pack_each_has_its_own(captioned: Any, make_config: Make, open_pack: Any, seen: list[Any]) -> None:
    """An adapter without weights beside one with them reads the brackets as text, as it does alone."""
    folder = captioned("a (red:1.5) cat")
    options = {"img_folder": folder, "batch_size": 1, "unet_only": True}
    with_, without = make_config(weighted_captions=True, **options), make_config(**options)
    for configs in ([with_, without], [with_], [without]):
        opened = open_pack(*configs)
        pack_step(opened.session, opened.members, [opened.data.training[0]])
    both, alone, plain = (states for _, _, states, _ in seen)
    assert torch.allclose(both[0], alone[0], atol=1e-6)
    assert torch.allclose(both[1], plain[0], atol=1e-6)
    assert not torch.allclose(alone, plain, atol=1e-3)


def test_weights_change_the_lora(captioned: Any, train: Any) -> None:
    """A run with weights learns something else than one without, and its validation stays a number."""
    folder = captioned("a (red:1.5) cat")
    runs = [train(img_folder=folder, batch_size=1, max_steps=2, weighted_captions=wanted) for wanted in (True, False)]
    first, second = (run.tensors for run in runs)
    assert any(not torch.equal(first[key], second[key]) for key in first)
    assert read_emphasis("a (red:1.5) cat").text == "a red cat"
