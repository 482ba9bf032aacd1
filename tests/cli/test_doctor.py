"""`lora-lab doctor` says what a machine can do, and what to do where it can't."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli import doctor, group
from lora_lab.lint.doctor import Torch

PACKAGES = "torch=2.10.0+cu128 diffusers transformers accelerate safetensors pillow PIL numpy"
GOOD = f"""
packages: {PACKAGES} xformers=0.0.35 bitsandbytes=0.50.0 prodigyopt dadaptation lion-pytorch schedulefree mlflow=3.10.0
gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
free: 200
memory: 32
cores: 16
"""
GOOD_OUT = """\
ok      card          NVIDIA GeForce RTX 3060 (12.0 GiB, compute capability 8.6)
ok      bf16          the card computes in bf16
ok      torch         2.10.0+cu128
ok      diffusers     1.0
ok      transformers  1.0
ok      accelerate    1.0
ok      safetensors   1.0
ok      pillow        1.0
ok      numpy         1.0
ok      torch uses    cuda: NVIDIA GeForce RTX 3060
ok      xformers      0.0.35
ok      bitsandbytes  0.50.0
ok      prodigyopt    1.0
ok      dadaptation   1.0
ok      lion-pytorch  1.0
ok      schedulefree  1.0
ok      mlflow        3.10.0
ok      disk          200.0 GiB free at FOLDER
ok      memory        32.0 GiB, 16 processor cores
ok      runs          tracked at sqlite:///FOLDER/lora-lab-runs/mlflow.db, which the first run makes
this machine can train: 0 missing, 0 to note
"""
OLD = """
packages: torch=2.10.0+cpu transformers accelerate safetensors pillow PIL numpy
gpu: Tesla T4, 7.5, 15360
free: 5
memory: 16
cores: 2
"""
OLD_OUT = """\
ok      card          Tesla T4 (15.0 GiB, compute capability 7.5)
note    bf16          Tesla T4 does not compute in bf16
                      = set mixed_precision to fp16
note    torch         2.10.0+cpu: built without CUDA, so the Tesla T4 is not used
                      = install torch for CUDA: see pytorch.org
missing diffusers     is not installed: nothing can be trained
                      = pip install 'lora-lab[train]'
ok      transformers  1.0
ok      accelerate    1.0
ok      safetensors   1.0
ok      pillow        1.0
ok      numpy         1.0
note    torch uses    cpu, 2 threads, though there is a card
                      = see pytorch.org for a torch that fits the driver
note    xformers      is not installed: the setting xformers has no effect; PyTorch's own attention is as fast
                      = pip install xformers
note    bitsandbytes  is not installed: 8-bit and paged optimizers (AdamW8bit, use_8bit_adam) can't be used
                      = pip install bitsandbytes
note    prodigyopt    is not installed: the optimizer Prodigy can't be used
                      = pip install prodigyopt
note    dadaptation   is not installed: the optimizer DAdapt... can't be used
                      = pip install dadaptation
note    lion-pytorch  is not installed: the optimizer Lion can't be used
                      = pip install lion-pytorch
note    schedulefree  is not installed: the schedule-free optimizers can't be used
                      = pip install schedulefree
note    mlflow        is not installed: runs are not tracked
                      = pip install 'lora-lab[mlflow]'
note    disk          5.0 GiB free at FOLDER
                      = make room: a base model takes 2 to 7 GiB, each LoRA 10 to 300 MiB
ok      memory        16.0 GiB, 2 processor cores
ok      runs          tracked at sqlite:///FOLDER/lora-lab-runs/mlflow.db, which the first run makes
this machine can't train yet: 1 missing, 11 to note
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own without a tracker's address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(group, ["doctor", *arguments])


@pytest.mark.parametrize(
    ("machine", "torch", "shown", "code"),
    [(GOOD, "cuda: NVIDIA GeForce RTX 3060", GOOD_OUT, 0), (OLD, "cpu, 2 threads", OLD_OUT, 1)],
    ids=["good", "old"],
)
def test_what_is_shown(
    machine: str,
    torch: str,
    shown: str,
    code: int,
    folder: Path,
    on_machine: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine where all is well, and one where much is not: one line each, and what to do."""
    on_machine(machine)
    monkeypatch.setattr(doctor, "_torch", lambda: Torch(torch))
    result = run()
    assert result.output.replace(str(folder), "FOLDER") == shown
    assert result.exit_code == code


def test_json(on_machine: Callable[[str], None]) -> None:
    """The same for tools; nothing is imported where that is not wanted."""
    on_machine("packages: click\ngpu: none")
    result = run("--format", "json", "--no-import")
    lines = json.loads(result.output)
    assert result.exit_code == 1
    assert {line["name"]: line["state"] for line in lines}["torch"] == "missing"
    assert all(set(line) == {"name", "state", "found", "remedy"} for line in lines)
    assert "torch uses" not in {line["name"] for line in lines}


def test_a_torch_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that can't be imported, or ends the process, ends only the one that tries."""
    monkeypatch.setattr(doctor, "_TRIAL", "raise ImportError('libcudart.so.12: cannot open shared object file')")
    assert doctor._torch() == Torch(error="ImportError: libcudart.so.12: cannot open shared object file")
    monkeypatch.setattr(doctor, "_TRIAL", "import os; os.abort()")
    assert doctor._torch().error.startswith("it ended with -")
    monkeypatch.setattr(doctor, "_TRIAL", "print('cpu')")
    assert doctor._torch() == Torch("cpu")


def test_the_command_itself_imports_no_torch() -> None:
    """Only the other process does."""
    code = (
        "import sys; from lora_lab.cli import main\ntry: main()\nexcept SystemExit: assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "doctor", "--no-import"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
