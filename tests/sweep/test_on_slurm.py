"""Runs as jobs of a cluster, tried with submitit's jobs on this machine, which get signals as SLURM sends them."""

import _thread
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lora_lab.cli import work
from lora_lab.config import check
from lora_lab.failure import Failure
from lora_lab.sweep.execute import Executed, Limits, execute
from lora_lab.sweep.plan import PlannedRun
from lora_lab.sweep.roles import Job, Outcome, Over, RunProgress, Task

pytest.importorskip("submitit", reason="submitit is not installed")

import submitit

from lora_lab.sweep import on_slurm

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SLURM on Windows"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # nobody waits for the processes of submitit's local jobs
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WORKER = Path(__file__).with_name("worker_process.py")
BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}


@dataclass
class Watch:
    """Somebody who sees everything, and does something when a run has come a step further."""

    stepped: dict[str, Callable[[], None]] = field(default_factory=dict)
    started_at: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def started(self, job: Job, folder: Path) -> None:
        """Note a start."""
        self.started_at.append(job.run.name)

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Do what is to be done at a step, once."""
        if job.run.name in self.stepped:
            self.stepped.pop(job.run.name)()

    def ended(self, outcome: Outcome) -> None:
        """Outcomes are returned."""

    def say(self, line: str) -> None:
        """Note a line."""
        self.warnings.append(line)

    def warn(self, line: str) -> None:
        """Note a warning."""
        self.warnings.append(line)


def run(
    folder: Path, ranks: Sequence[int], watch: Watch, submit: Any = None, pack: int = 1, slots: int = 2
) -> Executed:
    """Execute a sweep over ranks in jobs."""
    command = work.order("sweep", folder, job=True)
    command[1:3] = [str(WORKER)]
    planned = [PlannedRun(index, str(rank), {"net_dim": rank}, BASE) for index, rank in enumerate(ranks)]
    jobs = [Job(one, check(one.values).config, f"identity-{one.name}") for one in planned]
    submit = submit or on_slurm.submitter(folder, "sweep", {"cluster": "local", "partition": "gpu"})
    executor = on_slurm.OnSlurm(command, folder, submit, slots)
    return execute(jobs, "sweep", folder, executor, watch, Limits(pack))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a folder without neighbours: finished runs of those would be taken over."""
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of this machine are seen at once."""
    monkeypatch.setattr(on_slurm, "SETTLE_SECONDS", 0.5)


def test_each_task_is_a_job(tmp_path: Path) -> None:
    """Runs and packs come back with their outcomes; a run whose process dies is tried once more, as at home."""
    watch = Watch()
    done = run(tmp_path, [4, 8, 60, 61], watch, pack=2)
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
    assert done.outcomes[2].reason == "its process ended with code 7: cannot go on"
    assert all((outcome.folder / "events.jsonl").is_file() for outcome in done.outcomes)


def test_a_machine_that_is_taken_away(tmp_path: Path) -> None:
    """On SLURM's signal before the end of the time the run keeps its state, and is handed in again by the sweep."""
    submit = submitit.LocalExecutor(tmp_path / on_slurm.JOBS / "%j")
    submit.update_parameters(timeout_min=1, signal_delay_s=54)  # SIGUSR2 after six seconds
    watch = Watch()
    done = run(tmp_path, [64], watch, submit)
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED"]
    assert watch.started_at == ["64", "64"]
    assert done.outcomes[0].folder.name == "run1"
    assert watch.warnings == ["SLURM took the machine away; 1 run to be gone on with elsewhere"]


def test_an_interrupted_sweep_ends_its_jobs_kindly(tmp_path: Path) -> None:
    """Ctrl-C asks the jobs to keep their states, and hands nothing more in."""
    interrupt = threading.Timer(0.2, _thread.interrupt_main)
    done = run(tmp_path, [63, 4], Watch({"63": interrupt.start}), slots=1)
    assert done.interrupted
    assert [(outcome.run.name, outcome.status) for outcome in done.outcomes] == [("63", "KILLED")]


@dataclass
class SilentJob:
    """A job that SLURM knows something of, and that has written nothing."""

    state: str
    job_id: str = "17"
    cancelled: bool = False

    def done(self) -> bool:
        """Return whether it is over."""
        return self.state not in ("PENDING", "RUNNING")

    def cancel(self, check: bool = True) -> None:
        """Take it back."""
        self.cancelled = True


@dataclass
class Submit:
    """A cluster on which every job comes to the same."""

    job: SilentJob

    def submit(self, work: Callable[[], None]) -> SilentJob:
        """Take a job."""
        return self.job


def handed(folder: Path, state: str) -> tuple[on_slurm.OnSlurm, SilentJob]:
    """Return an executor with one job in a state."""
    job = SilentJob(state)
    executor = on_slurm.OnSlurm([], folder, Submit(job))
    executor.start(Task(1, ()))
    return executor, job


@pytest.mark.parametrize(
    ("state", "gone", "memory"),
    [("NODE_FAIL", True, False), ("PREEMPTED", True, False), ("OUT_OF_MEMORY", False, True), ("FAILED", False, False)],
)
def test_a_job_that_ended_without_a_word(tmp_path: Path, state: str, gone: bool, memory: bool) -> None:
    """What SLURM says of its end decides whether the machine, the memory or the run is to blame."""
    executor, _ = handed(tmp_path, state)
    over = None
    while over is None:
        over = executor.next(1.0)
    assert isinstance(over, Over)
    assert (over.gone, over.memory) == (gone, memory)
    assert over.lost == f"its SLURM job 17 ended as {state}"


def test_a_job_that_waits_is_taken_back(tmp_path: Path) -> None:
    """A sweep that is interrupted does not wait for machines that its jobs have not got yet."""
    executor, job = handed(tmp_path, "PENDING")
    executor.stop()
    assert job.cancelled
    assert isinstance(executor.next(0), Over)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"time": "60", "partition": "gpu"}, {"slurm_time": 60, "slurm_partition": "gpu"}),
        ({"--gpus-per-node": "1", "time": "1:00:00"}, {"gpus_per_node": 1, "slurm_time": "1:00:00"}),
        (
            {"account": "a", "reservation": "r"},
            {"slurm_account": "a", "slurm_additional_parameters": {"reservation": "r"}},
        ),
    ],
)
def test_options(options: Mapping[str, str], wanted: Mapping[str, object]) -> None:
    """Options are called as sbatch calls them; those that submitit does not know are handed through."""
    assert on_slurm._as_parameters(options) == wanted


@pytest.mark.parametrize("options", [{"partition": "gpu"}, {"time": "5"}, {"cluster": "moon", "time": "5"}])
def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Mapping[str, str]) -> None:
    """No time, no SLURM on this machine, an unknown cluster: each is said in a line."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Failure, match=r"SLURM|how long"):
        on_slurm.submitter(tmp_path, "sweep", options)
