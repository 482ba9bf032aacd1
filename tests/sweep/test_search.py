"""The search: what it finds, and that it goes on learning whatever happens to its process."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from lora_lab.config import TrainConfig, check
from lora_lab.document.yaml_text import parse_yaml
from lora_lab.failure import CutShort, Failure
from lora_lab.sweep.execute import Executed, Limits, execute
from lora_lab.sweep.in_process import InProcess
from lora_lab.sweep.plan import PlannedRun, Space, make_plan, space_of
from lora_lab.sweep.read_grid import read_grid
from lora_lab.sweep.roles import Job, Outcome, Progress, Rule, RunProgress, RunToTrain, Surroundings, TrainResult
from lora_lab.sweep.search import PREFIX, REFUSED, Refused, Search
from lora_lab.sweep.study import JOURNAL, studies
from lora_lab.tracking.events import Event, Metrics

PROCESS = Path(__file__).with_name("search_process.py")
BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}
GRID = """\
name: toy
base: {}
method: bayes
max_runs: 30
parameters:
  learning_rate: {min: 1e-6, max: 1e-1, distribution: log_uniform}
  unet_lr: {min: 1e-6, max: 1e-1, distribution: log_uniform}
  scheduler: [constant, cosine, linear]
"""
SMALL = "name: toy\nbase: {}\nmethod: bayes\nmax_runs: 8\nparameters:\n  net_dim: {min: 1, max: 64}\n"


def space_of_text(text: str) -> Space:
    """Return the space of a grid file's text."""
    read = read_grid(parse_yaml(text, Path("/grids/g.yaml")))
    assert read.problems == ()
    assert read.grid is not None
    return space_of(read.grid, BASE)


def badness(config: TrainConfig) -> float:
    """Return how bad a run comes out: 0 at learning_rate 3e-4, unet_lr 3e-3, cosine."""
    rate, other = math.log10(config.learning_rate or 1), math.log10(config.unet_lr or 3e-3)
    return (rate + 3.5) ** 2 + (other + 2.5) ** 2 + (config.scheduler != "cosine")


@dataclass(frozen=True)
class Result:
    """A training's result."""

    lora: Path
    metrics: Mapping[str, float]
    steps: int = 3
    seconds: float = 1.0


@dataclass
class Scene:
    """A trainer that knows how bad each run is, and everything that is said."""

    judge: Callable[[TrainConfig], float] = badness
    trained: list[TrainConfig] = field(default_factory=list)
    together: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    refuses: Callable[[TrainConfig], bool] = lambda config: False
    stop_at: int = -1
    cut: bool = False

    def train(
        self, runs: Sequence[RunToTrain], progress: Callable[[Progress], None]
    ) -> Sequence[TrainResult | Failure]:
        """Train nothing, but leave a file."""
        self.together.append(len(runs))
        return [self.one(run) for run in runs]

    def one(self, run: RunToTrain) -> TrainResult | Failure:
        """Judge one run."""
        if len(self.trained) == self.stop_at:
            raise KeyboardInterrupt("stopped")
        self.trained.append(run.config)
        value = self.judge(run.config)
        if math.isinf(value):
            return Failure("the loss became nan at step 3")
        run.record(Metrics(step=1, values={"val_loss": value}, time_ms=1))
        if self.cut and run.judge is not None and run.judge(1, {"val_loss": value}):
            return CutShort(1, 3)
        (run.folder / "l.safetensors").write_bytes(b"lora")
        return Result(run.folder / "l.safetensors", {} if math.isnan(value) else {"val_loss": value})

    def make(self, runs: Sequence[PlannedRun]) -> Sequence[Job]:
        """Lint as this scene does; the identity is that of the values."""
        jobs = []
        for run in runs:
            config = check(run.values).config
            if self.refuses(config):
                raise Refused("lint says no")
            rule = Rule(self.early, self.metric) if self.cut else None
            jobs.append(Job(run, config, json.dumps(run.axes, sort_keys=True, default=str), rule=rule))
        return jobs

    def search(self, space: Space, folder: Path, fingerprint: str = "") -> Search:
        """Begin a search."""
        assert space.grid.metric is not None
        self.metric = space.grid.metric
        if space.grid.early_terminate is not None:
            self.early = space.grid.early_terminate
        return Search(space, folder, fingerprint, self.make, self.lines.append)

    def run(self, text: str, folder: Path, pack: int = 1, fingerprint: str = "") -> Executed:
        """Search a space."""
        executor = InProcess("toy", folder, Surroundings(self.train, lambda run: Deaf(), self))
        return execute(
            self.search(space_of_text(text), folder, fingerprint), "toy", folder, executor, self, Limits(pack)
        )

    def started(self, job: Job, folder: Path) -> None:
        """Nobody asks."""

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Nobody asks."""

    def ended(self, outcome: Outcome) -> None:
        """Nobody asks."""

    def say(self, line: str) -> None:
        """Note a line."""
        self.lines.append(line)

    def warn(self, line: str) -> None:
        """Note a warning."""
        self.lines.append(line)


class Deaf:
    """A recorder that keeps nothing."""

    def __call__(self, event: Event) -> None:
        """Hear an event."""

    def close(self) -> None:
        """Stop listening."""


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a folder without neighbours: finished runs of those would be taken over."""
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return folder


