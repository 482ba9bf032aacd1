"""A run talks to nobody whom its user has not named, and writes nowhere but where its user sees it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_lab.cli import SILENT, be_silent
from lora_lab.tracking.server import HOST

GUARD = """
import os, sys

def guard(event, arguments):
    address = arguments[1] if event in ("socket.connect", "socket.sendto") else None
    if event == "socket.getaddrinfo" and str(arguments[0]) not in ("localhost", "127.0.0.1", "::1", "None"):
        told(f"asked for {arguments[0]}")
    if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
        told(f"connected to {address}")

def told(line):
    with open(os.environ["NETWORK_LOG"], "a") as log:
        log.write(line + "\\n")
    raise OSError("no network in this test")

sys.addaudithook(guard)
"""
"""As sitecustomize.py: every Python process, workers too, tells of and refuses what leaves the machine."""

GRID = """\
name: quiet
base:
  base_model: lora_lab:quickstart/base
  img_folder: lora_lab:quickstart/pictures
  output_folder: out
  mixed_precision: "no"
  train_resolution: 64
  min_bucket_resolution: 64
  max_bucket_resolution: 128
  batch_size: 4
  unet_only: true
  max_steps: 2
  cache_latents_to_disk: true
  save_state: true
  sample_prompts: [a lumi]
  sample_every_n_steps: 2
parameters:
  net_dim: [2]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="other places for everything")
def test_a_sweep_stays_at_home(tmp_path: Path) -> None:
    """Lint, then a sweep with tracking, cache, state and pictures: no address outside is asked for; and below the home
    folder, the temporary folder and the working folder there is in the end only output, cache and runs.
    """
    home, temporary, here, guard = (tmp_path / name for name in ("home", "tmp", "here", "guard"))
    for folder in (home, temporary, here, guard):
        folder.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    (here / "grid.yaml").write_text(GRID)
    log = tmp_path / "network"
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "HF_", "LORA_LAB", "MLFLOW"))
    }
    path = os.pathsep.join([str(guard), *filter(None, [os.environ.get("PYTHONPATH")])])
    places = {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": path, "NETWORK_LOG": str(log)}
    for words in (["lint", "grid.yaml"], ["sweep", "grid.yaml"]):
        command = [sys.executable, "-m", "lora_lab", *words]
        done = subprocess.run(command, cwd=here, env={**kept, **places}, capture_output=True, text=True, check=False)
        assert done.returncode in ((0, 1) if words[0] == "lint" else (0,)), done.stdout + done.stderr
    assert not log.exists(), log.read_text()
    assert {str(path.relative_to(home)) for path in home.glob("*")} <= {".cache"}
    assert {path.name for path in (home / ".cache").glob("*")} <= {"lora-lab"}
    assert {path.name for path in temporary.iterdir()} == set()
    assert {path.name for path in here.iterdir()} == {"grid.yaml", "out", "lora-lab-runs"}
    assert [*here.glob("out/quiet/run1/*.safetensors")]


def test_libraries_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the libraries would tell their makers is off before any of them is loaded, unless somebody wants it."""
    for name in SILENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    be_silent()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    for name in ("MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        assert os.environ[name] in ("1", "true")
    asked = "from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_the_page_is_for_this_machine() -> None:
    """`lora-lab ui` listens on loopback; there is no option for anything else."""
    from lora_lab.cli.ui import command

    assert HOST == "127.0.0.1"
    assert not {option for one in command.params for option in one.opts} & {"--host", "--bind", "--listen"}
