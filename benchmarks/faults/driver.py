"""`lora-lab` in a process in which something happens at one batch: python driver.py '{"at": 3, "do": "fill"}' train ...

The command line is the real one; only the moment is made sure of, and with "every_step" that states to go on from are
written after each step, as a run of hours does every minute.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DAY = 24 * 3600


def fill(given: Mapping[str, Any]) -> None:
    """Fill the disk of a folder up to `leave` bytes."""
    path = Path(given["folder"]) / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
        file.truncate(max(file.tell() - int(given.get("leave", 0)), 0))


def read_only(given: Mapping[str, Any]) -> None:
    """Let the disk of a folder become read-only, as one with errors does."""
    folder = given["folder"]  # mounted over itself: what is open for writing keeps a disk from becoming read-only
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def remove(given: Mapping[str, Any]) -> None:
    """Remove every picture."""
    for path in Path(given["folder"]).rglob("*.png"):
        path.unlink()


def rewrite(given: Mapping[str, Any]) -> None:
    """Give every picture other pixels, in place."""
    from PIL import Image, ImageOps

    for path in Path(given["folder"]).rglob("*.png"):
        with Image.open(path) as image:
            other = ImageOps.invert(image.convert("RGB"))
        other.save(path)


def truncate(given: Mapping[str, Any]) -> None:
    """Cut every picture in half."""
    for path in Path(given["folder"]).rglob("*.png"):
        os.truncate(path, path.stat().st_size // 2)


def clock(given: Mapping[str, Any]) -> None:
    """Set the clock on or back by `days`."""
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + given["days"] * DAY
    time.time_ns = lambda: nanoseconds() + given["days"] * DAY * 10**9


def signals(given: Mapping[str, Any]) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), getattr(signal, given["signal"]))


def wait(given: Mapping[str, Any]) -> None:
    """Say that the moment has come, and wait until the file is gone again."""
    path = Path(given["folder"]) / "waiting"
    path.touch()
    while path.exists():
        time.sleep(0.02)


DEEDS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    one.__name__: one for one in (fill, read_only, remove, rewrite, truncate, clock, signals, wait)
}


def main() -> None:
    """Run the command line with what is to happen."""
    from lora_lab.cli import main as lora_lab
    from lora_lab.train import step, unfinished

    given = json.loads(sys.argv[1])
    if given.get("every_step", True):
        unfinished.SECONDS, unfinished.COST = 0.0, 0
    real = step.pack_losses

    def counted(session: Any, members: Any, batch: Any) -> Any:
        if batch.index in given.get("at", ()):
            DEEDS[given["do"]](given)
        return real(session, members, batch)

    step.pack_losses = counted
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup started the other
    sys.argv = ["lora-lab", *sys.argv[2:]]
    lora_lab()


if __name__ == "__main__":
    main()
