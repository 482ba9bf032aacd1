"""Clocks, memory, servers that hang, two at once, and people and clusters that want an end."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from faults.ground import STEPS, Ground, Result, judged, one_line
from faults.kills import until
from faults.terminals import Terminal

GRID = """\
name: two
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
  max_steps: {steps}
parameters:
  net_dim: [2, 3, 4, 5]
"""


def clock_back(folder: Path, _: int) -> Result:
    """The clock is set back by a year in the middle of a run."""
    return _clock(folder, -365)


def clock_on(folder: Path, _: int) -> Result:
    """The clock is set forward by ten years in the middle of a run."""
    return _clock(folder, 3650)


def _clock(folder: Path, days: int) -> Result:
    ground = Ground(folder)
    code, said = ground.train(at=[2], do="clock", days=days)
    took = re.search(r"trained \d+ steps in (\S+ \w+)", said)
    again, said_again = Ground(folder, {"learning_rate": 2e-3}).train()
    logs = len([*ground.out.glob("lora-lab-logs/*/events.jsonl")])
    good = code == again == 0 and took is not None and not took[1].startswith("-") and logs == 2
    words = f"trained in {took[1]}; the next run has a record of its own" if took and good else one_line(said)
    return judged(ground, said + said_again, {}, good, words)


def out_of_memory(folder: Path, _: int) -> Result:
    """The workers of a sweep may have no more memory than they hold, while four runs train together."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grid.yaml").write_text(GRID.format(steps=20))
    sweep = _sweep(folder, "--pack", "4", "--no-tracking")
    until(lambda: [*folder.glob("out/two/run*/events.jsonl")] or sweep.poll() is not None)
    limited = 0
    for process in psutil.Process(sweep.pid).children(recursive=True) if sweep.poll() is None else []:
        try:
            held = process.memory_info().vms
            resource.prlimit(process.pid, resource.RLIMIT_AS, (held, held))
            limited += 1
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    said, _ = sweep.communicate(timeout=400)
    again, more = _finish(_sweep(folder, "--no-tracking"))
    done = _finished(folder)
    good = limited > 0 and again == 0 and done == 4 and "Traceback" not in said + more
    line = next((line for line in said.splitlines() if "memory" in line or "process" in line), one_line(said))
    return Result(f"{line.strip()[:150]}; in the end {done} of 4 runs finished", 0 if done == 4 else 4 - done, good)


def hung_server(folder: Path, _: int) -> Result:
    """The MLflow server takes the connection and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        ground = Ground(folder)
        began = time.monotonic()
        code, said = ground.train("--tracking-uri", f"http://127.0.0.1:{listening.getsockname()[1]}")
        seconds = time.monotonic() - began
    good = code == 0 and ground.final.exists() and ground.steps_told() == STEPS
    line = next((line for line in said.splitlines() if "has not got everything" in line), one_line(said))
    return judged(
        ground, said, {}, good and "sync" in line, f"trained to its end in {seconds:.0f} s in all; {line[:90]}"
    )


def two_runs(folder: Path, _: int) -> Result:
    """Two processes train into one output folder under one name."""
    ground = Ground(folder)
    first = ground.start(at=[2], do="wait", folder=str(ground.folder))
    until(lambda: (ground.folder / "waiting").exists() or first.poll() is not None)
    code, said = ground.train()
    (ground.folder / "waiting").unlink(missing_ok=True)
    told, _ = first.communicate(timeout=200)
    good = code == 2 and "another process is training" in said and first.returncode == 0 and ground.final.exists()
    return judged(ground, said + told, {}, good, f"the second: {one_line(said)}; the first finished")


def two_sweeps(folder: Path, _: int) -> Result:
    """Two sweeps of one grid in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grid.yaml").write_text(GRID.format(steps=6))
    first, second = _sweep(folder), _sweep(folder)
    ends = [_finish(first), _finish(second)]
    records = [json.loads(path.read_text()) for path in folder.glob("out/two/run*/run.json")]
    done = [record["name"] for record in records if record["status"] == "FINISHED"]
    good = [code for code, _ in ends] == [0, 0] and sorted(done) == sorted(set(done)) and len(done) == 4
    words = (
        f"{len(done)} of 4 runs finished, {len(done) - len(set(done))} trained twice, exit codes {[e[0] for e in ends]}"
    )
    return Result(words, 0 if good else 4 - len(set(done)), good)


