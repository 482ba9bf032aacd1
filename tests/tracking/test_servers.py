"""Runs that are tracked on a real MLflow server, which goes away, answers with errors, or takes its time."""

import http.client
import http.server
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from lora_lab.tracking import ship
from lora_lab.tracking.events import Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.tracking.recorder import Tracker
from lora_lab.tracking.server import Server, authorization, free_port, start_server
from lora_lab.tracking.ship import Shipper
from lora_lab.tracking.target import Target, choose_target, without_secrets

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of themselves
STEPS = 50


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    logging.getLogger("mlflow").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow's own server over an SQLite database."""
    folder = tmp_path_factory.mktemp("server")
    started = start_server(choose_target(f"sqlite:///{folder}/mlflow.db"), free_port(5500))
    yield started
    started.stop()


@dataclass
class Way:
    """What lies between us and the server, and how it behaves: "well", "error" (500) or "slow"."""

    mood: str = "well"
    asked: int = 0
    seconds: float = 5.0
    times: list[float] = field(default_factory=list)


@pytest.fixture
def way(server: Server) -> Iterator[tuple[Way, str]]:
    """A way to the server that can be made bad, and its address."""
    state = Way()
    host = server.address.removeprefix("http://")

    class Handler(http.server.BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            state.asked += 1
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.mood == "slow":
                time.sleep(state.seconds)
            if state.mood == "error":
                self.send_error(500)
                return
            there = http.client.HTTPConnection(host)
            there.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = there.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = _pass_on

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    between = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=between.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{between.server_port}"
    between.shutdown()
    between.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(ship, "LONGEST_PAUSE_SECONDS", 0.2)


def record_run(tracker: Tracker, folder: Path) -> float:
    """Record a run of 50 steps with a picture; return the seconds that it took."""
    began = time.monotonic()
    record = tracker.recorder(folder)
    record(RunStarted(name=folder.name, params={"net_dim": "8"}))
    for step in range(STEPS):
        record(Metrics(step=step, values={"loss": 1 / (step + 1)}, time_ms=1_700_000_000_000 + step))
    Image.new("RGB", (16, 16), (200, 0, 0)).save(folder / "p.png")
    record(SamplePicture(step=STEPS, key="sample_00", path=folder / "p.png"))
    record(RunEnded(status="FINISHED"))
    record.close()
    return time.monotonic() - began


def check_run(address: str, experiment: str) -> None:
    """Assert that the server has the run once, with everything in its order."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert (run.info.status, run.data.params) == ("FINISHED", {"net_dim": "8"})
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(step, 1 / (step + 1)) for step in range(STEPS)]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2, "one picture and its smaller copy"
    assert "contact_sheet.png" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_server_gets_everything(server: Server, tmp_path: Path) -> None:
    """With a server in place of a database nothing is missing, and artifacts go where the server keeps them."""
    with Tracker(Target(server.address), "plain", pytest.fail, Shipper) as tracker:
        record_run(tracker, tmp_path / "run")
        assert tracker.close(120)
    check_run(server.address, "plain")


@pytest.mark.parametrize("mood", ["error", "slow"])
def test_a_server_in_trouble_costs_nothing(mood: str, way: tuple[Way, str], server: Server, tmp_path: Path) -> None:
    """While it answers 500, or after seconds, recording takes no time; later everything arrives, once and in order."""
    state, address = way
    state.mood = mood
    state.seconds = 1.0
    warnings: list[str] = []
    tracker = Tracker(Target(address), mood, warnings.append, Shipper)
    assert record_run(tracker, tmp_path / "run") < 1, "50 steps that wait for nobody"
    while state.asked < 2:
        time.sleep(0.01)
    state.mood = "well"
    assert tracker.close(120)
    check_run(server.address, mood)
    assert all("does not answer" in line for line in warnings)
    assert len(warnings) <= 1


def test_a_server_that_is_away_gets_everything_later(server: Server, tmp_path: Path) -> None:
    """Nobody answers while the run is trained; a later process ships what has been kept."""
    port = free_port(5800)
    warnings: list[str] = []
    away = Target(f"http://user:geheim@127.0.0.1:{port}")
    tracker = Tracker(away, "away", warnings.append, Shipper)
    record_run(tracker, tmp_path / "run")
    assert not tracker.close(60)
    assert "does not answer" in warnings[0]
    assert "lora-lab sync" in warnings[-1]
    assert "geheim" not in "".join(warnings)
    with Tracker(Target(server.address), "away", pytest.fail, Shipper) as later:
        later.catch_up(tmp_path / "run")
        assert later.close(120)
    check_run(server.address, "away")


def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords in addresses, in their queries and in the environment are taken out; what is left still tells."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    said = without_secrets("Bearer t0ken for postgresql://me:geheim@db:5432/x?sslmode=on&password=pw1 failed")
    assert said == "Bearer *** for postgresql://db:5432/x?sslmode=on&password=*** failed"
    assert Target("http://me:geheim@host:5000").shown == "http://host:5000"
    assert Target("postgresql://host/x?password=pw1").shown == "postgresql://host/x"


def test_the_server_is_asked_with_the_user_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password of an address become a header; without, those of the environment, or its token."""
    assert authorization("http://a%40b:c@h") == {"Authorization": "Basic YUBiOmM="}
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert authorization("http://h") == {"Authorization": "Bearer t0ken"}
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "a")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "b")
    assert authorization("http://h") == {"Authorization": "Basic YTpi"}


DRIVER = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), None)
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL server of our own on a free port; the address of its database."""
    port, data = free_port(5600), tmp_path / "data"
    root = os.geteuid() == 0  # PostgreSQL refuses to be run by root
    runner = ["runuser", "-u", "postgres", "--"] if root else []
    if root:
        shutil.chown(tmp_path, "postgres")
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(0o755)
    programs = POSTGRES[-1].parent
    start = ["-D", str(data), "-o", f"-p {port} -k {tmp_path} -h 127.0.0.1", "-l", str(tmp_path / "log"), "-w"]
    subprocess.run([*runner, str(programs / "initdb"), "-D", str(data), "-U", "me", "-A", "trust"], check=True)
    subprocess.run([*runner, str(programs / "pg_ctl"), *start, "start"], check=True)
    yield f"postgresql+{DRIVER}://me:geheim@127.0.0.1:{port}/postgres"
    subprocess.run([*runner, str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"], check=True)


@pytest.mark.postgres
@pytest.mark.skipif(not POSTGRES or DRIVER is None, reason="no PostgreSQL here, or no psycopg")
def test_a_server_on_postgresql(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose runs lie in PostgreSQL gets everything too, and its password stays out of the process list."""
    monkeypatch.chdir(tmp_path)
    started = start_server(Target(postgres, tmp_path / "artifacts"), free_port(5650))
    try:
        assert "geheim" not in " ".join(map(str, started.process.args))  # type: ignore[arg-type]
        with Tracker(Target(started.address), "postgres", pytest.fail, Shipper) as tracker:
            record_run(tracker, tmp_path / "run")
            assert tracker.close(120)
        check_run(started.address, "postgres")
    finally:
        started.stop()
