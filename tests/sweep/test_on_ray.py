"""Runs on a cluster of several simulated machines: the same results, and a machine that goes costs nothing."""

import _thread
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lora_lab.cli import work
from lora_lab.config import check
from lora_lab.failure import Failure
from lora_lab.sweep.execute import Executed, execute
from lora_lab.sweep.plan import PlannedRun
from lora_lab.sweep.roles import Job, Outcome, RunProgress

pytest.importorskip("ray", reason="Ray is not installed")

from ray.cluster_utils import Cluster

from lora_lab.sweep import on_ray

WORKER = Path(__file__).with_name("worker_process.py")


BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}


@dataclass
class Watch:
    """Somebody who sees everything, and does something when a run has come a step further."""

    stepped: dict[str, Callable[[], None]] = field(default_factory=dict)
    started_at: list[str] = field(default_factory=list)
    progress: list[RunProgress] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def started(self, job: Job, folder: Path) -> None:
        """Note a start."""
        self.started_at.append(job.run.name)

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Note a step, and do what is to be done at it, once."""
        self.progress.append(progress)
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


def run(cluster: Cluster, folder: Path, ranks: Sequence[int], watch: Watch, jobs: int | None = None) -> Executed:
    """Execute a sweep over ranks on a cluster."""
    on_ray.connect(cluster.address)
    command = work.order("sweep", folder)
    command[1:3] = [str(WORKER)]
    planned = [PlannedRun(index, str(rank), {"net_dim": rank}, BASE) for index, rank in enumerate(ranks)]
    all_jobs = [Job(one, check(one.values).config, f"identity-{one.name}") for one in planned]
    return execute(all_jobs, "sweep", folder, on_ray.OnRay(command, folder, jobs), watch)


def process_of(outcome: Outcome) -> str:
    """Return which process trained a run."""
    assert outcome.lora is not None
    return outcome.lora.read_text().split()[0]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a cluster whose first machine only coordinates; each test adds those that work."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a folder without neighbours: finished runs of those would be taken over."""
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return folder


def test_runs_on_two_machines(cluster: Cluster, tmp_path: Path) -> None:
    """Each machine has a worker; a run whose process dies is tried once more, what it breaks costs nobody else."""
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    watch = Watch()
    done = run(cluster, tmp_path, [4, 8, 60, 61, 16], watch)
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert done.outcomes[2].reason == "its process ended with code 7: cannot go on"
    assert watch.progress[0] == RunProgress(1, 3, 0.5, 0.75, notice=True)
    assert len({process_of(outcome) for outcome in done.outcomes if outcome.lora}) >= 2
    assert all((outcome.folder / "events.jsonl").is_file() for outcome in done.outcomes)


def test_a_machine_that_goes(cluster: Cluster, tmp_path: Path) -> None:
    """Its run is gone on with on a machine that has come, in the same folder, and is not under suspicion."""
    first = cluster.add_node(num_cpus=1)

    def exchange() -> None:
        cluster.add_node(num_cpus=1)
        cluster.remove_node(first, allow_graceful=False)

    watch = Watch({"64": exchange})
    done = run(cluster, tmp_path, [64, 4], watch, jobs=1)
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "FINISHED"]
    assert watch.started_at == ["64", "64", "4"]
    assert done.outcomes[0].folder.name == "run1"
    assert ["cannot be reached any more; 1 run to be gone on" in line for line in watch.warnings] == [True]


def test_an_interrupted_sweep_ends_its_workers_kindly(cluster: Cluster, tmp_path: Path) -> None:
    """Ctrl-C asks the runs on the cluster to keep their states, and starts nothing new."""
    cluster.add_node(num_cpus=1)
    interrupt = threading.Timer(0.2, _thread.interrupt_main)
    done = run(cluster, tmp_path, [63, 4], Watch({"63": interrupt.start}))
    assert done.interrupted
    assert [(outcome.run.name, outcome.status) for outcome in done.outcomes] == [("63", "KILLED")]


@pytest.mark.parametrize(
    ("machines", "jobs", "need", "places"),
    [
        ([{"CPU": 8.0}, {"CPU": 4.0}, {"CPU": 0.0}], None, on_ray.Need(0.0, 4), [2, 1, 0]),
        ([{"CPU": 8.0}], 3, on_ray.Need(0.0, 2), [4]),
        ([{"CPU": 1.0}], 3, on_ray.Need(0.0, 1), [1]),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], None, on_ray.Need(1.0, 1), [2, 0]),
        ([{"CPU": 8.0, "GPU": 2.0}], 3, on_ray.Need(0.5, 1), [4]),
        ([{"CPU": 8.0, "GPU": 4.0}], 2, on_ray.Need(1.0, 1), [4]),
    ],
)
def test_what_a_worker_takes(
    machines: list[dict[str, float]], jobs: int | None, need: on_ray.Need, places: list[int]
) -> None:
    """A GPU of its own or a part of one; without GPUs its part of the smallest machine's CPUs."""
    assert on_ray.need_of(machines, jobs) == need
    assert [need.fits(machine) for machine in machines] == places


def test_a_cluster_of_nothing() -> None:
    """A cluster on which nothing can be trained is refused."""
    with pytest.raises(Failure, match="neither GPUs nor CPUs"):
        on_ray.need_of([{"CPU": 0.0}], None)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_no_cluster_there(address: str) -> None:
    """An address where nobody answers, or that is none, is said in one line and at once."""
    with pytest.raises(Failure, match=r"no Ray cluster can be reached at 127.0.0.1:1|is no address of a Ray cluster"):
        on_ray.connect(address)
