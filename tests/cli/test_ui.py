"""`lora-lab ui`: which sweep is shown, and what is said where there is none."""

import socket
from pathlib import Path

import pytest

from lora_lab.cli import ui
from lora_lab.failure import Failure
from lora_lab.tracking import server
from lora_lab.tracking.server import Experiment, free_port

NEWEST = Experiment("2", "shapes", True, 20)
OLDER = Experiment("1", "ranks", True, 10)
FOREIGN = Experiment("0", "Default", False, 0)


def test_the_newest_sweep_is_shown_unless_one_is_named() -> None:
    """Experiments of other tools are shown by name only."""
    found = [NEWEST, OLDER, FOREIGN]
    assert ui.choose(found, None) == NEWEST
    assert ui.choose(found, "ranks") == OLDER
    assert ui.choose(found, "Default") == FOREIGN
    assert ui.choose([FOREIGN], None) == FOREIGN


def test_an_unknown_sweep_is_answered_with_those_that_there_are() -> None:
    """The names to choose from stand in the message."""
    with pytest.raises(Failure, match="no sweep 'rank'") as caught:
        ui.choose([NEWEST, OLDER, FOREIGN], "rank")
    assert "shapes, ranks" in caught.value.remedy
    with pytest.raises(Failure, match="no experiment"):
        ui.choose([], None)


def test_nothing_logged_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a database no server is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert ui.command.callback is not None
    with pytest.raises(Failure, match=r"nothing has been logged to lora-lab-runs.mlflow\.db"):
        ui.command.callback(None, 5000, None, True)
    assert list(tmp_path.iterdir()) == []


def test_a_server_of_somebody_elses_is_only_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the address of a server nothing is started: the browser goes to the runs there."""
    opened: list[str] = []
    monkeypatch.setattr(server, "experiments", lambda address: [NEWEST, OLDER])
    monkeypatch.setattr(ui.webbrowser, "open", opened.append)
    assert ui.command.callback is not None
    assert ui.command.callback("ranks", 5000, "http://there:5000/", False) == 0
    assert opened == ["http://there:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=lora-lab"]
    assert opened[0] in capsys.readouterr().out


def test_a_port_that_is_taken_is_passed_over() -> None:
    """The next free port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) <= port + 100
