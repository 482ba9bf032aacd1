"""A place to train in, and what is looked at afterwards: was anything lost that had been told to be saved?"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch

import lora_lab

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"
DRIVER = Path(__file__).parent / "driver.py"
STEPS = 6
PATIENCE = 300.0


class Result(NamedTuple):
    """What became of a fault: in words, what was lost of what had been told to be saved, whether the promise held."""

    happened: str
    lost: int
    good: bool


@dataclass
class Ground:
    """A folder with a config, a data set of its own and an output folder; `name` is the LoRA's."""

    folder: Path
    values: dict[str, object] = field(default_factory=dict)
    name: str = "lumi"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.pictures.exists():
            shutil.copytree(PACKAGED / "pictures", self.pictures)
        config = {
            "base_model": "lora_lab:quickstart/base",
            "img_folder": str(self.pictures),
            "output_folder": str(self.out),
            "change_output_name": self.name,
            "mixed_precision": "no",
            "train_resolution": 64,
            "min_bucket_resolution": 64,
            "max_bucket_resolution": 128,
            "batch_size": 4,
            "max_steps": STEPS,
            "net_dim": 4,
            "alpha": 4,
            "unet_only": True,
            "validation_split": 0.2,
            "learning_rate": 1e-3,
            "save_every_n_steps": 2,
            **self.values,
        }
        (self.folder / "config.json").write_text(json.dumps(config))

    @property
    def out(self) -> Path:
        """Where the LoRA goes."""
        return self.folder / "out"

    @property
    def pictures(self) -> Path:
        """The data set."""
        return self.folder / "pictures"

    @property
    def final(self) -> Path:
        """The LoRA of the whole run."""
        return self.out / f"{self.name}.safetensors"

    def start(self, *more: str, **given: object) -> "subprocess.Popen[str]":
        """Start to train, with what the driver is to do; another session, so that signals are its own."""
        options = more or ("--no-tracking",)
        command = [sys.executable, str(DRIVER), json.dumps(given), "train", "config.json", *options]
        environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": "1700000000",
            "OMP_NUM_THREADS": "1",
            "LORA_LAB_CACHE": str(self.folder / "cache"),
        }
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )

    def train(self, *more: str, **given: object) -> tuple[int, str]:
        """Train to whatever end; return the exit code and what was printed."""
        process = self.start(*more, **given)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def saved(self) -> dict[str, str]:
        """Return the hash of every file that has the name of something whole: it is told to be saved by being there."""
        found = (path for path in self.out.rglob("*.safetensors") if not path.name.startswith("."))
        return {str(path.relative_to(self.out)): _digest(path) for path in found}

    def broken(self) -> list[str]:
        """Return what is there under a whole thing's name and can't be read, and what was told and is not there."""
        wrong = []
        for path in self.out.rglob("*.safetensors"):
            if path.name.startswith("."):
                continue
            try:
                with safetensors.safe_open(path, "pt") as file:
                    [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
            except Exception as error:
                wrong.append(f"{path.name}: {error}")
        for path in self.out.glob("*-state"):
            try:
                torch.load(path / "training.pt", weights_only=True)
                json.loads((path / "train_state.json").read_text())
            except Exception as error:
                wrong.append(f"{path.name}: {error}")
        return wrong + self.untrue()

    def untrue(self) -> list[str]:
        """Return the files that the record tells of and that are not there."""
        told = (Path(event["path"]) for event in self.events() if event["kind"] == "Artifact")
        return [f"{path.name} is told and not there" for path in told if not (self._log() / path).exists()]

    def events(self) -> list[dict]:
        """Return what the newest record tells, torn lines left out."""
        log = self._log() / "events.jsonl"
        found = []
        for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [event for event in found if "kind" in event]

    def _log(self) -> Path:
        logs = sorted(self.out.glob(f"lora-lab-logs/{self.name}-*"))
        return logs[-1] if logs else self.out / "none"

    def told_twice(self) -> int:
        """Return how many numbers the record has more than once."""
        counts = Counter(
            (event["step"], key) for event in self.events() if event["kind"] == "Metrics" for key in event["values"]
        )
        return sum(count - 1 for count in counts.values())

    def steps_told(self) -> int:
        """Return how many steps have their loss in the record."""
        return len({e["step"] for e in self.events() if e["kind"] == "Metrics" and "loss" in e["values"]})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(said: str) -> str:
    """Return the line that says what was wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("error:", "stopped", "interrupted", "warning:"))]
    marked.sort(key=lambda line: line.startswith("warning:"))  # what ended it before what was only told
    return (marked or lines or ["nothing was said"])[-1 if not marked else 0]


def judged(ground: Ground, said: str, before: dict[str, str], good: bool, words: str) -> Result:
    """Return the result of a run that was disturbed; `before` is what had been saved when it was."""
    lost = [name for name, digest in before.items() if ground.saved().get(name) != digest]
    broken = ground.broken()
    if "Traceback" in said:
        words, good = f"a traceback: {said.strip().splitlines()[-1]}", False
    if lost or broken:
        words += f"; LOST {[*lost, *broken]}"
    return Result(words, len(lost) + len(broken), good and not lost and not broken)
