"""Runs are cut short by what the others reached after equally many validations, in any process."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lora_lab.config import check
from lora_lab.failure import CutShort, Failure
from lora_lab.sweep.execute import Executed, Limits, execute
from lora_lab.sweep.grid import EarlyTerminate, Metric
from lora_lab.sweep.in_process import InProcess
from lora_lab.sweep.plan import Plan, PlannedRun
from lora_lab.sweep.referee import Referee
from lora_lab.sweep.roles import Job, Outcome, Progress, Rule, RunProgress, RunToTrain, Surroundings, TrainResult
from lora_lab.sweep.study import JOURNAL, open_study
from lora_lab.sweep.sweep_record import read_sweep, states, write_sweep
from lora_lab.sweep.wire import read_task, task_line
from lora_lab.tracking.events import Event, Metrics, RunEnded, RunStarted

BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}
HALVING = Rule(EarlyTerminate("hyperband", min_iter=2, eta=2), Metric())
MEDIAN = Rule(EarlyTerminate("median", min_iter=1), Metric())
STEPS = 40
EVERY = 10


@dataclass
class Scene:
    """A trainer whose val_loss falls to a hundredth of the rank; what it trained and told."""

    trained: list[tuple[int, int]] = field(default_factory=list)
    events: dict[str, list[Event]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    broken_at: dict[int, int] = field(default_factory=dict)

    def train(
        self, runs: Sequence[RunToTrain], progress: Callable[[Progress], None]
    ) -> Sequence[TrainResult | Failure]:
        """Train as a pack: every run a few steps in turn."""
        left = dict(enumerate(runs))
        results: dict[int, TrainResult | Failure] = {}
        for step in range(EVERY, STEPS + 1, EVERY):
            for key, run in list(left.items()):
                rank = run.config.net_dim
                value = rank / 100 + 1 / step
                run.record(Metrics(step=step, values={"val_loss": value, "loss": value}, time_ms=step))
                if self.broken_at.get(rank) == step:
                    raise KeyboardInterrupt("stopped")
                assert run.judge is not None
                if step < STEPS and run.judge(step, {"val_loss": value, "loss": value}):
                    results[key] = CutShort(step, STEPS)
                elif step == STEPS:
                    (run.folder / "l.safetensors").write_bytes(b"lora")
                    results[key] = Result(run.folder / "l.safetensors", {"val_loss": value})
                else:
                    continue
                self.trained.append((rank, step))
                run.ended(results[key])
                del left[key]
        return [results[key] for key in range(len(runs))]

    def open(self, folder: Path) -> "Ear":
        """Open the recorder of a run."""
        return Ear(self.events.setdefault(folder.name, []))

    def started(self, job: Job, folder: Path) -> None:
        """Nobody asks."""

    def progressed(self, job: Job, progress: RunProgress) -> None:
        """Nobody asks."""

    def ended(self, outcome: Outcome) -> None:
        """Note an end."""
        self.lines.append(f"{outcome.run.name} {outcome.status}{' reused' if outcome.reused else ''}")

    def say(self, line: str) -> None:
        """Note a line."""
        self.lines.append(line)

    def warn(self, line: str) -> None:
        """Note a warning."""
        self.lines.append(line)

    def run(self, folder: Path, ranks: Sequence[int], rule: Rule | None, pack: int = 1) -> Executed:
        """Execute a sweep over ranks."""
        executor = InProcess("sweep", folder, Surroundings(self.train, self.open, self))
        jobs = [job_of(index, rank, rule) for index, rank in enumerate(ranks)]
        return execute(jobs, "sweep", folder, executor, self, Limits(pack))


@dataclass
class Ear:
    """A recorder that keeps what it hears."""

    heard: list[Event]

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        self.heard.append(event)

    def close(self) -> None:
        """Stop listening."""


@dataclass(frozen=True)
class Result:
    """A training's result."""

    lora: Path
    metrics: Mapping[str, float]
    steps: int = STEPS
    seconds: float = 1.0