def sigterm_run(folder: Path, _: int) -> Result:
    """A cluster's SIGTERM to a run."""
    return _signalled(folder, "SIGTERM", [2], 143, "stopped after step")


def sighup(folder: Path, _: int) -> Result:
    """SIGHUP, as when an ssh connection ends."""
    return _signalled(folder, "SIGHUP", [2], 129, "stopped after step")


def ctrl_c_twice(folder: Path, _: int) -> Result:
    """Ctrl-C, and again while the step goes on."""
    ground = Ground(folder, {"gradient_acc_steps": 2})
    code, said = ground.train(at=[4, 5], do="signals", signal="SIGINT")
    before = ground.saved()
    again, more = ground.train()
    good = code == 130 and again == 0 and "interrupted" in said
    return judged(ground, said + more, before, good, f"exit code {code}: {one_line(said)}; then went on and finished")


def _signalled(folder: Path, name: str, at: list[int], wanted: int, words: str) -> Result:
    ground = Ground(folder)
    code, said = ground.train(at=at, do="signals", signal=name, every_step=False)
    before = ground.saved()
    again, more = ground.train()
    good = code == wanted and words in said and "going on after step" in more and again == 0
    return judged(ground, said + more, before, good, f"exit code {code}: {one_line(said)}; then went on and finished")


def sigterm_sweep(folder: Path, _: int) -> Result:
    """A cluster's SIGTERM to a sweep, all its processes at once."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grid.yaml").write_text(GRID.format(steps=60))
    sweep = _sweep(folder, "--no-tracking")
    logs = "out/two/run*/events.jsonl"
    until(lambda: any('"loss"' in log.read_text() for log in folder.glob(logs)) or sweep.poll() is not None)
    for process in [*psutil.Process(sweep.pid).children(recursive=True), psutil.Process(sweep.pid)]:
        process.send_signal(signal.SIGTERM)
    code, said = _finish(sweep)
    again, more = _finish(_sweep(folder, "--no-tracking"))
    done = _finished(folder)
    on = "went on" if "going on after step" in more else "began anew"
    good = code == 143 and again == 0 and done == 4 and on == "went on" and "Traceback" not in said + more
    line = next((line for line in said.splitlines() if "interrupted:" in line), one_line(said))
    return Result(f"exit code {code}: {line}; the same command {on}: {done} of 4 finished", 4 - done, good)


def closed_terminal(folder: Path, _: int) -> Result:
    """The window that a run prints to is closed: SIGHUP, and nothing takes what it prints."""
    ground = Ground(folder)
    given = json.dumps({"at": [2], "do": "wait", "folder": str(folder), "every_step": False})
    driver = str(Path(__file__).parent / "driver.py")
    environment = {"SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1", "LORA_LAB_CACHE": str(folder / "cache")}
    command = [sys.executable, driver, given, "train", "config.json", "--no-tracking"]
    window = Terminal(command, folder, environment)
    window.read_until((folder / "waiting").exists)
    window.close()
    time.sleep(0.5)
    (folder / "waiting").unlink(missing_ok=True)
    code = window.process.wait(120)
    before = ground.saved()
    kept = [path.name for path in ground.out.glob("*-unfinished-state")]
    again, more = ground.train()
    good = code == 129 and bool(kept) and "going on after step" in more and again == 0
    return judged(ground, more, before, good, f"exit code {code}; {kept} kept; then went on and finished")


def _sweep(folder: Path, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lora_lab", "sweep", "grid.yaml", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": "1", "LORA_LAB_CACHE": str(folder / "cache")},
        start_new_session=True,
    )


def _finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, _ = process.communicate(timeout=400)
    return process.returncode, said


def _finished(folder: Path) -> int:
    records = [json.loads(path.read_text()) for path in folder.glob("out/two/run*/run.json")]
    return len({record["name"] for record in records if record["status"] == "FINISHED"})
