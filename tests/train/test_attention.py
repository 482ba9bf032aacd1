"""Attention on CPUs: the kernels are chosen by precision and shape, and compute the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from lora_lab.config import TrainConfig
from lora_lab.train import attention, prepare
from lora_lab.train.attention import ByShape

Make = Callable[..., TrainConfig]


SCORES = 4 * 6 * 6 * 4
"""Bytes of a picture's: heads × queries × keys × float32."""


@pytest.mark.parametrize(
    ("most", "cached", "calls"),
    [
        (3 * SCORES, 3 * SCORES, [3]),
        (3 * SCORES, 2 * SCORES, [2, 1]),
        (3 * SCORES, SCORES - 1, [1, 1, 1]),
        (3 * SCORES - 1, 3 * SCORES, []),
    ],
    ids=["all at once", "two at a time", "one at a time", "too large"],
)
@pytest.mark.parametrize("text", [False, True], ids=["self", "cross"])
def test_by_shape(most: int, cached: int, calls: list[int], text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores' size decides how many pictures are looked at at once; the answer is PyTorch's own attention's."""
    torch.manual_seed(0)
    layer = Attention(query_dim=8, heads=4, dim_head=2, cross_attention_dim=8 if text else None)
    x, states = torch.randn(3, 6, 8), torch.randn(3, 6, 8) if text else None
    layer.set_processor(AttnProcessor2_0())
    expected = layer(x, states)
    pictures = []
    real = Attention.get_attention_scores

    def note(self: Any, query: Any, *rest: Any) -> Any:
        pictures.append(len(query) // self.heads)
        return real(self, query, *rest)

    monkeypatch.setattr(Attention, "get_attention_scores", note)
    monkeypatch.setattr(attention, "MOST_BYTES", most)
    monkeypatch.setattr(attention, "CACHED_BYTES", cached)
    layer.set_processor(ByShape())
    torch.testing.assert_close(layer(x, states), expected)
    assert pictures == calls


@pytest.mark.parametrize(
    "unusual", [{"norm_num_groups": 2}, {"cross_attention_norm": "layer_norm"}, {"residual_connection": True}]
)
def test_what_stable_diffusion_lacks(unusual: dict[str, Any]) -> None:
    """A layer with norms or a sum of its own gives what diffusers makes of it."""
    torch.manual_seed(0)
    layer = Attention(query_dim=8, heads=4, dim_head=2, cross_attention_dim=8, **unusual)
    x, states = torch.randn(3, 6, 8), torch.randn(3, 6, 8)
    layer.set_processor(AttnProcessor2_0())
    expected = layer(x, states)
    layer.set_processor(ByShape())
    torch.testing.assert_close(layer(x, states), expected)


def test_chosen_anew_for_each_run(open_pack: Callable[..., Any], make_config: Make) -> None:
    """A base that was trained in bf16 and then in float32 has the kernels of the last one everywhere."""
    opened = open_pack(make_config())
    unet = opened.session.base.unet
    for precision, kind in (("bf16", ByShape), ("no", AttnProcessor2_0), ("bf16", ByShape)):
        prepare.prepare_models(opened.session, make_config(mixed_precision=precision), print)
        assert unet.attn_processors
        assert {type(one) for one in unet.attn_processors.values()} == {kind}