def job_of(index: int, rank: int, rule: Rule | None) -> Job:
    """Return the job of a rank."""
    run = PlannedRun(index, str(rank), {"net_dim": rank}, BASE)
    return Job(run, check(run.values).config, f"identity-{rank}", rule=rule)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a folder without neighbours: finished runs of those would be taken over."""
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return folder


def statuses(done: Executed) -> list[str]:
    """Return how the runs ended, F or P, each with its steps."""
    return [f"{outcome.status[0]}{outcome.steps}" for outcome in done.outcomes]


def test_successive_halving_by_hand(tmp_path: Path) -> None:
    """With eta 2 and rungs at 2 and 4 validations, only the best so far passes a rung of three; the last is not cut.

    8 leads; 16 and 32 are worse at the first rung; 4 and 2 are better than half.
    """
    scene = Scene()
    done = scene.run(tmp_path, [8, 16, 32, 4, 2], HALVING)
    assert statuses(done) == ["F40", "P20", "P20", "F40", "F40"]
    assert done.outcomes[1].reason == "cut short at step 20 of 40"
    assert done.outcomes[1].metrics["val_loss"] == pytest.approx(0.21)


def test_the_median_lets_four_finish_first(tmp_path: Path) -> None:
    """What is worse than half of the finished runs is cut at its first validation from min_iter on."""
    done = Scene().run(tmp_path, [10, 20, 30, 40, 50, 5, 26], MEDIAN)
    assert statuses(done) == ["F40", "F40", "F40", "F40", "P10", "F40", "P10"]


def test_what_was_cut_short_is_kept_marked_and_not_trained_again(tmp_path: Path) -> None:
    """run.json, status, and the tracker say so; the same sweep leaves it, one without the rule goes on with it."""
    first = Scene()
    first.run(tmp_path, [8, 16], HALVING)
    note = json.loads((tmp_path / "run2" / "run.json").read_text())
    assert (note["status"], note["reason"], note["steps"]) == ("PRUNED", "cut short at step 20 of 40", 20)
    assert note["rule"] == "hyperband from 2, eta 2, minimize val_loss"
    told = first.events["run2"]
    assert told[-1] == RunEnded(status="KILLED", message="cut short at step 20 of 40")
    tags = [event.tags.get("lora_lab.cut_short") for event in told if isinstance(event, RunStarted)]
    assert tags[-1] == "cut short at step 20 of 40"

    plan = Plan("sweep", Metric(), ("net_dim",), ())
    write_sweep(tmp_path, plan, [job_of(0, 8, None), job_of(1, 16, None)])
    sweep = read_sweep(tmp_path)
    assert sweep is not None
    assert [state.state for state in states(tmp_path, sweep)] == ["finished", "cut short"]

    second = Scene()
    done = second.run(tmp_path, [8, 16], HALVING)
    assert second.trained == []
    assert [(outcome.status, outcome.reused) for outcome in done.outcomes] == [("FINISHED", True), ("PRUNED", True)]

    third = Scene()
    done = third.run(tmp_path, [8, 16], Rule(EarlyTerminate("hyperband", min_iter=4), Metric()))
    assert third.trained == [(16, 40)]
    assert done.outcomes[1].folder == tmp_path / "run2"
    start = third.events["run2"][0]
    assert isinstance(start, RunStarted)
    assert start.tags["lora_lab.cut_short"] == "", "the tracker's tag is taken back"


def test_packs(tmp_path: Path) -> None:
    """Of a pack the bad ones leave, and the others go on to the end."""
    scene = Scene()
    done = scene.run(tmp_path, [8, 16, 32, 4], HALVING, pack=4)
    assert statuses(done) == ["F40", "P20", "P20", "F40"]
    assert scene.trained == [(16, 20), (32, 20), (8, 40), (4, 40)]


def test_an_interrupted_run_goes_on_with_what_it_has_reported(tmp_path: Path) -> None:
    """A run that was killed is the same trial later: what it validates twice counts once."""
    scene = Scene(broken_at={16: 20})
    assert Scene().run(tmp_path, [8], HALVING).outcomes
    assert scene.run(tmp_path, [8, 16], HALVING).interrupted
    done = Scene().run(tmp_path, [8, 16], HALVING)
    assert statuses(done) == ["F40", "P20"]
    trials = open_study(tmp_path, f"runs: {HALVING.text}", "minimize").get_trials()
    assert [(trial.state.name, sorted(trial.intermediate_values)) for trial in trials] == [
        ("COMPLETE", [1, 2, 3]),
        ("PRUNED", [1, 2]),
    ]


def test_a_goal_to_maximize(tmp_path: Path) -> None:
    """With goal maximize the small values go."""
    done = Scene().run(tmp_path, [8, 4, 16], Rule(HALVING.early, Metric("loss", "maximize")))
    assert statuses(done) == ["F40", "P20", "F40"]


def test_a_metric_that_is_not_measured_cuts_nothing(tmp_path: Path) -> None:
    """Without the metric there is no judgement, and the trial is no success."""
    referee = Referee(Rule(HALVING.early, Metric("fid")), "x", tmp_path)
    assert not any(referee(step, {"val_loss": 1.0}) for step in (1, 2, 3, 4))
    referee.over("FINISHED", {"val_loss": 1.0})
    (trial,) = open_study(tmp_path, f"runs: {Rule(HALVING.early, Metric('fid')).text}", "minimize").get_trials()
    assert trial.state.name == "FAIL"


def test_max_iter_ends_the_judging(tmp_path: Path) -> None:
    """From max_iter validations on nothing is cut."""
    rule = Rule(EarlyTerminate("hyperband", min_iter=2, max_iter=2, eta=2), Metric())
    assert statuses(Scene().run(tmp_path, [8, 16], rule)) == ["F40", "F40"]


def test_the_rule_travels_with_the_task() -> None:
    """A worker on another machine judges by the same rule."""
    from lora_lab.sweep.roles import Task

    job = job_of(0, 8, Rule(EarlyTerminate("median", 2, 9, 4), Metric("loss", "maximize")))
    assert read_task(task_line(Task(1, (job,)))).jobs[0].rule == job.rule
    assert read_task(task_line(Task(1, (job_of(0, 8, None),)))).jobs[0].rule is None


def test_a_line_that_a_kill_cut_off_is_mended(tmp_path: Path) -> None:
    """Half a line at the journal's end goes when it is opened, and what came before stays."""
    Scene().run(tmp_path, [8], HALVING)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    assert len(open_study(tmp_path, f"runs: {HALVING.text}", "minimize").get_trials()) == 1
    assert journal.read_bytes() == whole
    assert statuses(Scene().run(tmp_path, [8, 16], HALVING)) == ["F40", "P20"]


def test_a_damaged_journal_is_one_clear_line(tmp_path: Path) -> None:
    """What is no journal is a failure that says what to do."""
    (tmp_path / JOURNAL).write_text("no json\nat all\n")
    with pytest.raises(Failure, match=r"damaged.*move it away"):
        open_study(tmp_path, "x", "minimize")
