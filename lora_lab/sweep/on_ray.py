"""The executor that trains on the machines of a Ray cluster; only who wants it imports this module, and with it Ray.

On each machine stands an actor for each worker. It does what the sweep does at home: it starts a worker process, passes
tasks on to it and hands its messages back. So a crash costs one task there as here, and where the sweep or the actor
dies the worker hears its input end, keeps its states and goes. Every machine must see the sweep's folder, and the base
model and the pictures, under the same paths (a shared file system), and have lora_lab installed.
"""

import contextlib
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray._private import worker as _private
from ray.exceptions import RayActorError, RayError

from lora_lab.failure import Failure
from lora_lab.sweep.processes import PATIENCE_SECONDS, Processes
from lora_lab.sweep.roles import Message, Over, Task
from lora_lab.sweep.wire import message_line, read_message, read_task, task_line

HEAR_SECONDS = 2.0
"""How long an actor waits for its worker's next message before it says that there is none."""

KNOCK_SECONDS = 10.0
"""How long the head of a cluster may take to answer."""

LOOK_SECONDS = 1.0
"""Between two looks at which machines there are."""


def connect(address: str | None) -> None:
    """Connect to the cluster at `address` or RAY_ADDRESS; without either, start one of this machine, on loopback.

    Nothing is told to Ray's makers, and no dashboard is started. Raises `Failure` where there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _private.print_to_stdstream = lambda *lines, **options: None  # pages of a dead machine's log, amid our table
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = address or os.environ.get("RAY_ADDRESS") or None
    _knock(address)
    here: dict[str, Any] = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **here)
    except (RayError, OSError, RuntimeError, ValueError) as error:  # Ray has no exception of its own for this
        reason = str(error).strip().splitlines()
        what = f"no Ray cluster can be reached at {address}" if address else "Ray does not start"
        raise Failure(f"{what}: {reason[0] if reason else type(error).__name__}", "see ray status") from error


def _knock(address: str | None) -> None:
    """Raise `Failure` where nobody listens at an address: Ray itself would try for six minutes."""
    host, _, port = (address or "").removeprefix("[").replace("]", "").rpartition(":")
    if address in (None, "auto", "local"):
        return
    if not port.isdigit() or not host or "/" in host:
        raise Failure(f"{address!r} is no address of a Ray cluster", "give its head's HOST:PORT (6379), or auto")
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise Failure(f"no Ray cluster can be reached at {address}: {error}", "see ray status on its head") from error


@dataclass(frozen=True)
class Need:
    """What a worker takes of its machine, as Ray counts it; a GPU may be shared."""

    gpus: float
    cpus: int

    def fits(self, resources: Mapping[str, float]) -> int:
        """Return how many workers a machine has room for."""
        if self.gpus:
            return int(resources.get("GPU", 0.0)) * round(1 / self.gpus)
        return int(resources.get("CPU", 0.0)) // self.cpus


def need_of(machines: Sequence[Mapping[str, float]], jobs: int | None) -> Need:
    """Return what each of `jobs` workers takes: a GPU where there are any, else its part of a machine's CPUs.

    Without `jobs` there is a worker for each GPU, or for each machine. Raises `Failure` for a cluster of nothing.
    """
    gpus = sum(int(machine.get("GPU", 0.0)) for machine in machines)
    if gpus:
        return Need(1 / -(-(jobs or gpus) // gpus), 1)
    cpus = [int(machine.get("CPU", 0.0)) for machine in machines if machine.get("CPU", 0.0) >= 1]
    if not cpus:
        raise Failure("the Ray cluster has neither GPUs nor CPUs", "see ray status")
    each = -(-(jobs or len(cpus)) // len(cpus))
    return Need(0.0, max(min(cpus) // each, 1))


class Station:
    """An actor: the one worker process of a place on a machine of the cluster."""

    def __init__(self, name: str, command: Sequence[str], folder: str, threads: int | None) -> None:
        """`command` starts a worker; its Python is taken from this machine."""
        environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self._workers = Processes([sys.executable, *command[1:]], Path(folder), [environment], name)

    def start(self, task: str) -> None:
        """Begin a task. Raises `Failure`."""
        self._workers.start(read_task(task))

    def hear(self) -> list[str]:
        """Return what happened, waiting for something at most `HEAR_SECONDS`."""
        lines = []
        message = self._workers.next(HEAR_SECONDS)
        while message is not None:
            lines.append(message_line(message))
            message = self._workers.next(0)
        return lines

    def stop(self) -> None:
        """Ask the worker to keep states and end its task."""
        self._workers.stop()

    def close(self, how: Literal["kindly", "now"]) -> None:
        """Let the worker go."""
        self._workers.close(how)

    def machine(self) -> tuple[str, str]:
        """Return Ray's name of this machine, and its address."""
        context = ray.get_runtime_context()
        return context.get_node_id(), ray.util.get_node_ip_address()


@dataclass
class _Seat:
    """An actor as the sweep sees it. While it is to answer there is an `ear`, while it has no place a `hello`."""

    actor: Any
    hello: Any = None
    machine: tuple[str, str] | None = None
    task: Task | None = None
    begun: Any = None
    ear: Any = None


