"""Runs trained as one pack are the runs alone, whatever happens to the pack.

Not to the bit: a matrix product or convolution of K batches at once is added up in another order than one of each
(which order a kernel takes depends on the number of rows), so the losses differ by the rounding of float32, 1e-7 of
them. Everything else of a member is computed for itself alone: draws, loss, clipping, optimizer, schedule, average.
What rounding makes of the weights depends on the optimizer: Adam's first steps have the size of the learning rate even
where a gradient is all rounding. `benchmarks/packed_sameness.py` shows the differences for many more pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.tracking.events import Metrics, RunEnded, RunStarted
from lora_lab.train import prepare, step, unfinished
from lora_lab.train.run import Run, RunResult, train_runs

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


VARIED: tuple[dict[str, object], ...] = (
    {
        "net_dim": 3,
        "optimizer_type": "AdaFactor",
        "loss_type": "smooth_l1",
        "network_dropout": 0.2,
        "noise_offset": 0.1,
    },
    {
        "network_type": "loha",
        "optimizer_type": "Prodigy",
        "learning_rate": 1.0,
        "scheduler": "constant",
        "unet_only": True,
        "multires_noise_iterations": 3,
        "max_steps": 4,
    },
    {"network_type": "lokr", "lokr_factor": 4, "rank_dropout": 0.2, "ema_decay": 0.6, "scheduler": "linear"},
    {"use_dora": True, "conv_dim": 2, "optimizer_type": "SGDNesterov", "ip_noise_gamma": 0.1, "min_snr_gamma": 5.0},
)


def test_a_pack_of_four_with_every_trouble(
    make_config: Make, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four breaks, the pack is killed, one goes on alone, two as a pack: the three are what they are alone.

    Kinds of network, ranks, optimizers, losses, noise, dropouts, text encoder and length differ. The pack is killed in
    the fourth step, after the one that broke has left it; what is left goes on from the states after the third.
    """
    settings = [{**values, "validation_split": 0.25, "test_seed": seed} for seed, values in enumerate(VARIED)]
    told: list[list[Any]] = [[] for _ in settings]
    runs = [
        Run(config=make_config(**values), folder=tmp_path / str(at), record=told[at].append)
        for at, values in enumerate(settings)
    ]
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "COST", 0)
    with monkeypatch.context() as patch:
        patch.setattr(step, "_move", _breaking(3, step._move))
        patch.setattr(step, "pack_losses", _ending(3, step.pack_losses))
        with pytest.raises(KeyboardInterrupt):
            train_runs(runs, lambda progress: None)
    ends = [event.status for event in told[3] if isinstance(event, RunEnded)]
    assert ends == ["FAILED"], "it left before the others were killed"

    results = [*train_runs(runs[:1], lambda progress: None), *train_runs(runs[1:3], lambda progress: None)]
    for values, events, result in zip(settings, told, results, strict=False):
        assert isinstance(result, RunResult)
        alone = train(**values)
        for key, off in (("loss", 1e-5), ("val_loss", 1e-5), ("grad_norm", 1e-3)):
            packed = {e.step: e.values[key] for e in events if isinstance(e, Metrics) and key in e.values}
            assert packed == pytest.approx(alone.curve(key), rel=off)
        tensors = load_file(result.lora)
        assert tensors.keys() == alone.tensors.keys()
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(tensors[name], tensor, rtol=1e-3, atol=1e-4)


def _breaking(key: int, real: Callable[[Any], torch.Tensor]) -> Callable[[Any], torch.Tensor]:
    """Return a step of the optimizer that makes one member's weights NaN in its first."""

    def move(member: Any) -> torch.Tensor:
        norm = real(member)
        for group in member.groups if member.key == key else ():
            for tensor in group["params"]:
                tensor.data.fill_(torch.nan)
        return norm

    return move


def _ending(batch: int, real: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a calculation of losses that is interrupted in a batch."""

    def losses(session: Any, members: Any, given: Any) -> torch.Tensor:
        if given.index == batch:
            raise KeyboardInterrupt
        return real(session, members, given)

    return losses


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
