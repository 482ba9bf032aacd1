"""Runs trained as one pack are the runs alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.tracking.events import RunStarted
from lora_lab.train import prepare

Make = Callable[..., TrainConfig]
TrainPack = Callable[[Sequence[TrainConfig]], list[Any]]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]


MIXED: tuple[dict[str, object], ...] = (
    {"net_dim": 2, "alpha": 2.0, "learning_rate": 2e-3, "test_seed": 1, "loss_type": "huber", "shuffle_captions": True},
    {
        "ema_decay": 0.6,
        "net_dim": 6,
        "alpha": 1.0,
        "learning_rate": 5e-4,
        "test_seed": 2,
        "unet_only": True,
        "noise_offset": 0.1,
    },
    {"clip_skip": 2, "test_seed": 3, "network_dropout": 0.3, "scheduler": "constant", "min_snr_gamma": 5.0},
)


@pytest.mark.parametrize("chosen", [(0, 1), (0, 1, 2)], ids=["two", "three with another clip_skip"])
def test_packed_is_alone(
    chosen: tuple[int, ...], make_config: Make, train_pack_of: TrainPack, train: Callable[..., Any]
) -> None:
    """Different runs trained as one pack have the curves and weights that each has alone.

    The weights may differ by 2 % of the largest step, as Adam's first steps have the size of the learning rate even
    where a gradient is all rounding.
    """
    common: dict[str, object] = {"validation_split": 0.25, "max_steps": 5}
    settings = [{**common, **MIXED[number]} for number in chosen]
    packed = train_pack_of([make_config(**values) for values in settings])
    for values, member in zip(settings, packed, strict=True):
        alone = train(**values)
        for key in ("loss", "val_loss", "grad_norm"):
            assert member.curve(key) == pytest.approx(alone.curve(key), rel=1e-4)
        assert member.tensors.keys() == alone.tensors.keys()
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(member.tensors[name], tensor, rtol=1e-3, atol=1e-4)
        assert member.told(RunStarted)[0].params == alone.told(RunStarted)[0].params


def test_pack_refuses_what_it_cannot_share(make_config: Make, train_pack_of: TrainPack) -> None:
    """Runs of different batch size are no pack: one line says so, and both hear of their end."""
    with pytest.raises(Failure, match="different batch_size"):
        train_pack_of([make_config(), make_config(batch_size=1)])


def test_tokenizer_travels_without_the_model(open_pack: Callable[..., Any], make_config: Make) -> None:
    """What goes to worker processes holds no weights of the base."""
    opened = open_pack(make_config())
    tokenize = prepare.Tokenize(opened.session.family, opened.session.base)
    held = tokenize._tokenizer_of
    assert not [*held.unet.parameters(), *held.text_encoders[0].parameters(), *held.vae.parameters()]
    assert tokenize("a lumi", 75).tolist() == opened.session.family.tokenize(opened.session.base, "a lumi", 75).tolist()
