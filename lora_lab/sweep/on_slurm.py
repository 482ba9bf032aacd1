"""The executor that trains in jobs of a SLURM cluster, through submitit; only who wants it imports this module.

Every task is a job. It starts a worker process as the sweep does at home, and writes down what the worker says: a file
of lines in the sweep's folder, which the sweep reads. Where SLURM takes the machine away (preemption, the end of the
time) the worker keeps its states, and the sweep hands the runs in again; a job whose sweep has died goes on to its end.
Every machine must see the sweep's folder, base model and pictures under the same paths (a shared file system).
"""

import contextlib
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from lora_lab.failure import Failure
from lora_lab.sweep.processes import Processes
from lora_lab.sweep.roles import Ended, Message, Over, Task
from lora_lab.sweep.wire import message_line, read_message, read_task, task_line

JOBS = ".slurm"
"""Below the sweep's folder: the jobs' scripts, their logs, what their workers said, and who was asked to stop."""

SLOTS = 16
"""Jobs that are handed in at a time, unless somebody says how many."""

LOOK_SECONDS = 0.5
"""Between two looks at what the jobs have written."""

SETTLE_SECONDS = 15.0
"""How long after a job's end its last lines may take to be seen on a shared file system."""

FOR_EVER = 60 * 24 * 365
"""Minutes: of a job on this machine, whose time nobody limits."""

TAKEN = ("PREEMPTED", "NODE_FAIL", "TIMEOUT", "REQUEUED", "BOOT_FAIL", "DEADLINE")
"""States of a job that say that the machine was taken away."""

GENERAL = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
"""What submitit calls the same on every kind of cluster."""


@dataclass
class InJob:
    """What a job does: it trains a task in a worker process. `talk` is its file of messages."""

    name: str
    command: list[str]
    folder: str
    task: str
    talk: str

    def __call__(self) -> None:
        """Train until the worker is done, or somebody wants an end."""
        self._asked = self._taken = False
        workers = Processes([sys.executable, *self.command[1:]], Path(self.folder), [{}], self.name, signal.SIGINT)
        task = read_task(self.task)

        def take(number: int, frame: object) -> None:
            if not self._taken and not self._asked:
                self._taken = True
                workers.stop()

        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):  # in place of submitit's: the sweep requeues
            signal.signal(number, take)
        workers.start(task)
        over = False
        with Path(self.talk).open("a", encoding="utf-8") as talk:
            while not over:
                message = workers.next(LOOK_SECONDS)
                if not self._asked and stop_of(Path(self.talk)).exists():
                    self._asked = True
                    if not self._taken:
                        workers.stop()
                if message is not None:
                    over = isinstance(message, Over)
                    self._pass_on(message, task, talk)
        workers.close("kindly")

    def _pass_on(self, message: Message, task: Task, talk: Any) -> None:
        """Write a message down. A run that was stopped, and not by the sweep, has lost its machine."""
        if isinstance(message, Ended) and message.outcome.status == "KILLED" and not self._asked:
            self._taken = True
            return
        if isinstance(message, Over) and self._taken and not self._asked:
            message = replace(message, lost="SLURM took the machine away", gone=True)
        talk.write(message_line(message))
        talk.flush()


def stop_of(talk: Path) -> Path:
    """Return the file that tells a job to stop."""
    return talk.with_suffix(".stop")


@dataclass
class _Handed:
    """A job that was handed in, and how far what its worker said was read."""

    task: Task
    job: Any
    talk: Path
    read: int = 0
    ended_at: float | None = None


