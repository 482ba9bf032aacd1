"""Several processes that train one adapter: the same as one process with as many times the batch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from lora_lab.config import TrainConfig
from lora_lab.train.together import ALONE, Together

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="accelerate's launcher and signals, as on Linux")

HARD = {
    "batch_size": 2,
    "gradient_acc_steps": 2,
    "max_steps": 7,
    "validation_split": 0.25,
    "network_dropout": 0.3,
    "rank_dropout": 0.2,
    "noise_offset": 0.1,
    "multires_noise_iterations": 3,
    "min_snr_gamma": 5.0,
    "shuffle_captions": True,
    "tag_occurrence_txt_file": True,
    "optimizer_type": "SGDNesterov",
    "learning_rate": 10.0,
}
"""Batches of which the last of a bucket is not whole, and draws of every kind; SGD shows what AdamW would even out."""


def command(folder: Path, config: TrainConfig, processes: int) -> list[str]:
    """Write a config and return the command that trains it."""
    folder.mkdir(exist_ok=True)
    values = {**config.model_dump(mode="json", exclude_unset=True), "output_folder": str(folder / "out")}
    (folder / "config.json").write_text(json.dumps(values))
    own = ["-m", "lora_lab", "train", str(folder / "config.json"), "--no-tracking"]
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
    ]
    rest = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [sys.executable, *([*launch, *rest] if processes > 1 else []), *own]


def trained(folder: Path, config: TrainConfig, processes: int) -> subprocess.CompletedProcess[str]:
    """Train a config in so many processes; return what they said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(folder / "hf")}
    order = command(folder, config, processes)
    return subprocess.run(order, capture_output=True, text=True, env=environment, check=False)


def curve(folder: Path) -> dict[tuple[int, str], float]:
    """Return what a run told of its losses and gradients."""
    (log,) = (folder / "out").glob("lora-lab-logs/*/events.jsonl")
    found = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        for key, value in (event.get("values") or {}).items():
            if key in ("loss", "val_loss", "grad_norm"):
                found[event["step"], key] = value
    assert found
    return found


def test_two_processes_are_one_with_twice_the_batch(make_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    """The same adapter, losses, validation and steps; one of the two writes and tells, and the file says both."""
    small = make_config(**HARD)
    done = trained(tmp_path / "two", small, 2)
    assert done.returncode == 0, done.stdout + done.stderr
    large = small.model_copy(update={"batch_size": 4})
    assert trained(tmp_path / "one", TrainConfig(**large.model_dump(exclude_unset=True)), 1).returncode == 0

    (two,), (one,) = ((tmp_path / name / "out").glob("*.safetensors") for name in ("two", "one"))
    found, wanted = safetensors.torch.load_file(two), safetensors.torch.load_file(one)
    assert found.keys() == wanted.keys()
    moved = max(float(tensor.abs().max()) for key, tensor in wanted.items() if "lora_up" in key)
    assert moved > 1e-3, "the adapter has learned something"
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-5 * max(moved, 1.0))
    losses = curve(tmp_path / "one")
    assert curve(tmp_path / "two") == pytest.approx(losses, rel=1e-4)

    assert done.stdout.count("trained 7 steps") == 1
    names = {path.name for path in (tmp_path / "two" / "out").iterdir()}
    assert names == {path.name for path in (tmp_path / "one" / "out").iterdir()}
    with safetensors.safe_open(two, "pt") as file:
        assert file.metadata()["ss_batch_size_per_device"] == "2"
        assert file.metadata()["ss_total_batch_size"] == "8"


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares(count: int, processes: int) -> None:
    """Every picture is somebody's, once; the parts of the loss add up to all of it."""
    shares = [Together(rank, processes).share(count) for rank in range(processes)]
    pictures = [place for own, part in shares if part for place in range(count)[own]]
    assert pictures == list(range(count))
    assert sum(part for _, part in shares) == pytest.approx(1.0)
    assert all(range(count)[own] for own, _ in shares)


def test_alone_nothing_is_asked() -> None:
    """One process adds nothing up and asks nobody."""
    tensor = torch.ones(3)
    ALONE.add_up([tensor])
    assert tensor.tolist() == [1, 1, 1]
    assert ALONE.highest(3, 1) == [3, 1]
    assert ALONE.of_the_first("a") == "a"
    assert ALONE.first
