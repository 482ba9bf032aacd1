"""Attention on CPUs: the kernels are chosen by precision and shape, and compute the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

from lora_lab.config import TrainConfig
from lora_lab.train import attention, prepare
from lora_lab.train.attention import ByShape

Make = Callable[..., TrainConfig]


@pytest.mark.parametrize(
    ("limit", "frugal"), [(2 * 4 * 6 * 6 * 4, False), (2 * 4 * 6 * 6 * 4 - 1, True)], ids=["fits", "too large"]
)
@pytest.mark.parametrize("text", [False, True], ids=["self", "cross"])
def test_by_shape(limit: int, frugal: bool, text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of batch × heads × queries × keys × 4 bytes decide; the answer is PyTorch's own attention's either way."""
    torch.manual_seed(0)
    layer = Attention(query_dim=8, heads=4, dim_head=2, cross_attention_dim=8 if text else None)
    x, states = torch.randn(2, 6, 8), torch.randn(2, 6, 8) if text else None
    layer.set_processor(AttnProcessor2_0())
    expected = layer(x, states)
    asked = []
    for kind in (AttnProcessor, AttnProcessor2_0):
        real = kind.__call__

        def note(self: Any, *args: Any, real: Any = real, kind: type = kind, **kwargs: Any) -> Any:
            asked.append(kind)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__call__", note)
    monkeypatch.setattr(attention, "MOST_BYTES", limit)
    layer.set_processor(ByShape())
    torch.testing.assert_close(layer(x, states), expected)
    assert asked == [AttnProcessor2_0 if frugal else AttnProcessor]


def test_chosen_anew_for_each_run(open_pack: Callable[..., Any], make_config: Make) -> None:
    """A base that was trained in bf16 and then in float32 has the kernels of the last one everywhere."""
    opened = open_pack(make_config())
    unet = opened.session.base.unet
    for precision, kind in (("bf16", ByShape), ("no", AttnProcessor2_0), ("bf16", ByShape)):
        prepare.prepare_models(opened.session, make_config(mixed_precision=precision), print)
        assert unet.attn_processors
        assert {type(one) for one in unet.attn_processors.values()} == {kind}