def trials(folder: Path) -> list[tuple[str, bool]]:
    """Return the state of each trial of the newest study, and whether it was refused."""
    study = studies(folder, PREFIX)[-1]
    return [(trial.state.name, REFUSED in trial.user_attrs) for trial in study.get_trials()]


def test_it_finds_the_optimum_better_than_chance(tmp_path: Path) -> None:
    """In the median of five seeds the best of 30 proposals is less than half as bad as the best of 30 random points."""
    found, drawn = [], []
    for seed in range(5):
        scene = Scene()
        scene.run(f"{GRID}seed: {seed}\n", tmp_path / str(seed) / "toy")
        assert len(scene.trained) == 30
        found.append(min(badness(config) for config in scene.trained))
        text = GRID.replace("bayes", "random") + f"seed: {seed}\n"
        space = space_of_text(text)
        plan = make_plan(space.grid, BASE)
        assert len(plan.runs) == 30
        drawn.append(min(badness(check(run.values).config) for run in plan.runs))
    assert median(found) < median(drawn) / 2


def test_the_same_seed_proposes_the_same(tmp_path: Path) -> None:
    """One after another, the proposals depend on the seed alone."""
    first, again, other = Scene(), Scene(), Scene()
    first.run(GRID.replace("30", "12"), tmp_path / "a" / "toy")
    again.run(GRID.replace("30", "12"), tmp_path / "b" / "toy")
    other.run(GRID.replace("30", "12") + "seed: 1\n", tmp_path / "c" / "toy")
    assert points(first) == points(again)
    assert points(first)[0] != points(other)[0]


def points(scene: Scene) -> list[tuple[object, ...]]:
    """Return what was trained."""
    return [(config.learning_rate, config.unet_lr, config.scheduler, config.net_dim) for config in scene.trained]