class OnRay:
    """Workers on the machines of the Ray cluster that this process is connected to."""

    def __init__(self, command: Sequence[str], sweep_folder: Path, jobs: int | None = None) -> None:
        """`command` starts a worker. Raises `Failure` where the cluster has nothing to train on."""
        self._command = list(command)
        self._folder = sweep_folder
        self._jobs = jobs
        self._seats: list[_Seat] = []
        self._messages: deque[Message] = deque()
        self._made = 0
        self._looked_at = 0.0
        self._machines: dict[str, Mapping[str, float]] = {}
        self._need = need_of(list(self._alive().values()), jobs)

    @property
    def slots(self) -> int:
        """Return how many tasks the machines that there are now train at a time."""
        room = sum(self._need.fits(resources) for resources in self._alive().values())
        return min(room, self._jobs or (room if self._need.gpus else self.machines))

    @property
    def on_device(self) -> int:
        """Return how many of them share a GPU, or a machine without."""
        if self._need.gpus:
            return round(1 / self._need.gpus)
        return max((self._need.fits(resources) for resources in self._alive().values()), default=1) or 1

    @property
    def machines(self) -> int:
        """Return how many machines can train something."""
        return sum(self._need.fits(resources) > 0 for resources in self._alive().values())

    def start(self, task: Task) -> None:
        """Give the task to an actor that is free, to a new one where none is."""
        free = [seat for seat in self._seats if seat.task is None]
        seat = free[0] if free else self._new()
        seat.task = task
        self._begin(seat, task)

    def next(self, seconds: float) -> Message | None:
        """Return what an actor said next; that it has died, or its machine, is said as `Over`."""
        if not self._messages:
            self._seat_those_who_stand()
            ears = {seat.ear: seat for seat in self._seats if seat.ear is not None}
            if not ears:
                time.sleep(seconds)
                return None
            ready, _ = ray.wait(list(ears), num_returns=1, timeout=seconds)
            for ear in ready:
                self._hear(ears[ear])
        return self._messages.popleft() if self._messages else None

    def stop(self) -> None:
        """Ask the workers to keep states and end their tasks."""
        for seat in self._seats:
            if seat.task is not None:
                seat.actor.stop.remote()

    def close(self, how: Literal["kindly", "now"]) -> None:
        """Let the actors and their workers go, and leave the cluster."""
        ends = [seat.actor.close.remote(how) for seat in self._seats if seat.machine is not None]
        with contextlib.suppress(RayError):
            ray.wait(ends, num_returns=len(ends), timeout=PATIENCE_SECONDS) if ends else None
        for seat in self._seats:
            ray.kill(seat.actor)
        self._seats.clear()
        ray.shutdown()

    def _alive(self) -> Mapping[str, Mapping[str, float]]:
        """Return what each machine that is there has, by Ray's name of it."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._machines = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
            self._looked_at = time.monotonic()
        return self._machines

    def _new(self) -> _Seat:
        """Ask for one more actor; Ray finds its place."""
        self._made += 1
        told = os.environ.get("OMP_NUM_THREADS", "")  # the last bits of a result depend on it
        threads = int(told) if told.isdigit() else None if self._need.gpus else self._need.cpus
        options = {"num_gpus": self._need.gpus, "num_cpus": self._need.cpus, "max_concurrency": 4}
        actor = ray.remote(Station).options(**options)  # threads: it listens while it is told to stop
        stays = actor.remote(f"ray{self._made}-", self._command, str(self._folder.absolute()), threads)
        self._seats.append(seat := _Seat(stays, stays.machine.remote()))
        return seat

    def _begin(self, seat: _Seat, task: Task) -> None:
        seat.begun = seat.actor.start.remote(task_line(task))
        seat.ear = seat.actor.hear.remote()

    def _seat_those_who_stand(self) -> None:
        """Take note of actors that have found a place; give the task of one that has none to one that is free.

        Where a machine went while an actor was asked for, there may never be a place for it.
        """
        for seat in [seat for seat in self._seats if seat.hello is not None]:
            if ray.wait([seat.hello], timeout=0)[0]:
                with contextlib.suppress(RayError):  # it is heard of where it is listened to
                    seat.machine = ray.get(seat.hello)
                seat.hello = None
                continue
            free = next((other for other in self._seats if other.task is None and other.hello is None), None)
            if free is not None and seat.task is not None:
                free.task = seat.task
                self._begin(free, seat.task)
                self._dismiss(seat)

    def _hear(self, seat: _Seat) -> None:
        """Take down what an actor said, and listen on while it is at its task."""
        task = seat.task
        assert task is not None
        try:
            if ray.wait([seat.begun], timeout=0)[0]:
                ray.get(seat.begun)
            lines = ray.get(seat.ear)
        except RayActorError as error:
            self._lose(seat, task, *self._why(seat, error))
            return
        except RayError as error:  # it lives, and something in it did not work: what, is said in the last line
            self._lose(seat, task, str(error).strip().splitlines()[-1], gone=False)
            return
        found = [message for line in lines if (message := read_message(line, task)) is not None]
        self._messages.extend(found)
        over = any(isinstance(message, Over) for message in found)
        seat.task, seat.ear = (None, None) if over else (task, seat.actor.hear.remote())

    def _why(self, seat: _Seat, error: RayActorError) -> tuple[str, bool]:
        """Return why an actor does not answer, and whether that is no fault of what it trained.

        An actor trains nothing itself, so it is its machine that has gone, unless Ray ended it to save memory.
        """
        self._looked_at = 0.0
        where = f" on {seat.machine[1]}" if seat.machine else ""
        if "memory" in str(error) or "OOM" in str(error):
            return f"Ray ended the worker{where}, as the machine's memory ran out", False
        return f"the worker{where} cannot be reached any more", True

    def _lose(self, seat: _Seat, task: Task, lost: str, gone: bool) -> None:
        self._dismiss(seat)
        self._messages.append(Over(task, lost, gone=gone))

    def _dismiss(self, seat: _Seat) -> None:
        self._seats.remove(seat)
        with contextlib.suppress(RayError):
            ray.kill(seat.actor)
