"""The process that ships: apart from the training, patient, and never the reason that something is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_lab.tracking import apart
from lora_lab.tracking.apart import ShippingProcess
from lora_lab.tracking.events import Metrics, RunEnded, RunStarted
from lora_lab.tracking.recorder import Tracker
from lora_lab.tracking.spool import unsent
from lora_lab.tracking.target import Target, alone, choose_target

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of themselves
STEPS = 50


def record_run(tracker: Tracker, folder: Path) -> None:
    """Record a run of 50 steps."""
    record = tracker.recorder(folder)
    record(RunStarted(name=folder.name, params={"net_dim": "8"}))
    for step in range(STEPS):
        record(Metrics(step=step, values={"loss": 1 / (step + 1)}, time_ms=1_700_000_000_000 + step))
    record(RunEnded(status="FINISHED"))
    record.close()


def runs_in(target: Target, experiment: str) -> dict[str, tuple[str, list[int]]]:
    """Return the status and the steps of each run, by their names, as MLflow's client tells."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=target.uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {
        run.info.run_name: (
            run.info.status,
            [point.step for point in client.get_metric_history(run.info.run_id, "loss")],
        )
        for run in found
    }


WHOLE = ("FINISHED", list(range(STEPS)))


@pytest.mark.skipif(sys.platform == "win32", reason="priorities and signals are different there")
def test_it_steps_back_hides_the_address_and_is_replaced_when_killed(tmp_path: Path) -> None:
    """It has a low priority and the address not on its command line; where it is killed, the end sends the rest.

    A file named like a module in the folder where somebody trains does no harm.
    """
    (tmp_path / "json.py").write_text("raise SystemExit")
    target = choose_target(f"sqlite:///{tmp_path}/mlflow.db")
    warnings: list[str] = []
    tracker = Tracker(target, "e", warnings.append)
    shipping = tracker._shipper
    assert isinstance(shipping, ShippingProcess)
    assert target.uri not in " ".join(map(str, shipping._process.args))  # type: ignore[arg-type]
    record_run(tracker, tmp_path / "one")
    deadline = time.monotonic() + 600
    while os.getpriority(os.PRIO_PROCESS, shipping._process.pid) < apart.NICENESS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shipping._process.send_signal(signal.SIGTERM)  # as a cluster sends to every process of a job: not its business
    shipping._process.send_signal(signal.SIGINT)
    os.kill(shipping._process.pid, signal.SIGKILL)
    record_run(tracker, tmp_path / "two")
    assert tracker.close(300)
    assert tracker.close(300), "closing again is no harm"
    assert warnings == []
    assert runs_in(target, "e") == {"one": WHOLE, "two": WHOLE}


TRAINING = """
import json, os, sys, time
from pathlib import Path
from lora_lab.tracking.recorder import Tracker
from lora_lab.tracking.target import choose_target
sys.path.insert(0, {tests!r})
from test_apart import record_run
folder = Path({folder!r})
tracker = Tracker(choose_target({uri!r}), "e", print)
record_run(tracker, folder / "one")
print(tracker._shipper._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_a_killed_training_told_still_arrives(tmp_path: Path) -> None:
    """kill -9 of the training, right after it has told of its steps: the process ships them, and ends."""
    target = choose_target(f"sqlite:///{tmp_path}/mlflow.db")
    code = TRAINING.format(tests=str(Path(__file__).parent), folder=str(tmp_path), uri=target.uri)
    environment = {**os.environ, "PYTHONPATH": str(Path(apart.__file__).parents[2])}
    training = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert training.stdout is not None
    shipping = int(training.stdout.readline())
    training.kill()
    training.communicate()
    deadline = time.monotonic() + 600
    while _is_there(shipping):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert unsent(tmp_path / "one", target.key) == 0
    assert runs_in(target, "e") == {"one": WHOLE}


def _is_there(process: int) -> bool:
    """Return whether a process lives; one that nobody waits for stays as a zombie in some containers."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"http://user:geheim@127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_hangs_costs_the_end_its_patience(
    deaf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing takes the time that it was given; what was told stays, no process does, and no password is shown."""
    monkeypatch.setattr(apart, "PATIENCE_SECONDS", 0.5)
    warnings: list[str] = []
    tracker = Tracker(Target(deaf), "e", warnings.append)
    record_run(tracker, tmp_path / "one")
    began = time.monotonic()
    assert not tracker.close(2)
    assert time.monotonic() - began < 60
    assert "lora-lab sync" in warnings[-1]
    kept = [path.read_text() for path in (tmp_path / "one").iterdir()]
    assert "geheim" not in "".join([*warnings, *kept])
    assert tracker._shipper._process.poll() is not None  # type: ignore[union-attr]
    assert unsent(tmp_path / "one", Target(deaf).key) == (tmp_path / "one" / "events.jsonl").stat().st_size


def stubborn_process(folder: Path, monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """Have a process that never ends by itself, unless it is hasty, take the place of the one that ships."""
    (folder / "fake.py").write_text(FAKE.format(log=str(folder / "told.jsonl")))
    real = subprocess.Popen
    monkeypatch.setattr(apart, "PATIENCE_SECONDS", patience)
    monkeypatch.setattr(
        apart.subprocess, "Popen", lambda words, **rest: real([sys.executable, str(folder / "fake.py")], **rest)
    )


def test_the_hasty_one_takes_over_and_passes_everything_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the patient process is not done in time another takes its place, and knows all the folders."""
    stubborn_process(tmp_path, monkeypatch, patience=5.0)
    warnings: list[str] = []
    shipping = ShippingProcess(Target("http://there"), warnings.append)
    for name in ("a", "b", "a"):
        shipping.add(tmp_path / name)
    assert shipping.close(60)
    orders = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [order.get("hasty") for order in orders if "uri" in order] == [False, True]
    assert orders[-2]["add"] == [str(tmp_path / name) for name in "ab"]
    assert warnings == ["a word"]


def test_a_migration_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the database takes to be made or migrated, the process that does it is not killed meanwhile."""
    stubborn_process(tmp_path, monkeypatch, patience=0.2)
    target = choose_target(None, tmp_path)
    shipping = ShippingProcess(target, print)
    patient = shipping._process
    closing = threading.Thread(target=shipping.close, args=(None,))
    with alone(target):  # as the process has it while it migrates
        closing.start()
        closing.join(2)
        assert patient.poll() is None
    closing.join(60)
    assert patient.poll() is not None
    assert shipping.close(None)


FAKE = """
import json, sys, time
for line in sys.stdin:
    order = json.loads(line)
    hasty = order.get("hasty", False) if "uri" in order else hasty
    with open({log!r}, "a") as log:
        log.write(line)
    if "close" in order and not hasty:
        time.sleep(600)
    if "close" in order:
        print(json.dumps({{"warn": "a word"}}), "no JSON", json.dumps({{"complete": True}}), sep="\\n", flush=True)
        break
"""
