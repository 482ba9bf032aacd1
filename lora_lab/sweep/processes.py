"""The executor that trains in processes of this machine: what one of them breaks costs its own task only.

A worker is a process that reads tasks from its standard input, a line each, and writes messages to its standard output.
It stays for many tasks, so that libraries and the base model are loaded once. When its input ends, because the sweep
has ended or was killed, it keeps the states of what it is at and goes.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from lora_lab import memory
from lora_lab.failure import Failure
from lora_lab.sweep.roles import Message, Over, Task
from lora_lab.sweep.wire import read_message, task_line

LOGS = ".workers"
"""Below the sweep's folder: what workers write to their standard error."""

PATIENCE_SECONDS = 60.0
"""How long a worker may take to go by itself."""

LINES_SHOWN = 400
"""Characters of a dead worker's last words that are repeated."""


@dataclass
class _Process:
    """A worker and what it is at."""

    process: subprocess.Popen[str]
    log: Path
    slot: int
    killed_before: int  # processes that the kernel had ended for lack of memory when this one began
    task: Task | None = None
    ear: threading.Thread | None = None

    @property
    def tasks(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin


class Processes:
    """Workers of this machine, one for each of `slots`: what a slot adds to the environment, a GPU of its own."""

    def __init__(
        self,
        command: Sequence[str],
        sweep_folder: Path,
        slots: Sequence[Mapping[str, str]],
        name: str = "worker",
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`command` starts a worker. Workers are started when there is a task for them; their logs are `name`N.log."""
        self._stop_signal = stop_signal
        self._command = list(command)
        self._name = name
        self._folder = sweep_folder / LOGS
        self._environments = [dict(slot) for slot in slots]
        self._workers: dict[int, _Process] = {}
        self._messages: queue.Queue[tuple[_Process, Message | None]] = queue.Queue()

    @property
    def slots(self) -> int:
        """Return how many tasks are trained at a time."""
        return len(self._environments)

    @property
    def on_device(self) -> int:
        """Return how many of them share a GPU, or the main memory."""
        return most_on_one(self._environments)

    def start(self, task: Task) -> None:
        """Give the task to a free worker, a new one where there is none. Raises `Failure` where none can be started."""
        free = [worker for worker in self._workers.values() if worker.task is None and worker.process.poll() is None]
        worker = free[0] if free else self._new()
        worker.task = task
        with contextlib.suppress(OSError):  # it has died: its end is told by the thread that listens to it
            worker.tasks.write(task_line(task))
            worker.tasks.flush()

    def next(self, seconds: float) -> Message | None:
        """Return what a worker said next; its death, where it had not ended its task, is said as `Over`."""
        try:
            worker, message = self._messages.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            self._workers.pop(worker.slot, None)
            task, worker.task = worker.task, None
            return None if task is None else Over(task, self._last_words(worker), _was_for_memory(worker))
        if isinstance(message, Over):
            worker.task = None
        return message

    def stop(self) -> None:
        """Ask the workers to keep states and end their tasks."""
        for worker in self._workers.values():
            if worker.task is not None:
                with contextlib.suppress(OSError):
                    worker.process.send_signal(self._stop_signal)

    def close(self, how: Literal["kindly", "now"]) -> None:
        """Close the workers' inputs and wait for them; "now" kills them."""
        workers = list(self._workers.values())
        for worker in workers:
            with contextlib.suppress(OSError):
                worker.process.kill() if how == "now" else worker.tasks.close()
        end = time.monotonic() + PATIENCE_SECONDS
        for worker in workers:
            try:
                worker.process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                worker.process.kill()
            if worker.ear is not None:
                worker.ear.join()

    def _new(self) -> _Process:
        slot = next(number for number in range(self.slots) if number not in self._workers)
        log = self._folder / f"{self._name}{slot + 1}.log"
        killed = memory.killed_for_memory()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as errors:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, **self._environments[slot]},
                    start_new_session=True,  # Ctrl-C is the sweep's to hear, which passes it on
                )
        except OSError as error:
            raise Failure(f"no worker can be started: {error.strerror}", f"see {self._folder}") from error
        worker = _Process(process, log, slot, killed)
        self._workers[slot] = worker
        worker.ear = threading.Thread(target=self._listen, args=(worker,), daemon=True, name=f"worker{slot + 1}")
        worker.ear.start()
        return worker

    def _listen(self, worker: _Process) -> None:
        """Pass on what a worker says until it ends."""
        assert worker.process.stdout is not None
        with worker.process.stdout as lines:
            for line in lines:
                message = read_message(line, worker.task) if worker.task is not None else None
                if message is not None:
                    self._messages.put((worker, message))
        worker.process.wait()
        with contextlib.suppress(OSError):
            worker.tasks.close()
        self._messages.put((worker, None))

    def _last_words(self, worker: _Process) -> str:
        """Return why a worker ended, as far as can be known."""
        code = worker.process.returncode
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            hint = " (the system's way to end what takes too much memory)" if -code == signal.SIGKILL else ""
            return f"its process was ended by {name}{hint}"
        with contextlib.suppress(OSError):
            said = worker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if said:
                return f"its process ended with code {code}: {said[-1][-LINES_SHOWN:]}"
        return f"its process ended with code {code}"


def most_on_one(slots: Sequence[Mapping[str, str]]) -> int:
    """Return how many slots share one GPU, or without any the main memory."""
    return max(Counter(slot.get("CUDA_VISIBLE_DEVICES") for slot in slots).values(), default=1)


def _was_for_memory(worker: _Process) -> bool:
    """Return whether the kernel has ended a worker to have its memory back, or its own allocator has."""
    code = worker.process.returncode
    if code == -getattr(signal, "SIGKILL", 9):
        return memory.killed_for_memory() > worker.killed_before
    with contextlib.suppress(OSError):
        said = worker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return bool(said) and memory.ran_out(RuntimeError(said[-1]))
    return False
