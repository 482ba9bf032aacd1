"""Kills a sweep again and again (kill -9) and starts it again; nothing may be lost, repeated or different.

    python benchmarks/kill_sweep.py --runs 24 --steps 40 --kills 5

An undisturbed sweep on the packaged base comes first. Then the same sweep is trained in another folder, and at random
moments its process, one of its workers, or everything at once (as when the power fails) is killed. In the end every
run must have finished once, its LoRA equal to the undisturbed one's to the last byte, and MLflow must hold each run
once, with each step of its loss once. Prints a line for each kill and a table; exits with 1 where something differs.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from mlflow import MlflowClient

GRID = """\
name: kills
base:
  base_model: lora_lab:quickstart/base
  img_folder: lora_lab:quickstart/pictures
  output_folder: out
  train_resolution: 128
  min_bucket_resolution: 64
  max_bucket_resolution: 256
  mixed_precision: "no"
  unet_only: true
  batch_size: 2
  max_steps: {steps}
  validation_split: 0.2
  save_every_n_steps: {every}
parameters:
  net_dim: {ranks}
  learning_rate: [0.001, 0.0003]
"""


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Start the sweep, or what is left of it, in the background."""
    log = (folder / "log.txt").open("ab")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "lora_lab", "sweep", "grid.yaml", "--pack", "off"]  # packs differ by rounding
    with log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)


def kill(victim: str, sweep: "subprocess.Popen[bytes]") -> bool:
    """Kill the sweep, one of its workers, or both; return whether the sweep has to be started again."""
    workers = psutil.Process(sweep.pid).children(recursive=True)
    if victim == "worker" and workers:
        random.choice(workers).kill()
        return False
    for process in workers if victim == "all" else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    sweep.kill()
    sweep.wait()
    return True


def loras(folder: Path) -> dict[str, bytes]:
    """Return each finished run's LoRA by the run's name."""
    found = {}
    for record in sorted(folder.glob("out/kills/run*/run.json")):
        run = json.loads(record.read_text())
        if run["status"] == "FINISHED":
            assert run["name"] not in found, f"{run['name']} was trained twice"
            found[run["name"]] = (record.parent / run["lora"]).read_bytes()
    return found


def tracked(folder: Path, steps: int) -> list[str]:
    """Return what is wrong with what MLflow holds."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/lora-lab-runs/mlflow.db")
    experiment = client.get_experiment_by_name("kills")
    assert experiment is not None
    wrong = []
    names = []
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        if run.data.tags.get("lora_lab.run") != "train":
            continue
        names.append(run.info.run_name)
        history = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
        if sorted(history) != list(range(1, steps + 1)):
            wrong.append(f"{run.info.run_name}: {len(history)} numbers of its loss for {steps} steps")
        if run.info.status != "FINISHED":
            wrong.append(f"{run.info.run_name}: {run.info.status}")
    doubled = {name for name in names if names.count(name) > 1}
    return [*wrong, *(f"{name} is there {names.count(name)} times" for name in doubled)]


def disturbed(folder: Path, kills: int, seconds: float, rng: random.Random) -> None:
    """Train the sweep to its end, killing something `kills` times."""
    sweep = start(folder)
    for number in range(kills):
        pause = rng.uniform(1.0, max(seconds / kills, 2.0))
        time.sleep(pause)
        if sweep.poll() is not None:
            print(f"  kill {number + 1}: the sweep had ended already")
            continue
        victim = rng.choice(["sweep", "worker", "all"])
        done = len(loras(folder))
        if kill(victim, sweep):
            sweep = start(folder)
        print(f"  kill {number + 1}: {victim} after {pause:.1f} s, {done} runs were done", flush=True)
    sweep.wait()


def main() -> int:
    """Run both sweeps and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("runs", 24), ("steps", 40), ("kills", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    ranks = list(range(2, 2 + given.runs // 2))
    top = Path(tempfile.mkdtemp(prefix="kill_sweep_"))
    for name in ("calm", "killed"):
        (top / name).mkdir()
        every = max(given.steps // 3, 1)
        (top / name / "grid.yaml").write_text(GRID.format(steps=given.steps, every=every, ranks=ranks))
    began = time.monotonic()
    start(top / "calm").wait()
    seconds = time.monotonic() - began
    calm = loras(top / "calm")
    print(f"undisturbed: {len(calm)} runs in {seconds:.0f} s", flush=True)
    disturbed(top / "killed", given.kills, seconds, rng)
    killed = loras(top / "killed")
    different = [name for name in calm if killed.get(name) != calm[name]]
    wrong = tracked(top / "killed", given.steps)
    print(f"killed {given.kills} times: {len(killed)} of {len(ranks) * 2} runs finished, {len(different)} differ")
    print(f"MLflow: {'each run once, each step once' if not wrong else '; '.join(wrong)}")
    if different or wrong or len(calm) != len(ranks) * 2:
        print(f"see {top}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