class OnSlurm:
    """A job for each task."""

    on_device = 1

    def __init__(self, command: Sequence[str], sweep_folder: Path, submit: Any, slots: int = SLOTS) -> None:
        """`command` starts a worker, `submit` is an executor of submitit."""
        self.slots = slots
        self._command = list(command)
        self._folder = sweep_folder.absolute()
        self._submit = submit
        self._jobs: list[_Handed] = []
        self._messages: deque[Message] = deque()

    def start(self, task: Task) -> None:
        """Hand the task in. Raises `Failure` where SLURM does not take it."""
        name = f"{uuid.uuid4().hex[:12]}-"
        talk = self._folder / JOBS / f"{name}talk.jsonl"
        try:
            talk.parent.mkdir(parents=True, exist_ok=True)
            talk.touch()
            work = InJob(name, self._command, str(self._folder), task_line(task), str(talk))
            job = self._submit.submit(work)
        except OSError as error:
            raise Failure(f"cannot write to {talk.parent}: {error.strerror}", "free the disk") from error
        except (FailedJobError, FailedSubmissionError) as error:
            lines = str(error).strip().splitlines()
            raise Failure(f"SLURM does not take the job: {lines[-1]}", "see the options of --slurm") from error
        self._jobs.append(_Handed(task, job, talk))

    def next(self, seconds: float) -> Message | None:
        """Return what the jobs have written next; that one has ended without a word is said as `Over`."""
        end = time.monotonic() + seconds
        while not self._messages:
            for handed in list(self._jobs):
                self._read(handed)
            if self._messages or time.monotonic() > end:
                break
            time.sleep(min(LOOK_SECONDS, seconds))
        return self._messages.popleft() if self._messages else None

    def stop(self) -> None:
        """Ask the jobs to keep states and end; those that wait for a machine are taken back."""
        for handed in self._jobs:
            with contextlib.suppress(OSError):
                stop_of(handed.talk).touch()
            if handed.job.state in ("PENDING", "UNKNOWN") and handed.talk.stat().st_size == 0:
                handed.job.cancel(check=False)
                self._messages.append(Over(handed.task, "taken back"))
        self._jobs = [handed for handed in self._jobs if not any(m.task is handed.task for m in self._overs())]

    def close(self, how: Literal["kindly", "now"]) -> None:
        """Take back what has not ended."""
        for handed in self._jobs:
            handed.job.cancel(check=False)
        self._jobs.clear()

    def _overs(self) -> list[Over]:
        return [message for message in self._messages if isinstance(message, Over)]

    def _read(self, handed: _Handed) -> None:
        """Take down what a job has written since the last look, whole lines only."""
        with contextlib.suppress(OSError), handed.talk.open("rb") as talk:
            talk.seek(handed.read)
            new = talk.read()
            whole = new[: new.rfind(b"\n") + 1]
            handed.read += len(whole)
            for line in whole.decode("utf-8").splitlines():
                message = read_message(line, handed.task)
                if message is not None:
                    self._messages.append(message)
                if isinstance(message, Over):
                    self._jobs.remove(handed)
                    return
        if handed.ended_at is None and handed.job.done():
            handed.ended_at = time.monotonic()
        if handed.ended_at is not None and time.monotonic() - handed.ended_at > SETTLE_SECONDS:
            self._jobs.remove(handed)
            self._messages.append(self._silent(handed))

    def _silent(self, handed: _Handed) -> Over:
        """Return the end of a job that did not say so itself."""
        state = str(handed.job.state)
        taken = state.startswith(TAKEN)
        lost = f"its SLURM job {handed.job.job_id} ended as {state}"
        return Over(handed.task, lost, state.startswith("OUT_OF_ME"), gone=taken)


def submitter(folder: Path, name: str, options: Mapping[str, str]) -> Any:
    """Return submitit's executor for sbatch's options, e.g. {"partition": "gpu", "time": "60"}.

    `cluster` may be "local": then the jobs are processes of this machine, to try it out. Raises `Failure`.
    """
    options = dict(options)
    cluster = options.pop("cluster", "slurm")
    if cluster == "local":
        options.setdefault("timeout_min", str(FOR_EVER))
    elif not {"time", "timeout_min"} & options.keys():
        raise Failure("how long a job may take is not said", "add --slurm time=HH:MM:SS; longer runs go on in another")
    try:
        executor = submitit.AutoExecutor(folder / JOBS / "%j", cluster=cluster)
        executor.update_parameters(**{"name": f"lora-lab-{name}"[:60], **_as_parameters(options)})
    except (RuntimeError, ValueError, NameError, AssertionError, TypeError) as error:
        raise Failure(f"SLURM: {str(error).strip().splitlines()[0]}", "see --slurm and sbatch --help") from error
    return executor


def _as_parameters(options: Mapping[str, str]) -> dict[str, Any]:
    """Return sbatch's options as submitit calls them; those that it has no name for are handed through."""
    known = submitit.SlurmExecutor._valid_parameters()
    found: dict[str, Any] = {}
    rest: dict[str, str] = {}
    for written, text in options.items():
        key = written.lstrip("-").replace("-", "_")
        value = int(text) if text.isdigit() else text
        if key in GENERAL:
            found[key] = value
        elif key in known and key != "additional_parameters":
            found[f"slurm_{key}"] = value
        else:
            rest[key] = text
    return {**found, "slurm_additional_parameters": rest} if rest else found
