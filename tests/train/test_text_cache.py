"""The text encoder's outputs: right whatever happens to captions, once per text, kept by content."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.train.data.store import Store
from lora_lab.train.families.base import Encoded
from lora_lab.train.step import encode
from lora_lab.train.text_cache import TextCache

Make = Callable[..., TrainConfig]
Train = Callable[..., Any]
CHANGING: dict[str, object] = {
    "shuffle_captions": True,
    "caption_tag_dropout_rate": 0.3,
    "caption_dropout_rate": 0.2,
    "caption_prefix": "a drawing of",
    "token_warmup_step": 4,
    "enable_wildcard": True,
}


def answer(ids: torch.Tensor, clip_skip: int) -> Encoded:
    """A stand-in for the text encoder."""
    return Encoded(ids.float()[..., None] * clip_skip, ids.float().mean(dim=1))


@pytest.mark.parametrize("values", [{}, CHANGING], ids=["as they stand", "changing"])
def test_cached_is_uncached(values: dict[str, object], train: Train) -> None:
    """Losses and weights are those of the run without the cache, to rounding, however captions change."""
    common = {"unet_only": True, "validation_split": 0.25, **values}
    plain, cached = (train(cache_text_encoder_outputs=wanted, **common) for wanted in (False, True))
    for key in ("loss", "val_loss", "grad_norm"):
        assert cached.curve(key) == pytest.approx(plain.curve(key), rel=1e-4)


def test_each_text_is_encoded_once(make_config: Make, open_pack: Callable[..., Any]) -> None:
    """Over three epochs the encoder is asked as often as there are different texts."""
    opened = open_pack(make_config(unet_only=True, cache_text_encoder_outputs=True))
    texts = set()
    for number in range(3 * opened.data.batches_per_epoch):
        batch = opened.data.training[number]
        texts |= set(batch.captions[0])
        with opened.session.pack.serving(0):
            found = encode(opened.session, opened.members, batch.token_ids)
            expected = opened.session.family.encode(opened.session.base, batch.token_ids[0], 1)
        torch.testing.assert_close(found.states, expected.states.detach())
    assert opened.session.texts.computed == len(texts) > 1


def test_trained_encoder_is_not_cached(train: Train) -> None:
    """Where the text encoder is trained the key changes nothing at all."""
    plain, asked = (train(cache_text_encoder_outputs=wanted) for wanted in (False, True))
    assert asked.curve("loss") == plain.curve("loss")


def test_packed_members_share_it_unless_one_trains(make_config: Make, open_pack: Callable[..., Any]) -> None:
    """Two frozen members with different clip_skip have each their own outputs; beside one that trains none is kept."""
    frozen: dict[str, object] = {"unet_only": True, "cache_text_encoder_outputs": True}
    opened = open_pack(make_config(**frozen), make_config(clip_skip=2, **frozen))
    batch = opened.data.training[0]
    with opened.session.pack.serving(0, 1):
        found = encode(opened.session, opened.members, batch.token_ids)
    for place, part in enumerate(found.states.chunk(2)):
        with opened.session.pack.serving(place):
            expected = opened.session.family.encode(opened.session.base, batch.token_ids[place], place + 1)
        torch.testing.assert_close(part, expected.states.detach())
    mixed = open_pack(make_config(**frozen), make_config())
    with mixed.session.pack.serving(0, 1):
        encode(mixed.session, mixed.members, batch.token_ids)
    assert mixed.session.texts.computed == 0


def test_resumed_is_uninterrupted(
    train: Train, same_tensors: Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]
) -> None:
    """A run that goes on gives the same bits, though its cache begins empty."""
    values: dict[str, object] = {"unet_only": True, "cache_text_encoder_outputs": True, "shuffle_captions": True}
    straight = train(max_steps=6, save_state=True, save_every_n_steps=3, **values)
    state = straight.folder / "at-step00000003-state"
    resumed = train(max_steps=6, load_previous_save_state=str(state), **values)
    assert same_tensors(straight.tensors, resumed.tensors)


def test_key_is_text_encoder_and_layer() -> None:
    """Other ids, another shape of them, another layer or encoder: another entry."""
    ids = torch.arange(154)
    shapes = (ids.view(1, 154), ids.view(2, 77), ids.view(2, 77).flip(0))
    keys = {TextCache(encoder).key_of(one, skip) for encoder in "ab" for one in shapes for skip in (1, 2)}
    assert len(keys) == 12


def test_disk(tmp_path: Path) -> None:
    """A second cache finds states and pooled vectors on disk; a damaged file counts as missing."""
    ids = torch.arange(12).view(3, 4)
    first = TextCache("x")
    told = first.of(ids, [1, 2, 2], answer, Store(tmp_path))
    assert torch.equal(told.states, torch.cat([answer(ids[n : n + 1], s).states for n, s in enumerate((1, 2, 2))]))
    assert first.computed == 3
    again = TextCache("x")
    found = again.of(ids, [1, 2, 2], answer, Store(tmp_path))
    assert again.computed == 0
    assert torch.equal(found.states, told.states)
    assert told.pooled is not None
    assert found.pooled is not None
    assert torch.equal(found.pooled, told.pooled)
    other = TextCache("y")
    other.of(ids, [1, 2, 2], answer, Store(tmp_path))
    assert other.computed == 3
    for path in (tmp_path / "texts").rglob("*.safetensors"):
        path.write_bytes(b"broken")
    damaged = TextCache("x")
    mended = damaged.of(ids, [1, 2, 2], answer, Store(tmp_path)).pooled
    assert mended is not None
    assert torch.equal(mended, told.pooled)
    assert damaged.computed == 3


def test_memory_is_bounded() -> None:
    """Beyond the limit the text that was asked for longest ago goes, and comes back right."""
    ids = torch.arange(12).view(3, 4)
    cache = TextCache(limit=2 * (4 * 4 + 4))
    for place in (0, 1, 0, 2, 0, 1):
        row = cache.of(ids[place : place + 1], [1], answer)
        assert torch.equal(row.states, answer(ids[place : place + 1], 1).states)
    assert cache.computed == 4
