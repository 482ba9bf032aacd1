"""Processes that end without a word: kill -9 of a run, of workers, of a whole sweep, of the tracking server."""

import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from faults.ground import STEPS, Ground, Result, judged, one_line

KILL_SWEEP = Path(__file__).parents[1] / "kill_sweep.py"


def a_run(folder: Path, kills: int) -> Result:
    """kill -9 of a run, from outside, at random moments, until it has been killed often enough; then to its end."""
    steps = max(STEPS, 2 * kills)
    calm = Ground(folder / "calm", {"max_steps": steps, "save_every_n_steps": 3})
    began = time.monotonic()
    assert calm.train()[0] == 0
    whole = time.monotonic() - began
    ground = Ground(folder / "killed", {"max_steps": steps, "save_every_n_steps": 3})
    rng, done, lost = random.Random(0), 0, 0
    where: list[int] = []
    while done < kills and not ground.final.exists():
        process = ground.start()
        known = ground.steps_told()
        while process.poll() is None and ground.steps_told() <= known + 1 and rng.random() > 0.02:
            time.sleep(rng.uniform(0, whole / 40))
        time.sleep(rng.uniform(0, 0.05))
        before = ground.saved()
        process.kill()
        process.communicate()
        done += 1
        where.append(ground.steps_told())
        after = ground.saved()
        lost += sum(after.get(name) != digest for name, digest in before.items()) + len(ground.broken())
    code, said = ground.train()
    same = code == 0 and ground.final.read_bytes() == calm.final.read_bytes()
    twice = ground.told_twice()
    good = same and not twice and ground.steps_told() == steps and not lost
    words = (
        f"{done} kills between step 0 and {max(where)}; its LoRA is {'the same to the byte' if same else 'DIFFERENT'}"
    )
    words += f", {steps} steps told once" if not twice else f", {twice} numbers told TWICE"
    return Result(words if code == 0 else one_line(said), lost, good)


def a_sweep(folder: Path, kills: int) -> Result:
    """kill -9 of a sweep, of its workers or of both, at random moments: `kill_sweep.py`."""
    runs = 4 if kills < 10 else 16
    command = [sys.executable, str(KILL_SWEEP), "--runs", str(runs), "--steps", "20", "--kills", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = re.findall(r"^(?:killed|MLflow).*$", done.stdout, re.MULTILINE)
    reached = len(re.findall(r"kill \d+: (?:sweep|worker|all)", done.stdout))
    words = "; ".join(told) or done.stderr[-200:]
    return Result(f"{reached} kills hit; {words}", 0 if done.returncode == 0 else 1, done.returncode == 0)


def the_server(folder: Path, kills: int) -> Result:
    """kill -9 of the MLflow server while a run tells it things; it is started again after the run, then synced."""
    address, server = start_server(folder)
    ground = Ground(folder / "run")
    process = ground.start("--tracking-uri", address, at=[3], do="wait", folder=str(ground.folder))
    try:
        until(lambda: (ground.folder / "waiting").exists() or process.poll() is not None)
        end(server)
        (ground.folder / "waiting").unlink(missing_ok=True)
        said, _ = process.communicate(timeout=180)
        address, server = start_server(folder, int(address.rsplit(":", 1)[1]))
        sync = [sys.executable, "-m", "lora_lab", "sync", str(ground.out), "--tracking-uri", address]
        synced = subprocess.run(sync, capture_output=True, text=True, check=False)
        told = numbers_in(address)
    finally:
        end(server)
    good = process.returncode == 0 and synced.returncode == 0 and told == list(range(1, STEPS + 1))
    words = f"trained to its end; after sync MLflow has {len(told)} of {STEPS} losses, each once" if good else ""
    return judged(ground, said, {}, good, words or f"{one_line(said)}; {synced.stdout[-100:]}; losses {told}")


MAKES = "from lora_lab.tracking.mlflow_writer import MlflowWriter; from lora_lab.tracking.target import choose_target\n"
MAKES += "import pathlib; print(MlflowWriter(choose_target(None, pathlib.Path())).experiment('one'))"


def a_new_database(folder: Path, kills: int) -> Result:
    """kill -9 of who makes MLflow's database, in the midst of its migrations; then it is opened."""
    rng, hit = random.Random(0), 0
    partial = folder / ".mlflow.db.partial" / "mlflow.db"
    folder.mkdir()
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", MAKES], cwd=folder, stderr=subprocess.DEVNULL)
        until(lambda process=process: partial.exists() or process.poll() is not None)
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        process.wait()
        hit += partial.exists()
        if (folder / "mlflow.db").exists():  # it was quicker
            break
    done = subprocess.run([sys.executable, "-c", MAKES], cwd=folder, capture_output=True, text=True, check=False)
    good = hit > 0 and done.returncode == 0 and not partial.parent.exists()
    return Result(f"{hit} kills hit; then {'opened' if good else done.stderr[-200:]}", 0, good)


def start_server(folder: Path, port: int = 0) -> tuple[str, "subprocess.Popen[bytes]"]:
    """Start MLflow's server and return its address when it answers."""
    import urllib.request

    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    until(answers)
    return address, server


def end(server: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a server with its processes."""
    try:
        everyone = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
    except psutil.NoSuchProcess:
        return
    for process in everyone:
        process.kill()
    server.wait()


def numbers_in(address: str) -> list[int]:
    """Return the steps of every loss that MLflow has of the one run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return sorted(point.step for run in found for point in client.get_metric_history(run.info.run_id, "loss"))


def until(true: "object", seconds: float = 120.0) -> None:
    """Wait until a function says yes."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.05)
