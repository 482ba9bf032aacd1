"""MLflow's own server over a local database, and the few questions that its REST interface is asked."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_lab.failure import Failure
from lora_lab.tracking.target import Target, alone, database_of, without_secrets
from lora_lab.tracking.view import LAST_RUN_TAG, VIEW_TAG

HOST = "127.0.0.1"
START_SECONDS = 120.0
PORTS_TRIED = 100
LIGHT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 13 processes and a gigabyte less
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class Experiment:
    """An experiment as the server knows it; `has_view` says that it carries our view of the runs page."""

    id: str
    name: str
    has_view: bool
    last_ms: int


@dataclass(frozen=True)
class Server:
    """A server that was started here; `stop` ends it with all its processes."""

    address: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the server, gently first."""
        for strong in (False, True):
            if self.process.poll() is not None and not strong:
                break
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _signal(self.process, strong=strong)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
                break


def free_port(wanted: int) -> int:
    """Return the first free port from `wanted` on; raises `Failure` where a hundred are taken."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise Failure(f"no port from {wanted} on is free", "give another with --port")


def start_server(target: Target, port: int) -> Server:
    """Start MLflow's server for a local database and wait until it answers; raises `Failure` where it does not."""
    database = database_of(target)
    home = database.parent if database is not None else Path.cwd()
    log = home / "mlflow-server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    if target.artifact_root is not None:
        command += ["--default-artifact-root", target.artifact_root.as_uri()]
    with alone(target), log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # the address of a database may hold a password, and a command line is everybody's to read
            env={**os.environ, **LIGHT, "MLFLOW_BACKEND_STORE_URI": target.uri},
            start_new_session=os.name == "posix",  # so that all its processes can be ended together
        )
        server = Server(f"http://{HOST}:{port}", process)
        try:
            _wait(server, log)
        except BaseException:
            server.stop()
            raise
    return server


def _wait(server: Server, log: Path) -> None:
    """Return when the server answers; raises `Failure` where it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.address}/health", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise Failure(
        f"MLflow's server did not start: {lines[-1] if lines else 'it said nothing'}", f"all of it is in {log}"
    )


def experiments(address: str) -> list[Experiment]:
    """Return the server's experiments, the one with the newest run first; raises `Failure` where it does not answer."""
    bare = without_secrets(address).rstrip("/")
    request = urllib.request.Request(
        f"{bare}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 1000, "order_by": ["creation_time DESC"]}).encode(),
        headers={"Content-Type": "application/json", **authorization(address)},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = json.load(answer)
    except (OSError, ValueError) as error:
        raise Failure(f"{bare} does not answer as an MLflow server: {error}", "look at the address") from error
    found = [_experiment(entry) for entry in body.get("experiments", [])]
    return sorted(found, key=lambda experiment: -experiment.last_ms)


def authorization(address: str) -> dict[str, str]:
    """Return the header that lets us in: user and password of the address, else what MLFLOW_TRACKING_* say."""
    parts = urllib.parse.urlsplit(address)
    user, password = urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or "")
    if not user:
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    if user:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    tags = {tag["key"]: tag["value"] for tag in entry.get("tags", [])}
    last = tags.get(LAST_RUN_TAG, "")
    last_ms = int(last) if last.isdecimal() else 0
    return Experiment(str(entry["experiment_id"]), str(entry["name"]), VIEW_TAG in tags, last_ms)


def _signal(process: subprocess.Popen[bytes], *, strong: bool) -> None:
    if sys.platform == "win32":
        process.kill() if strong else process.terminate()
    else:
        os.killpg(process.pid, signal.SIGKILL if strong else signal.SIGTERM)
