"""Runs in worker processes: what one of them breaks costs its own task, and nothing is trained twice."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lora_lab.cli import work
from lora_lab.cli.sweep_run import _terminated_is_interrupted
from lora_lab.config import check
from lora_lab.locks import held
from lora_lab.sweep import execute as execute_module
from lora_lab.sweep.execute import Executed, Limits, execute
from lora_lab.sweep.plan import PlannedRun
from lora_lab.sweep.processes import LOGS, Processes
from lora_lab.sweep.roles import Job, Outcome, RunProgress
from lora_lab.sweep.run_folder import RunRecord, read_record, write_record
from lora_lab.sweep.worker import CLAIMS

WORKER = Path(__file__).with_name("worker_process.py")
NO_LIMITS = Limits()
BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}


@dataclass
class Watch:
    """Somebody who sees everything."""

    started_at: list[str] = field(default_factory=list)
    progress: list[RunProgress] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    interrupt_at: str = ""
    interrupt_with: int = signal.SIGINT

    def started(self, job: Job, folder: Path) -> None:
        """Note a start."""
        self.started_at.append(job.run.name)

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Note a step; interrupt the sweep, as Ctrl-C does or another signal, where that is wanted."""
        self.progress.append(progress)
        if job.run.name == self.interrupt_at:
            threading.Timer(0.2, _thread.interrupt_main, [self.interrupt_with]).start()

    def ended(self, outcome: Outcome) -> None:
        """Note an end."""
        self.outcomes.append(outcome)

    def say(self, line: str) -> None:
        """Note a line."""
        self.said.append(line)

    def warn(self, line: str) -> None:
        """Note a warning."""
        self.warnings.append(line)


def job_of(index: int, rank: int) -> Job:
    """Return the job of a rank."""
    run = PlannedRun(index, str(rank), {"net_dim": rank}, BASE)
    return Job(run, check(run.values).config, f"identity-{rank}")


def run(folder: Path, ranks: Sequence[int], watch: Watch, *, slots: int = 1, limits: Limits = NO_LIMITS) -> Executed:
    """Execute a sweep over ranks in worker processes."""
    command = work.order("sweep", folder)
    command[1:3] = [str(WORKER)]
    executor = Processes(command, folder, [{"SLOT": str(slot)} for slot in range(slots)])
    return execute([job_of(index, rank) for index, rank in enumerate(ranks)], "sweep", folder, executor, watch, limits)


def words_of(outcome: Outcome) -> list[str]:
    """Return what the trainer wrote into the LoRA: its process, its slot, how many runs were trained together."""
    assert outcome.lora is not None
    return outcome.lora.read_text().split()


@pytest.fixture
def tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder without neighbours: finished runs of those would be taken over."""
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return folder


def test_a_worker_stays_for_all_tasks(tmp_path: Path) -> None:
    """One process trains one task after another, what it prints is no message, and progress comes through."""
    watch = Watch()
    done = run(tmp_path, [4, 8, 16], watch)
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED"] * 3
    assert len({words_of(outcome)[0] for outcome in done.outcomes}) == 1
    assert [outcome.folder.name for outcome in done.outcomes] == ["run1", "run2", "run3"]
    assert watch.progress[0] == RunProgress(1, 3, 0.5, 0.75, notice=True)
    assert "a library prints this" in (tmp_path / LOGS / "worker1.log").read_text()
    assert (tmp_path / "run1" / "events.jsonl").is_file()


def test_slots_work_side_by_side(tmp_path: Path) -> None:
    """With two slots there are two processes, each with its own environment."""
    done = run(tmp_path, [4, 8, 16, 32], Watch(), slots=2)
    assert {tuple(words_of(outcome)[1:]) for outcome in done.outcomes} == {("0", "1"), ("1", "1")}


def test_packs(tmp_path: Path) -> None:
    """Runs are trained so many at a time, each with an outcome and a folder of its own."""
    done = run(tmp_path, [4, 8, 16], Watch(), limits=Limits(pack=2))
    assert [words_of(outcome)[2] for outcome in done.outcomes] == ["2", "2", "1"]
    assert len({outcome.folder for outcome in done.outcomes}) == 3


def test_a_dead_process_costs_its_run_only(tmp_path: Path) -> None:
    """A run whose process dies is tried once more, then it has failed, with the process's last words; others finish."""
    watch = Watch()
    done = run(tmp_path, [60, 61, 4], watch)
    assert [outcome.status for outcome in done.outcomes] == ["FAILED", "FINISHED", "FINISHED"]
    assert done.outcomes[0].reason == "its process ended with code 7: cannot go on"
    assert watch.started_at.count("60") == 2
    assert watch.started_at.count("61") == 2
    assert any("SIGKILL" in line and "once more" in line for line in watch.warnings)
    record = read_record(done.outcomes[0].folder)
    assert record is not None
    assert record.status == "FAILED"
    assert done.outcomes[1].folder.name == "run2", "the second try goes on in the folder of the first"


def test_a_dead_pack_is_tried_in_halves(tmp_path: Path) -> None:
    """What killed a pack of three is found: the two others finish."""
    watch = Watch()
    done = run(tmp_path, [4, 60, 8], watch, limits=Limits(pack=3))
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "FAILED", "FINISHED"]
    assert any("at a time" in line for line in watch.warnings)


