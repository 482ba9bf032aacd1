"""Which tracker is used, and where a database lies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lora_lab
from lora_lab.failure import Failure
from lora_lab.tracking.target import Target, alone, choose_target, database_of


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_an_address_it_is_a_database_in_the_project(tmp_path: Path) -> None:
    """The default lies in the present folder, database and artifacts side by side, both absolute."""
    target = choose_target(None)
    assert target.uri == f"sqlite:///{(tmp_path / 'lora-lab-runs' / 'mlflow.db').as_posix()}"
    assert target.artifact_root == tmp_path / "lora-lab-runs" / "mlartifacts"
    assert database_of(target) == tmp_path / "lora-lab-runs" / "mlflow.db"
    assert not target.is_server


def test_the_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI counts where no address is given."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert choose_target(None) == Target("http://there:5000")
    assert choose_target("https://here").uri == "https://here"
    assert choose_target("https://here").is_server


def test_a_relative_database_becomes_absolute(tmp_path: Path) -> None:
    """MLflow would store a relative artifact place as it is, and lose it in another folder."""
    target = choose_target("sqlite:///some/my.db")
    assert target.uri == f"sqlite:///{(tmp_path / 'some' / 'my.db').as_posix()}"
    assert target.artifact_root == tmp_path / "some" / "mlartifacts"


@pytest.mark.parametrize("address", ["./runs", "file:///runs", "mlruns", "ftp://x"])
def test_what_mlflow_cannot_use_is_a_failure(address: str) -> None:
    """A folder is no tracker any more; the message says what is."""
    with pytest.raises(Failure, match="no address of an MLflow server") as caught:
        choose_target(address)
    assert "sqlite:///" in caught.value.remedy


def test_passwords_are_not_shown() -> None:
    """Neither the shown address nor the key holds the password."""
    target = Target("https://me:secret@there/path")
    assert target.shown == "https://there/path"
    assert "secret" not in target.key
    assert target.key == Target("https://me:secret@there/path").key != Target("https://there/path").key


def test_only_one_process_makes_the_database(tmp_path: Path) -> None:
    """A second process waits until the first has let go."""
    target = choose_target(None)
    code = "from lora_lab.tracking.target import *\nwith alone(choose_target(None)):\n    print('in', flush=True)\n"
    with alone(target):
        environment = {**os.environ, "PYTHONPATH": str(Path(lora_lab.__file__).parents[1])}
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        time.sleep(1.0)
        assert other.poll() is None
        free = time.monotonic()
    out, _ = other.communicate(timeout=30)
    assert out == "in\n"
    assert time.monotonic() - free < 20
