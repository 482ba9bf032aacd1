"""Which GPU, or which part of the cores, each worker of a sweep gets."""

from pathlib import Path

import pytest

from lora_lab.cli import places
from lora_lab.cli.sweep import SweepOptions
from lora_lab.failure import Failure


@pytest.mark.parametrize(
    ("visible", "jobs", "wanted"),
    [
        ("0,1", None, [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        ("5", None, [{"CUDA_VISIBLE_DEVICES": "5"}]),
        ("GPU-a, GPU-b", 1, [{"CUDA_VISIBLE_DEVICES": "GPU-a"}]),
        ("2,3", 3, [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "232"]),
        ("2,-1,3", None, [{"CUDA_VISIBLE_DEVICES": "2"}]),
        ("", None, [{}]),
        ("-1", 2, [{"OMP_NUM_THREADS": "3"}] * 2),
    ],
)
def test_slots(monkeypatch: pytest.MonkeyPatch, visible: str, jobs: int | None, wanted: list[dict[str, str]]) -> None:
    """Each worker has one of the GPUs that the sweep may see, turn about; none seen, the cores are shared."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(places, "_cores", lambda: 7)
    assert places.gpu_slots(jobs) == wanted


def test_who_says_how_many_threads_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_NUM_THREADS of the person who starts the sweep stays."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert places.gpu_slots(2) == [{}, {}]


@pytest.mark.parametrize("options", [SweepOptions(address="a:1"), SweepOptions(slurm=("time=5",), executor="ray")])
def test_options_of_another_executor(options: SweepOptions) -> None:
    """An option that would do nothing is refused."""
    with pytest.raises(Failure, match="add --executor"):
        places.check_places(options)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed, a line says how to get it."""
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "lora_lab.sweep.on_ray", raising=False)
    monkeypatch.delattr("lora_lab.sweep.on_ray", raising=False)
    with pytest.raises(Failure, match=r"lora-lab\[ray\]"):
        places.ray_cluster(["python"], Path(), SweepOptions(executor="ray"))


def test_a_sweep_is_not_launched_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below accelerate launch each process would train every run."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(Failure, match="without accelerate launch"):
        places.check_places(SweepOptions())