def test_a_pack_that_is_too_big_for_the_memory_is_halved(tmp_path: Path) -> None:
    """Out of memory, a pack is trained in halves; the process need not die for it."""
    watch = Watch()
    done = run(tmp_path, [62, 4], watch, limits=Limits(pack=2))
    assert [words_of(outcome)[2] for outcome in done.outcomes] == ["1", "1"]
    assert "not enough memory for 2 runs at a time; trying 1 at a time" in watch.warnings


def test_packs_of_their_own_size(tmp_path: Path) -> None:
    """With auto one probe in a worker comes first, which is kept for the next time; then packs as large as fit."""
    watch = Watch()
    done = run(tmp_path / "a", [4, 8, 16, 32, 5], watch, limits=Limits(pack=None))
    assert [words_of(outcome)[2] for outcome in done.outcomes] == ["3", "3", "3", "2", "2"]
    assert (tmp_path / "a" / "probed").read_text() == "32", "of each kind one, the largest"
    (line,) = watch.said
    assert line.startswith("packs of 3 and 2: memory for 3")
    again = Watch()
    done = run(tmp_path / "b", [2, 3, 6], again, limits=Limits(pack=None))
    assert [words_of(outcome)[2] for outcome in done.outcomes] == ["3", "3", "3"]
    assert not (tmp_path / "b" / "probed").exists()


def test_what_cannot_be_measured_is_trained_one_by_one(tmp_path: Path) -> None:
    """A probe that fails, or whose process dies, costs nothing but the packs."""
    watch = Watch()
    done = run(tmp_path, [66, 4], watch, limits=Limits(pack=None))
    assert [words_of(outcome)[2] for outcome in done.outcomes] == ["1", "1"]
    assert watch.said == ["one run at a time: what a run takes could not be measured (ValueError: cannot be measured)"]


def test_the_measure_learns_from_a_lack_of_memory(tmp_path: Path) -> None:
    """Memory runs out with three: halves go on, packs that wait are cut, and the next sweep begins with less."""
    watch = Watch()
    done = run(tmp_path / "a", [62, 4, 8, 16, 32, 5], watch, limits=Limits(pack=None))
    assert [words_of(outcome)[2] for outcome in done.outcomes] == ["1"] * 6
    assert "not enough memory for 3 runs at a time; trying 2 at a time" in watch.warnings
    again = Watch()
    run(tmp_path / "b", [2, 3, 6], again, limits=Limits(pack=None))
    assert again.said == ["one run at a time: memory ran out with 2"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to hear on Windows")
def test_an_interrupted_sweep_ends_its_workers_kindly(tmp_path: Path) -> None:
    """Ctrl-C asks the runs to keep their states, starts nothing new, and leaves the rest for the next time."""
    watch = Watch(interrupt_at="63")
    began = time.monotonic()
    done = run(tmp_path, [4, 63, 8], watch)
    assert done.interrupted
    assert done.signal == signal.SIGINT
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "KILLED"]
    assert time.monotonic() - began < 50, "the run would have taken a minute"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to hear on Windows")
def test_a_clusters_sigterm_is_heard_once(tmp_path: Path) -> None:
    """SIGTERM ends a sweep as kindly as Ctrl-C, known by its number; one that comes twice does not end it at once."""

    class Twice(Watch):
        def progressed(self, job: Job, progress: RunProgress) -> None:
            super().progressed(job, progress)
            super().progressed(job, progress)

    with _terminated_is_interrupted():
        done = run(tmp_path, [63], Twice(interrupt_at="63", interrupt_with=signal.SIGTERM))
    assert done.signal == signal.SIGTERM
    assert [outcome.status for outcome in done.outcomes] == ["KILLED"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_when_the_time_is_over_nothing_new_starts(tmp_path: Path) -> None:
    """max_hours ends the sweep as an interruption does, and says which of the two it was."""
    done = run(tmp_path, [63, 4], Watch(), limits=Limits(seconds=3.0))
    assert done.out_of_time
    assert not done.interrupted
    assert [outcome.status for outcome in done.outcomes] == ["KILLED"]


def test_what_another_sweep_trains_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that somebody else holds is not trained here; its result is taken when it is there."""
    monkeypatch.setattr(execute_module, "ELSEWHERE_SECONDS", 0.1)
    (tmp_path / CLAIMS).mkdir()
    holding, release = threading.Event(), threading.Event()

    def other_sweep() -> None:
        with held(tmp_path / CLAIMS / "identity-4.lock"):
            holding.set()
            release.wait(30)
            (tmp_path / "run9").mkdir()
            (tmp_path / "run9" / "l.safetensors").write_text("theirs")
            record = RunRecord(identity="identity-4", name="4", status="FINISHED", axes={}, lora="l.safetensors")
            write_record(tmp_path / "run9", record)

    thread = threading.Thread(target=other_sweep)
    thread.start()
    holding.wait()
    watch = Watch()
    threading.Timer(2.0, release.set).start()
    done = run(tmp_path, [4, 8], watch)
    thread.join()
    assert [outcome.reused for outcome in done.outcomes] == [True, False]
    assert done.outcomes[0].folder.name == "run9"
    assert watch.started_at == ["8"]
