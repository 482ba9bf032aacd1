"""The executor that trains in the sweep's own process, one task at a time."""

from collections import deque
from pathlib import Path
from typing import Literal

from lora_lab.sweep.roles import Message, Surroundings, Task
from lora_lab.sweep.worker import Worker


class InProcess:
    """Trains a task when it is started; what happened is told afterwards."""

    slots = 1
    on_device = 1

    def __init__(self, sweep_name: str, sweep_folder: Path, around: Surroundings) -> None:
        """`around` trains and records; its watch is not asked."""
        self._messages: deque[Message] = deque()
        self._worker = Worker(sweep_name, sweep_folder, around.train, around.open_recorder, self._messages.append)

    def start(self, task: Task) -> None:
        """Train the task. Raises `Failure` where the sweep's folder cannot be written."""
        self._worker.work(task)

    def next(self, seconds: float) -> Message | None:
        """Return what happened next."""
        return self._messages.popleft() if self._messages else None

    def stop(self) -> None:
        """Nothing is ever being trained when this is asked."""

    def close(self, how: Literal["kindly", "now"]) -> None:
        """There is nobody to let go."""
