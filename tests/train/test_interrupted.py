"""Runs that are killed, stopped or run out of disk: the same command goes on, and the end is that of no such trouble.

Real processes of `lora-lab train` on the quickstart's base, ended by real signals.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

import lora_lab

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"
DRIVER = """
import json, os, signal, sys
from lora_lab.cli import main
from lora_lab.train import step, unfinished

kills, settings = json.loads(sys.argv[2]), json.loads(sys.argv[3])
for name, value in settings.items():
    setattr(unfinished, name, value)
batches, real = [], step.pack_losses

def counted(session, members, batch):
    batches.append(batch.index)
    if batch.index in kills:
        os.kill(os.getpid(), kills[0] and getattr(signal, kills[0]))
    return real(session, members, batch)

step.pack_losses = counted
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.argv = ["lora-lab", "train", sys.argv[1], "--no-tracking"]
main()
"""
EVERY_STEP = {"SECONDS": 0.0, "COST": 0}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


class Ground:
    """A folder with a config of twelve steps in two epochs and a half, each of two batches."""

    def __init__(self, folder: Path, **values: object) -> None:
        self.folder = folder
        folder.mkdir()
        self.config = {
            "base_model": str(PACKAGED / "base"),
            "img_folder": str(PACKAGED / "pictures"),
            "output_folder": "out",
            "mixed_precision": "no",
            "train_resolution": 64,
            "min_bucket_resolution": 64,
            "max_bucket_resolution": 128,
            "batch_size": 6,
            "gradient_acc_steps": 2,
            "max_steps": 12,
            "net_dim": 4,
            "alpha": 4,
            "validation_split": 0.2,
            "shuffle_captions": True,
            "caption_dropout_rate": 0.2,
            "network_dropout": 0.1,
            "scheduler": "cosine",
            "learning_rate": 1e-3,
            "change_output_name": "lumi",
            **values,
        }
        (folder / "config.json").write_text(json.dumps(self.config))

    @property
    def out(self) -> Path:
        """Where the LoRA goes."""
        return self.folder / "out"

    def command(self, kills: list[object], settings: Mapping[str, float]) -> list[str]:
        """The command line that trains, killed at batches by number."""
        arguments = (str(self.folder / "config.json"), json.dumps(kills), json.dumps(settings))
        return [sys.executable, "-c", DRIVER, *arguments]

    def train(
        self, *kills: object, settings: Mapping[str, float] = EVERY_STEP, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Train: `train("SIGKILL", 7)` sends itself that signal inside batch 7."""
        more = {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(
            self.command(list(kills), settings), capture_output=True, text=True, env={**os.environ, **more}, check=False
        )

    def names(self) -> list[str]:
        """What lies in the output folder, the logs aside."""
        return sorted(path.name for path in self.out.iterdir() if path.name != "lora-lab-logs")

    def points(self) -> dict[tuple[int, str], float]:
        """Every number that the only log tells, each told once; speeds aside."""
        (log,) = (self.out / "lora-lab-logs").glob("lumi-*")
        events = [json.loads(line) for line in (log / "events.jsonl").read_text().splitlines()]
        found = [
            (e["step"], key, value) for e in events if e["kind"] == "Metrics" for key, value in e["values"].items()
        ]
        counts = Counter((step, key) for step, key, _ in found)
        assert counts
        assert set(counts.values()) == {1}
        return {(step, key): value for step, key, value in found if key != "images_per_second"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """The run that nothing interrupts."""
    ground = Ground(tmp_path_factory.mktemp("straight") / "x")
    done = ground.train(settings={})
    assert done.returncode == 0, done.stderr
    assert ground.names() == ["lumi.safetensors"]
    return ground


def test_accumulation_and_epochs(straight: Ground) -> None:
    """What the cut points rest on: thirteen batches an epoch, two a step, seven steps an epoch."""
    points = straight.points()
    assert sorted(step for step, key in points if key == "loss") == list(range(1, 13))
    assert [step for step, key in points if key == "epoch_loss"] == [7, 12]
    assert [step for step, key in points if key == "val_loss"] == [0, 7, 12]


@pytest.mark.parametrize("batch", [5, 13, 21], ids=["inside accumulation", "first of an epoch", "near the end"])
def test_killed_and_started_again(batch: int, straight: Ground, tmp_path: Path) -> None:
    """kill -9 inside a batch, then the same command: file, numbers and log are those of the run without a kill."""
    ground = Ground(tmp_path / "x")
    killed = ground.train("SIGKILL", batch)
    assert killed.returncode == -signal.SIGKILL
    assert ground.names() == ["lumi-unfinished-state"]
    again = ground.train()
    assert again.returncode == 0, again.stderr
    assert "going on after step" in again.stdout
    assert ground.names() == ["lumi.safetensors"]
    assert (ground.out / "lumi.safetensors").read_bytes() == (straight.out / "lumi.safetensors").read_bytes()
    assert ground.points() == straight.points()


def test_killed_at_any_time(straight: Ground, tmp_path: Path) -> None:
    """Killed again and again from outside, whenever it happens, the run comes to the same end."""
    ground = Ground(tmp_path / "x")
    for _ in range(2):
        process = subprocess.Popen(
            ground.command([], EVERY_STEP),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1"},
        )
        steps = _logged(ground)
        while process.poll() is None and _logged(ground) < steps + 2:
            time.sleep(0.001)
        process.kill()
        process.communicate()
    assert ground.train().returncode == 0
    assert (ground.out / "lumi.safetensors").read_bytes() == (straight.out / "lumi.safetensors").read_bytes()
    assert ground.points() == straight.points()


def _logged(ground: Ground) -> int:
    """How many losses are in the logs by now."""
    return sum(path.read_text().count('"loss"') for path in ground.out.glob("lora-lab-logs/*/events.jsonl"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped(name: str, straight: Ground, tmp_path: Path) -> None:
    """The first Ctrl-C or SIGTERM ends after the step, with the state kept and how to go on, and no traceback."""
    ground = Ground(tmp_path / "x")
    stopped = ground.train(name, 5, settings={})
    assert stopped.returncode == 128 + getattr(signal, name)
    assert "stopped after step 3 of 12; the same command goes on from there" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert ground.names() == ["lumi-unfinished-state"]
    assert ground.train(settings={}).returncode == 0
    assert (ground.out / "lumi.safetensors").read_bytes() == (straight.out / "lumi.safetensors").read_bytes()
    assert ground.points() == straight.points()


def test_stopped_with_workers(tmp_path: Path) -> None:
    """Ctrl-C reaches the processes that load pictures too: the step ends all the same, and nothing is said twice."""
    ground = Ground(tmp_path / "x", num_workers=2, cache_latents=False, max_steps=4, validation_split=0)
    process = subprocess.Popen(
        ground.command([], {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "reading" in line or "training into" in line:
            break
    while process.poll() is None and _children(process.pid) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said, told = process.communicate()
    assert process.returncode == 130, said + told
    assert "stopped after step" in told
    assert "Traceback" not in told
    assert ground.names() == ["lumi-unfinished-state"]


def _children(number: int) -> int:
    """How many child processes a process has."""
    psutil = pytest.importorskip("psutil")
    try:
        return len(psutil.Process(number).children())
    except psutil.NoSuchProcess:
        return 0


def test_stopped_twice(tmp_path: Path) -> None:
    """A second signal in the same step ends at once."""
    ground = Ground(tmp_path / "x")
    ended = ground.train("SIGINT", 4, 5, settings={})
    assert ended.returncode == 130
    assert "interrupted" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ground.names() == []


def test_another_run_of_that_name(straight: Ground, tmp_path: Path) -> None:
    """A changed config starts anew, says why, and keeps what the other run had reached."""
    ground = Ground(tmp_path / "x")
    ground.train("SIGTERM", 5, settings={})
    (ground.folder / "config.json").write_text(json.dumps({**ground.config, "learning_rate": 2e-3}))
    anew = ground.train(settings={})
    assert anew.returncode == 0, anew.stderr
    assert "not going on with the unfinished run of this name: learning_rate was 0.001, is 0.002" in anew.stdout
    assert ground.names() == ["lumi-step00000003-state", "lumi.safetensors"]
    assert (ground.out / "lumi.safetensors").read_bytes() != (straight.out / "lumi.safetensors").read_bytes()
    assert len(list((ground.out / "lora-lab-logs").glob("lumi-*"))) == 2
