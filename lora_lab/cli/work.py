"""A worker of a sweep: `python -m lora_lab.cli.work`. Tasks come in on the standard input, messages go out.

It is started by the sweep, on this machine; nobody else needs it.
"""

import _thread
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from lora_lab.cli import be_silent
from lora_lab.cli.train import built_in_probe, built_in_trainer
from lora_lab.failure import Failure
from lora_lab.memory import no_last_collection
from lora_lab.printable import printable
from lora_lab.sweep.roles import Message, Warned
from lora_lab.sweep.wire import message_line, read_task
from lora_lab.sweep.worker import Worker
from lora_lab.tracking.recorder import Tracker


def main() -> int:
    """Train the tasks of the standard input; the argument is what `order` returned."""
    be_silent()  # it may have been started on another machine
    no_last_collection()
    given = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get among the messages
    stop, deaf = _signals(given.get("job", False))
    signal.signal(stop, _interrupt)
    for number in deaf:
        signal.signal(number, signal.SIG_IGN)
    lock = threading.Lock()

    def tell(message: Message) -> None:
        with lock:
            out.write(message_line(message))
            out.flush()

    tracker = Tracker(None, given["name"], lambda line: tell(Warned(line)))
    folder = Path(given["folder"])
    tasks = _tasks(stop)
    try:
        worker = None
        for line in tasks:
            worker = worker or Worker(
                given["name"],
                folder,
                built_in_trainer(),
                lambda run: tracker.recorder(run, folder),
                tell,
                built_in_probe(),
            )
            worker.work(read_task(line))
    except Failure as failure:
        print(f"error: {printable(str(failure))}", file=sys.stderr)  # noqa: T201 -- the worker's log
        return 2
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


def order(name: str, folder: Path, *, job: bool = False) -> list[str]:
    """Return the command line of a worker for the sweep `name` below `folder`; `job`: in a cluster's job."""
    given = {"name": name, "folder": str(folder.absolute()), "job": job}
    return [sys.executable, "-m", "lora_lab.cli.work", json.dumps(given)]


def _signals(job: bool) -> tuple[signal.Signals, list[signal.Signals]]:
    """Return the signal that asks for an end, and those that are not for this process.

    A cluster sends its signals to all processes of a job; the one that started this one passes them on, once.
    """
    if job:
        return signal.SIGINT, [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    return signal.SIGTERM, [signal.SIGINT]


def _tasks(stop: signal.Signals) -> Iterator[str]:
    """Yield the lines of the standard input. Where it ends while one is being trained, that training is stopped."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put(None)
        _thread.interrupt_main(stop)  # the sweep has gone: keep the states, and go too

    threading.Thread(target=read, daemon=True, name="tasks").start()
    while (line := lines.get()) is not None:
        yield line


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt("the sweep has ended")


if __name__ == "__main__":
    sys.exit(main())
