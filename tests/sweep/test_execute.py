"""Runs in turn: none ends the others, none is trained twice, each leaves its notes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stand_ins import Result, Step

from lora_lab.config import TrainConfig, check
from lora_lab.failure import Failure
from lora_lab.sweep.attempt import train_together
from lora_lab.sweep.execute import Executed, execute_here
from lora_lab.sweep.plan import PlannedRun
from lora_lab.sweep.roles import Job, Outcome, Progress, RunProgress, RunToTrain, Surroundings, TrainResult
from lora_lab.tracking.events import VALIDATION_SET, Artifact, Event, Metrics, RunEnded, RunStarted

BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o", "multi_run_folder": "/elsewhere"}


@dataclass
class Scene:
    """A trainer that does as each rank is told, and ears for everything that is said."""

    does: dict[int, BaseException] = field(default_factory=dict)
    trained: list[TrainConfig] = field(default_factory=list)
    events: dict[str, list[Event]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def train(
        self, runs: Sequence[RunToTrain], progress: Callable[[Progress], None]
    ) -> Sequence[TrainResult | Failure]:
        """Train nothing, but leave a file."""
        return [self.train_one(run, progress) for run in runs]

    def train_one(self, run: RunToTrain, progress: Callable[[Progress], None]) -> Result:
        """Train nothing, but leave a file."""
        config, folder, record = run.config, run.folder, run.record
        self.trained.append(config)
        record(
            RunStarted(
                name="last",
                params={"net_dim": "?", "derived.scale": "2"},
                tags={"device": "cpu", VALIDATION_SET: "base=1"},
            )
        )
        progress(Step(1, 3, 0.5))
        record(Metrics(step=1, values={"loss": 0.5}, time_ms=1))
        if config.net_dim in self.does:
            raise self.does[config.net_dim]
        (folder / "lora.safetensors").write_bytes(b"lora")
        record(RunEnded(status="FINISHED", message="the training's own"))
        return Result(folder / "lora.safetensors", {"loss": 0.25, "val_loss": 1 / config.net_dim})

    def open(self, folder: Path) -> "Ear":
        """Open the recorder of a run."""
        return Ear(self, folder.name)

    def started(self, job: Job, folder: Path) -> None:
        """Note a start."""
        self.seen.append(f"start {job.run.name} {folder.name}")

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Note a step."""
        self.seen.append(f"step {progress.step}")

    def say(self, line: str) -> None:
        """Note a line."""
        self.seen.append(f"says {line}")

    def warn(self, line: str) -> None:
        """Note a warning."""
        self.seen.append(f"warning {line}")

    def ended(self, outcome: Outcome) -> None:
        """Note an end."""
        self.seen.append(f"end {outcome.run.name} {outcome.status}{' reused' if outcome.reused else ''}")

    def run(self, folder: Path, *ranks: int) -> Executed:
        """Execute a sweep over ranks."""
        jobs = [job_of(index, rank) for index, rank in enumerate(ranks)]
        return execute_here(jobs, "sweep", folder, Surroundings(self.train, self.open, self))


@dataclass
class Ear:
    """A recorder that keeps what it hears."""

    scene: Scene
    name: str

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        self.scene.events.setdefault(self.name, []).append(event)

    def close(self) -> None:
        """Stop listening."""
        self.scene.closed.append(self.name)


def job_of(index: int, rank: int) -> Job:
    """Return the job of a rank."""
    run = PlannedRun(index, f"net_dim={rank}", {"net_dim": rank}, BASE)
    return Job(run, check(run.values).config, f"identity-{rank}")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a folder without neighbours: finished runs of those would be taken over."""
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return folder


def test_runs_are_trained_in_turn_into_folders_of_their_own(tmp_path: Path) -> None:
    """Each run gets the next folder as its output folder and leaves its config and its note there."""
    scene = Scene()
    done = scene.run(tmp_path / "s", 8, 16)
    assert not done.interrupted
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "FINISHED"]
    assert [config.output_folder for config in scene.trained] == [str(tmp_path / "s/run1"), str(tmp_path / "s/run2")]
    assert [config.multi_run_folder for config in scene.trained] == [None, None]
    config = json.loads((tmp_path / "s/run2/config.json").read_text())
    assert check(config).config == scene.trained[1]
    note = json.loads((tmp_path / "s/run2/run.json").read_text())
    assert (note["identity"], note["status"], note["lora"]) == ("identity-16", "FINISHED", "lora.safetensors")
    assert note["metrics"] == {"loss": 0.25, "val_loss": 0.0625}
    assert note["validation"] == "base=1"
    assert note["started"] <= note["finished"]
    assert scene.seen[:3] == ["start net_dim=8 run1", "step 1", "end net_dim=8 FINISHED"]


def test_a_run_tells_the_tracker_everything(tmp_path: Path) -> None:
    """Parameters and tags come first, then the training's events, the LoRA, and how it ended."""
    scene = Scene()
    scene.run(tmp_path, 8)
    events = scene.events["run1"]
    start = events[0]
    assert isinstance(start, RunStarted)
    assert len(start.params) >= 60
    assert (start.params["net_dim"], start.params["buckets"], start.params["vae"]) == ("8", "true", "null")
    assert (start.name, start.tags["lora_lab.sweep"]) == ("net_dim=8", "sweep")
    files = [event.path.name for event in events if isinstance(event, Artifact)]
    assert files == ["config.json", "lint.json", "lora.safetensors"]
    assert events[-1] == RunEnded(status="FINISHED")
    again = events[3]
    assert isinstance(again, RunStarted), "the training's own start adds what is new, under the sweep's name"
    assert (again.name, dict(again.params)) == ("net_dim=8", {"derived.scale": "2"})
    assert again.tags == {**start.tags, "device": "cpu", VALIDATION_SET: "base=1"}
    assert any(isinstance(event, Metrics) for event in events)
    assert len([event for event in events if isinstance(event, RunEnded)]) == 1
    assert scene.closed == ["run1"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Failure("no pictures", "put some there"), "no pictures; put some there"),
        (ValueError("first line\nsecond line"), "ValueError: first line (all of it in"),
        (RuntimeError(), "RuntimeError: no message (all of it in"),
    ],
)
def test_a_failing_run_does_not_end_the_sweep(tmp_path: Path, error: Exception, reason: str) -> None:
    """A failure costs its own run: said in a line, with the traceback in its folder where it was a surprise."""
    scene = Scene(does={8: error})
    done = scene.run(tmp_path, 8, 16)
    assert [outcome.status for outcome in done.outcomes] == ["FAILED", "FINISHED"]
    assert done.outcomes[0].reason.startswith(reason)
    assert json.loads((tmp_path / "run1/run.json").read_text())["status"] == "FAILED"
    assert scene.events["run1"][-1] == RunEnded(status="FAILED", message=done.outcomes[0].reason)
    assert (tmp_path / "run1/error.txt").exists() == (not isinstance(error, Failure))
    if not isinstance(error, Failure):
        assert "Traceback" in (tmp_path / "run1/error.txt").read_text()


