"""What the sampler tells of the machine, and when it is silent."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.tracking import system_metrics
from lora_lab.tracking.events import Event, RunEnded, RunStarted, SystemMetrics
from lora_lab.tracking.recorder import Tracker
from lora_lab.tracking.spool import read_events
from lora_lab.tracking.system_metrics import SystemSampler, parse_gpus, sample_machine

SMI = """\
0, GPU-aaaa, 45, 1000, 4000, 70.5
1, GPU-bbbb, [N/A], 2000, 4000, [N/A]
"""


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_cards_figures_are_read_from_the_drivers_tool() -> None:
    """MiB become MB, shares are percent, and what a card does not tell is left out."""
    found = parse_gpus(SMI, None)
    assert found["system/gpu_0_utilization_percentage"] == 45
    assert found["system/gpu_0_memory_usage_megabytes"] == round(1000 * 2**20 / 1e6, 1)
    assert found["system/gpu_0_memory_usage_percentage"] == 25
    assert found["system/gpu_0_power_usage_watts"] == 70.5
    assert {name for name in found if "gpu_1" in name} == {
        "system/gpu_1_memory_usage_megabytes",
        "system/gpu_1_memory_usage_percentage",
    }


def test_only_visible_cards_are_told_in_their_numbering() -> None:
    """CUDA_VISIBLE_DEVICES names cards by number or UUID; a run sees them counted from 0."""
    assert parse_gpus(SMI, ["1"])["system/gpu_0_memory_usage_megabytes"] == round(2000 * 2**20 / 1e6, 1)
    assert parse_gpus(SMI, ["GPU-bbbb"]) == parse_gpus(SMI, ["1"])
    assert parse_gpus(SMI, [""]) == {}
    assert parse_gpus("NVIDIA-SMI has failed\n", None) == {}


def test_the_machine_has_figures() -> None:
    """Processor, memory and this process' own memory are told, under MLflow's names, within bounds."""
    found = sample_machine()
    assert 0 < found["system/system_memory_usage_percentage"] <= 100
    assert 1 < found["system/process_memory_usage_megabytes"] < found["system/system_memory_usage_megabytes"]
    assert "system/cpu_utilization_percentage" in found


def test_a_run_is_told_the_figures_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a run's start to its end its spool gets figures; the sweep's own run gets none."""
    monkeypatch.setattr(system_metrics, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(system_metrics, "EVERY_SECONDS", 0.01)
    tracker = Tracker(None, "e", pytest.fail)
    sweep, run = tracker.recorder(tmp_path), tracker.recorder(tmp_path / "run1")
    sweep(RunStarted(name="s", params={}, tags={"lora_lab.run": "sweep"}))
    run(RunStarted(name="r", params={}))

    def told(folder: Path) -> list[Event]:
        return [one.event for one in read_events(folder, 0) if isinstance(one.event, SystemMetrics)]

    eventually(lambda: len(told(tmp_path / "run1")) >= 2)
    run(RunEnded(status="FINISHED"))
    count = len(told(tmp_path / "run1"))
    time.sleep(0.1)
    assert len(told(tmp_path / "run1")) == count
    assert told(tmp_path) == []
    run.close()
    sweep.close()


def test_a_machine_that_cannot_be_asked_costs_nothing() -> None:
    """A sampler whose source breaks tells nothing, goes on, and can be stopped."""
    asked: list[int] = []

    def broken() -> dict[str, float]:
        asked.append(1)
        raise OSError("no such device")

    told: list[Event] = []
    sampler = SystemSampler(broken)
    sampler.add(told.append, 0)
    eventually(lambda: bool(asked))
    sampler.remove(told.append)
    assert told == []
