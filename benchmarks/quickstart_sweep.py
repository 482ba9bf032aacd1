"""The whole quickstart sweep, as a person starts it, and where its seconds went.

    python benchmarks/quickstart_sweep.py [--pack auto] [--tracking]

One process from nothing, its files in a temporary folder: until the first run has its folder, until the base's picture
is drawn, until each LoRA is there, until all is over; and the CPU seconds of the processes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="off", help="as of `lora-lab sweep`")
    parser.add_argument("--tracking", action="store_true", help="log to MLflow")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid = str(Path(__file__).parents[1] / "experiments" / "quickstart.yaml")
        command = [sys.executable, "-m", "lora_lab", "sweep", grid, "--output-folder", name, "--pack", options.pack]
        command += [] if options.tracking else ["--no-tracking"]
        print(f"load {os.getloadavg()[0]:.1f}, pack {options.pack}, tracking {'on' if options.tracking else 'off'}")
        measure(command, folder)


def measure(command: list[str], folder: Path) -> None:
    """Start the sweep, and look what is in its folder until it ends."""
    start = time.perf_counter()
    seen: dict[str, float] = {}
    cpu = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            now = time.perf_counter() - start
            cpu = max(cpu, _cpu(watched))
            if any(folder.glob("*/run*")):
                seen.setdefault("first run's folder", now)
            if any(folder.glob("*/run*/sample/*.png")):
                seen.setdefault("first picture of the base", now)
            for path in folder.glob("*/run*/*.safetensors"):
                seen.setdefault(f"LoRA of {path.parent.name}", now)
            time.sleep(0.1)
    seen["the end"] = time.perf_counter() - start
    before = 0.0
    for what, when in seen.items():
        print(f"{when:7.1f} s  (+{when - before:.1f})  {what}")
        before = when
    print(f"CPU {cpu:.1f} s, exit status {process.returncode}")


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children so far, those that have ended too; 0 where it has just gone."""
    try:
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    except psutil.Error:
        return 0.0
    ended = times[0].children_user + times[0].children_system  # those that it has waited for
    return ended + sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()