def test_an_interruption_ends_the_sweep_cleanly(tmp_path: Path) -> None:
    """Ctrl-C marks the present run and starts no other."""
    scene = Scene(does={16: KeyboardInterrupt()})
    done = scene.run(tmp_path, 8, 16, 32)
    assert done.interrupted
    assert [outcome.status for outcome in done.outcomes] == ["FINISHED", "KILLED"]
    assert len(scene.trained) == 2
    assert json.loads((tmp_path / "run2/run.json").read_text())["status"] == "KILLED"
    assert scene.events["run2"][-1] == RunEnded(status="KILLED", message="interrupted")
    assert scene.closed == ["run1", "run2"]


def test_finished_runs_are_not_repeated(tmp_path: Path) -> None:
    """A second sweep trains only what is new, and what failed again in its folder; the rest is done before."""
    Scene(does={16: ValueError("once")}).run(tmp_path, 8, 16)
    scene = Scene()
    done = scene.run(tmp_path, 32, 8, 16)
    assert [config.net_dim for config in scene.trained] == [32, 16]
    assert [outcome.reused for outcome in done.outcomes] == [False, True, False]
    assert [outcome.folder.name for outcome in done.outcomes] == ["run3", "run1", "run2"]
    assert done.outcomes[1].metrics == {"loss": 0.25, "val_loss": 0.125}
    assert done.outcomes[1].lora == tmp_path / "run1/lora.safetensors"
    assert "end net_dim=8 FINISHED reused" in scene.seen


def test_equal_points_of_one_sweep_are_trained_once(tmp_path: Path) -> None:
    """Two points that come to the same run share its result."""
    scene = Scene()
    done = scene.run(tmp_path, 8, 8)
    assert len(scene.trained) == 1
    assert done.outcomes[1].reused
    assert done.outcomes[1].run.index == 1


def test_a_sweep_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """Where nothing can be written, nothing is trained."""
    (tmp_path / "file").write_text("")
    scene = Scene()
    with pytest.raises(Failure, match="cannot write"):
        scene.run(tmp_path / "file" / "sweep", 8)
    assert scene.trained == []


def test_a_notice_is_said_once(tmp_path: Path) -> None:
    """What is said of a whole pack is said once, what is said of one of its runs with that run's name."""
    said: list[tuple[str, str]] = []

    class Hearing(Scene):
        def progressed(self, job: Job, progress: RunProgress) -> None:
            said.append((job.run.name, progress.message))

        def train(
            self, runs: Sequence[RunToTrain], progress: Callable[[Progress], None]
        ) -> Sequence[TrainResult | Failure]:
            progress(Step(0, 0, message="reading"))
            progress(Step(0, 0, message="a damaged entry", notice=True))
            progress(Step(0, 0, message="going on", notice=True, about=1))
            runs[0].ended(Failure("it breaks"))
            progress(Step(0, 0, message="stopping", notice=True))
            return [Failure("it breaks")] * 2

    scene = Hearing()
    jobs, folders = [job_of(0, 4), job_of(1, 8)], [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    train_together(jobs, folders, "sweep", Surroundings(scene.train, scene.open, scene))
    one, two = (job.run.name for job in jobs)
    assert said == [
        *((one, "reading"), (two, "reading"), (one, "a damaged entry"), (two, "going on"), (two, "stopping")),
    ]
