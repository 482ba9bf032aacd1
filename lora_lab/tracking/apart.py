"""The process that ships: it reads spools and writes them to MLflow, so that the training shares nothing with it.

A thread would take turns with the training at Python's interpreter lock, and pay for mlflow's import there. The process
has a low priority, which it cannot give back: where the end finds much left to do on a busy machine, a hasty one takes
its place, but not while it migrates a database: MLflow could never go on. Where its parent dies, it ships what is on
the disk by then and ends. `python -m lora_lab.tracking.apart` reads orders, a JSON line each, and answers.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lora_lab.memory import no_last_collection
from lora_lab.tracking.ship import Shipper, incomplete
from lora_lab.tracking.target import Target, alone

NICENESS = 10  # of 19: beside the training it gets a tenth of a core at most, and is not starved by other people
PATIENCE_SECONDS = 5.0
"""How long the end waits for the patient process before a hasty one takes its place."""


class ShippingProcess:
    """Ships every spool it is given, in the order given, in a process of its own; as `Shipper`, which works in it."""

    def __init__(self, target: Target, warn: Callable[[str], None]) -> None:
        """Start the process; it imports mlflow itself."""
        self._target = target
        self._warn = warn
        self._folders: list[Path] = []
        self._complete: bool | None = None
        self._start()

    def _start(self, *, hasty: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lora_lab.tracking.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # the folder where somebody trains may hold a file named like a module
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            **_on_its_own(hasty=hasty),
        )
        self._listener = threading.Thread(target=self._listen, name="lora-lab-tracking", daemon=True)
        self._listener.start()
        # the address may hold a password, and a command line is everybody's to read
        root = self._target.artifact_root
        place = {"uri": self._target.uri, "artifact_root": None if root is None else str(root)}
        self._tell({**place, "hasty": hasty, "add": [str(folder) for folder in self._folders]})

    def _started_again(self) -> bool:
        """Start another process where the one that there was has been killed; say whether that was so."""
        if self._process.poll() is None:
            return False
        self._end()
        self._start()
        return True

    def add(self, folder: Path) -> None:
        """Ship the spool of `folder`, now and as it grows. A parent is added before its children."""
        folder = folder.absolute()
        if folder not in self._folders:
            self._folders.append(folder)
            if not self._started_again():
                self._tell({"add": [str(folder)]})

    def close(self, timeout: float | None) -> bool:
        """Ship what is left, for at most `timeout` seconds, None for no limit; return whether all has got through."""
        if self._complete is not None:
            return self._complete
        self._started_again()
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._waited(PATIENCE_SECONDS if timeout is None else min(PATIENCE_SECONDS, timeout)):
            self._end()
            if self._complete is None:
                self._start(hasty=True)
                self._waited(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self._end()
        if self._complete is None:
            self._complete = False
            self._warn(incomplete(self._target))
        return self._complete

    def _waited(self, timeout: float | None) -> bool:
        """Ask the process to end, and return whether it has, after saying how complete the tracker is."""
        self._tell({"close": True})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
            self._listener.join(PATIENCE_SECONDS)
        return self._complete is not None

    def _end(self) -> None:
        """Let go of the process, whatever it is at, unless it makes or migrates the database: that it may end."""
        if self._process.poll() is None:
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):  # a disk that takes no lock takes no migration either
                    stack.enter_context(alone(self._target))
                self._process.kill()
                self._process.wait()
        self._listener.join(PATIENCE_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _tell(self, order: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has died, which `close` finds out
            self._process.stdin.write(f"{json.dumps(order)}\n".encode())
            self._process.stdin.flush()

    def _listen(self) -> None:
        """Pass on what the process says, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError, AttributeError):
                said = json.loads(line)
                if "warn" in said:
                    self._warn(str(said["warn"]))
                self._complete = said.get("complete", self._complete)


def _on_its_own(*, hasty: bool) -> dict[str, Any]:
    """Return how a process is started that Ctrl-C does not reach: it has to hear how the training ended."""
    if sys.platform == "win32":
        priority = 0 if hasty else subprocess.IDLE_PRIORITY_CLASS
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | priority}
    return {"start_new_session": True}


def step_back() -> None:
    """Let others go before, the training first of all."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
        with contextlib.suppress(OSError):  # Linux may weigh whole sessions against each other, and this is a new one
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def main() -> int:
    """Ship what the standard input names, until it says that it is over or ends."""
    no_last_collection()
    for number in (signal.SIGINT, signal.SIGTERM):  # a cluster sends them to every process; the parent says when
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    lock = threading.Lock()

    def tell(said: Mapping[str, object]) -> None:
        with lock, contextlib.suppress(OSError, ValueError):  # the parent has gone
            out.write(json.dumps(said) + "\n")
            out.flush()

    orders = map(json.loads, sys.stdin)
    given = next(orders)
    if not given["hasty"]:
        step_back()
    root = given["artifact_root"]
    shipper = Shipper(Target(given["uri"], None if root is None else Path(root)), lambda line: tell({"warn": line}))
    for order in itertools.chain([given], orders):
        for folder in order.get("add", ()):
            shipper.add(Path(folder))
        if "close" in order:
            break
    tell({"complete": shipper.close(None)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
