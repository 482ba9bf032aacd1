"""What a run takes, measured on the tiny base."""

from collections.abc import Callable

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.sweep.footprint import Counts, footprint_of
from lora_lab.train import probe, step
from lora_lab.train.opening import open_base
from lora_lab.train.pack import PackedLayer
from lora_lab.train.prepare import make_accelerator
from lora_lab.train.probe import Probe

Make = Callable[..., TrainConfig]


@pytest.mark.parametrize(
    "values",
    [
        {"ema_decay": 0.9, "keep_best": True, "validation_split": 0.25, "sample_prompts": ["a lumi"]},
        {"network_type": "loha", "unet_only": True, "cache_latents": False},
        {"conv_dim": 2, "conv_alpha": 1.0, "cache_text_encoder_outputs_to_disk": True, "unet_only": True},
    ],
    ids=["plain", "loha from pixels", "convolutions"],
)
def test_a_run_is_measured(values: dict[str, object], make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks and seconds of one and two; its tensors are counted to the number; the base is as it was."""
    config = make_config(**values)
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    numbers: list[int] = []
    real = step._move

    def note(member: step.Member) -> torch.Tensor:
        numbers.append(sum(p.numel() for group in member.groups for p in group["params"]))
        return real(member)

    monkeypatch.setattr(step, "_move", note)
    measure = Probe()
    found = measure(config)
    assert {1, 2} <= found.peaks.keys() == found.seconds.keys()
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.peaks[1] > 50 << 20, "torch and the base are in it"
    assert found.peaks[2] > 0.95 * found.peaks[1], "what glibc holds from before may go meanwhile"
    assert measure.room() > found.peaks[2]
    footprint = footprint_of(config, found, measure.room())
    own = footprint.tensors(config) // (16 + (4 if config.ema_decay else 0))
    assert own == numbers[0]
    assert footprint.counts == Counts(*found.counts)
    assert (found.drawing > 0) <= bool(config.sample_prompts)
    _, base = open_base([config], make_accelerator("no"))
    assert not [layer for layer in base.unet.modules() if isinstance(layer, PackedLayer)]


def test_where_two_do_not_fit(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that runs out with two adapters is a result; with one it is the run's own trouble."""
    most = 1
    real = step.pack_losses

    def fails(session: step.Session, members: list[step.Member], batch: object) -> torch.Tensor:
        if len(members) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(session, members, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(step, "pack_losses", fails)
    assert Probe()(make_config()).peaks.keys() == {1}
    most = 0
    with pytest.raises(MemoryError):
        Probe()(make_config())


def test_memory_is_watched_in_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's high-water mark sees what was held and given back, and so does looking now and then."""
    ways = [probe._reset_high_water, lambda: False]
    for way in ways:
        monkeypatch.setattr(probe, "_reset_high_water", way)
        probe._tidy()
        with probe._watched() as rest:
            pass
        with probe._watched() as peak:
            for _ in range(3):
                torch.ones(30 << 20)  # 120 MiB
        assert 100 << 20 < peak() - rest() < 200 << 20


def test_a_disturbed_step_makes_no_pack_pay() -> None:
    """Where one run seemed slower than two at once, two are not many times as fast: one takes what two take at most."""
    assert probe.undisturbed({1: 4.0, 2: 0.2, 4: 0.3}) == {1: 0.2, 2: 0.2, 4: 0.3}
    assert probe.undisturbed({1: 0.1, 2: 0.15, 4: 0.3}) == {1: 0.1, 2: 0.15, 4: 0.3}