def test_an_interrupted_search_is_the_undisturbed_one(tmp_path: Path) -> None:
    """Stopped in the middle of a run and started again: the same points, each once, the interrupted one again."""
    whole, first, second = Scene(), Scene(stop_at=7), Scene()
    text = GRID.replace("30", "14")
    whole.run(text, tmp_path / "a" / "toy")
    assert first.run(text, tmp_path / "b" / "toy").interrupted
    done = second.run(text, tmp_path / "b" / "toy")
    assert points(first) + points(second) == points(whole)
    assert len(done.outcomes) == 14
    assert [outcome.run.index for outcome in done.outcomes] == list(range(14))
    assert trials(tmp_path / "b" / "toy") == [("COMPLETE", False)] * 14
    third = Scene()
    assert [outcome.reused for outcome in third.run(text, tmp_path / "b" / "toy").outcomes] == [True] * 14
    assert third.trained == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle of a run: the next start has the same trials and goes on to the same points."""
    whole, second = Scene(), Scene()
    text = GRID.replace("30", "12")
    whole.run(text, tmp_path / "a" / "toy")
    folder = tmp_path / "b" / "toy"
    process = subprocess.Popen(
        [sys.executable, str(PROCESS), str(folder), text, "6"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "training\n"
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = second.run(text, folder)
    assert len(done.outcomes) == 12
    assert points(second) == points(whole)[6:]
    assert trials(folder) == [("COMPLETE", False)] * 12


def test_a_failed_run_is_trained_again_by_the_next_start(tmp_path: Path) -> None:
    """A trial whose run failed stays open, and counts as a run of this sweep."""
    first = Scene(judge=lambda config: math.inf if config.net_dim > 32 else float(config.net_dim))
    done = first.run(SMALL, tmp_path)
    failed = [outcome for outcome in done.outcomes if outcome.status == "FAILED"]
    assert len(done.outcomes) == 8
    assert failed
    second = Scene(judge=lambda config: float(config.net_dim))
    again = second.run(SMALL, tmp_path)
    assert len(second.trained) == len(failed)
    assert [outcome.status for outcome in again.outcomes] == ["FINISHED"] * 8
    assert trials(tmp_path).count(("COMPLETE", False)) == 8


def test_what_lint_refuses_is_not_trained(tmp_path: Path) -> None:
    """A proposal that lint refuses is a failed trial, and another is asked for: max_runs are trained all the same."""
    scene = Scene(refuses=lambda config: config.net_dim % 2 == 1, judge=lambda config: float(config.net_dim))
    done = scene.run(SMALL, tmp_path)
    assert len(done.outcomes) == 8
    assert all(config.net_dim % 2 == 0 for config in scene.trained)
    assert ("FAIL", True) in trials(tmp_path)
    again = Scene(refuses=scene.refuses)
    assert len(again.run(SMALL, tmp_path).outcomes) == 8
    assert again.trained == []


def test_where_nothing_can_be_trained_the_search_ends(tmp_path: Path) -> None:
    """Refused a hundred times in a row, the search says so and ends."""
    scene = Scene(refuses=lambda config: True)
    assert scene.run(SMALL, tmp_path).outcomes == ()
    assert scene.lines == [
        "100 proposals in a row cannot be trained, the last one because lint says no; the search ends"
    ]


def test_a_small_space_is_trained_whole_and_nothing_twice(tmp_path: Path) -> None:
    """Of six points each is trained once; exclusions, derived and linked values hold."""
    text = (
        "base: {}\nmethod: bayes\nmax_runs: 50\nparameters:\n  scheduler: [constant, cosine]\n  alpha: net_dim / 2\n"
        "linked:\n  - {net_dim: 4, batch_size: 2}\n  - {net_dim: 8, batch_size: 1}\n  - {net_dim: 16, batch_size: 1}\n"
        "exclude:\n  - {net_dim: 16, scheduler: cosine}\n"
    )
    scene = Scene(judge=lambda config: float(config.net_dim))
    search = scene.search(space_of_text(text), tmp_path)
    assert search.runs == 50
    done = scene.run(text, tmp_path)
    trained = sorted((config.scheduler, config.net_dim, config.batch_size, config.alpha) for config in scene.trained)
    assert trained == [
        ("constant", 4, 2, 2.0),
        ("constant", 8, 1, 4.0),
        ("constant", 16, 1, 8.0),
        ("cosine", 4, 2, 2.0),
        ("cosine", 8, 1, 4.0),
    ]
    assert len(done.outcomes) == 5


def test_conditions(tmp_path: Path) -> None:
    """An axis is varied only where its condition holds."""
    text = (
        "base: {}\nmethod: bayes\nmax_runs: 16\nparameters:\n  scheduler: [constant, cosine_with_restarts]\n"
        '  cosine_restarts: {min: 2, max: 9, when: scheduler == "cosine_with_restarts"}\n'
        "  learning_rate: {min: 1e-5, max: 1e-3}\n"
    )
    scene = Scene()
    done = scene.run(text, tmp_path)
    assert len(done.outcomes) == 16
    for outcome in done.outcomes:
        assert ("cosine_restarts" in outcome.run.axes) == (outcome.run.axes["scheduler"] != "constant")
    assert {outcome.run.axes["scheduler"] for outcome in done.outcomes} == {"constant", "cosine_with_restarts"}


def test_seeds_are_told_as_their_mean(tmp_path: Path) -> None:
    """Each proposal is trained with each seed, max_runs counts runs, and the study learns the mean."""
    scene = Scene(judge=lambda config: config.net_dim + config.test_seed / 10)
    done = scene.run(SMALL + "seeds: [1, 2]\n", tmp_path)
    assert [config.test_seed for config in scene.trained] == [1, 2] * 4
    assert [outcome.run.index for outcome in done.outcomes] == list(range(8))
    told = [trial.value for trial in studies(tmp_path, PREFIX)[-1].get_trials()]
    assert told == [pytest.approx(config.net_dim + 0.15) for config in scene.trained[::2]]


def test_included_points_come_first(tmp_path: Path) -> None:
    """Points of `include` are tried first, also those outside of the space, and count as runs."""
    scene = Scene(judge=lambda config: float(config.net_dim))
    scene.run(SMALL + "include:\n  - {net_dim: 5}\n  - {net_dim: 100, batch_size: 3}\n", tmp_path)
    assert [(config.net_dim, config.batch_size) for config in scene.trained[:2]] == [(5, 1), (100, 3)]
    assert len(scene.trained) == 8
    first = studies(tmp_path, PREFIX)[-1].get_trials()[0]
    assert 0 < first.params["net_dim"] < 0.1, "the sampler knows where that point lies"


def test_packs_ask_for_as_many_as_fit(tmp_path: Path) -> None:
    """With packs of three, three proposals are trained together."""
    scene = Scene()
    assert len(scene.run(SMALL, tmp_path, pack=3).outcomes) == 8
    assert scene.together == [3, 3, 2]


def test_runs_without_the_metric_teach_nothing(tmp_path: Path) -> None:
    """Said once; the runs count."""
    scene = Scene(judge=lambda config: math.nan)
    assert len(scene.run(SMALL, tmp_path).outcomes) == 8
    assert len(scene.lines) == 1
    assert "has no val_loss: from such runs the search learns nothing" in scene.lines[0]
    assert trials(tmp_path) == [("FAIL", False)] * 8


def test_an_edited_space_begins_with_what_fits(tmp_path: Path) -> None:
    """Another range: earlier runs inside it are known to the sampler, said in a line, and are not proposed again."""
    first = Scene(judge=lambda config: float(config.net_dim))
    first.run(SMALL, tmp_path)
    inside = [config.net_dim for config in first.trained if config.net_dim <= 40]
    assert 0 < len(inside) < 8
    second = Scene(judge=lambda config: float(config.net_dim))
    done = second.run(SMALL.replace("64", "40"), tmp_path)
    said = (
        f"the space has changed: the search begins with {len(inside)} earlier runs that fit, {8 - len(inside)} do not"
    )
    assert second.lines == [said]
    assert len(done.outcomes) == 8
    assert not {config.net_dim for config in second.trained} & set(inside)
    values = [trial.value for trial in studies(tmp_path, PREFIX)[-1].get_trials()]
    assert values[: len(inside)] == inside


def test_other_files_begin_anew(tmp_path: Path) -> None:
    """Where what all runs share has changed, and with it every identity, nothing of before counts."""
    Scene().run(SMALL, tmp_path)
    scene = Scene()
    make = scene.make
    scene.make = lambda runs: [  # type: ignore[method-assign]
        Job(job.run, job.config, f"{job.identity} of other pictures") for job in make(runs)
    ]
    scene.run(SMALL, tmp_path, fingerprint="other pictures")
    assert len(scene.trained) == 8
    assert scene.lines == ["the space has changed: the search begins with 0 earlier runs that fit, 8 do not"]


def test_a_run_that_is_cut_short_is_told_as_that(tmp_path: Path) -> None:
    """With early_terminate, a trial whose run was cut short is a pruned one, with what it had reached."""
    scene = Scene(judge=lambda config: float(config.net_dim), cut=True)
    done = scene.run(SMALL + "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n", tmp_path)
    statuses = [outcome.status for outcome in done.outcomes]
    assert {"FINISHED", "PRUNED"} == set(statuses)
    told = [trial for trial in studies(tmp_path, PREFIX)[-1].get_trials() if REFUSED not in trial.user_attrs]
    assert [trial.state.name for trial in told] == [
        "COMPLETE" if status == "FINISHED" else "PRUNED" for status in statuses
    ]
    reached = [config.net_dim for config, status in zip(scene.trained, statuses, strict=True) if status == "PRUNED"]
    assert [trial.intermediate_values for trial in told if trial.state.name == "PRUNED"] == [
        {1: rank} for rank in reached
    ]
    again = Scene(cut=True)
    again.run(SMALL + "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n", tmp_path)
    assert again.trained == []


def test_a_search_that_was_killed_between_two_lines(tmp_path: Path) -> None:
    """A trial of which nothing but its number is known counts for nothing."""
    scene = Scene(judge=lambda config: float(config.net_dim))
    search = scene.search(space_of_text(SMALL), tmp_path)
    search._study.ask()
    assert len(scene.run(SMALL, tmp_path).outcomes) == 8
    assert (tmp_path / JOURNAL).is_file()


def test_two_sweeps_in_one_folder_share_the_search(tmp_path: Path) -> None:
    """What another process has proposed meanwhile counts as a run, and is not proposed again."""
    scene = Scene(judge=lambda config: float(config.net_dim))
    space = space_of_text(SMALL.replace("{min: 1, max: 64}", "[1, 2, 4, 8, 16, 32, 64, 128]"))
    one, other = scene.search(space, tmp_path), scene.search(space, tmp_path)
    taken = [job.identity for turn in range(4) for search in (one, other) for job in search.take(1)]
    assert len(set(taken)) == len(taken) == 8
    assert list(one.take(1)) == list(other.take(1)) == []
