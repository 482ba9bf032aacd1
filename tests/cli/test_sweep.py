"""`lora-lab sweep` from the grid file to the table, with a stand-in for the trainer."""

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from stand_ins import Result, Step

from lora_lab.cli import live
from lora_lab.cli.sweep import SweepOptions, command, run_sweep
from lora_lab.config import check
from lora_lab.failure import Failure
from lora_lab.lint import Disk, Finding
from lora_lab.sweep import judge
from lora_lab.sweep.execute import Executed
from lora_lab.sweep.roles import Progress, RunProgress, RunToTrain, TrainResult

GRID = """\
name: ranks
base: base.json
parameters:
  net_dim: [8, 16]
  unet_lr: [1e-3, 1e-4]
"""


def train(runs: Sequence[RunToTrain], progress: Callable[[Progress], None]) -> Sequence[TrainResult | Failure]:
    """Pretend to train: small ranks and low rates are best, rank 64 breaks, rank 128 is interrupted."""
    results = []
    for run in runs:
        progress(Step(1, 5, 0.5))
        if run.config.net_dim == 64:
            raise RuntimeError("no such kernel")
        if run.config.net_dim == 128:
            raise KeyboardInterrupt
        (run.folder / "l.safetensors").write_bytes(b"lora")
        metrics = {"loss": 0.5, "val_loss": run.config.net_dim * (run.config.unet_lr or 1)}
        results.append(Result(run.folder / "l.safetensors", metrics))
    return results


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a grid, a base config and a data set; lint finds nothing but what `check` does."""
    (tmp_path / "data" / "2_cat").mkdir(parents=True)
    (tmp_path / "data" / "2_cat" / "a.png").write_bytes(b"picture")
    (tmp_path / "base").mkdir()
    base = {"base_model": "base", "img_folder": "data", "output_folder": "out"}
    (tmp_path / "base.json").write_text(json.dumps(base))
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.setattr(judge, "lint_points", _lint)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _lint(
    shared: Mapping[str, object],
    points: Sequence[Mapping[str, object]],
    folder: Path,
    disk: Disk | None,
    machine: object,
) -> list[tuple[Finding, ...]]:
    return [_lint_one({**shared, **point}) for point in points]


def _lint_one(values: Mapping[str, object]) -> tuple[Finding, ...]:
    found = [Finding("LL003", "wrong", "error", p.message, (p.key,), None, "mend it") for p in check(values).problems]
    if values.get("net_dim") == 16:
        found.append(Finding("LL399", "sixteen", "warning", "sixteen is even", ("net_dim",), None, "take 17"))
    return tuple(found)


QUIET = SweepOptions(tracking=False, train=train)


def test_a_sweep_ends_with_the_table_and_the_best_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan, the warnings, each run and the table are printed; the best run is named with its file."""
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    out, err = capsys.readouterr()
    assert out.startswith("ranks: 4 runs over net_dim, unet_lr\n    1  net_dim=8 unet_lr=0.001\n")
    assert "[4/4] net_dim=16 unet_lr=0.0001: finished" in out
    assert f"best: net_dim=8 unet_lr=0.0001 (val_loss 0.0008)\n      {project}/out/ranks/run2/l.safetensors" in out
    assert "warning: sixteen is even [LL399 sixteen] in 2 of 4 runs (3, 4)\n    take 17\n" in err
    table = (project / "out" / "ranks" / "table.txt").read_text()
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["run2", "run4", "run1", "run3"]
    assert table.strip() in out
    assert out.endswith(f"compare: lora-lab compare {project}/out/ranks --html report.html\n")
    assert not (project / "lora-lab-runs").exists()


def test_a_sweep_over_what_runs_are_judged_on_is_told_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Varying the resolution makes val_losses that do not compare: said before, marked after."""
    grid = "name: r\nbase: base.json\nparameters: {train_resolution: [512, 768], net_dim: [8, 4]}"
    (project / "grid.yaml").write_text(grid)
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    out, err = capsys.readouterr()
    assert "warning: train_resolution decides what val_loss is measured on" in err
    assert "val_loss of 2 runs marked B does not compare with that of A: train_resolution 768, not 512" in out
    assert "best: train_resolution=512 net_dim=4 (val_loss 4, of the 2 runs marked A)" in out
    config = json.loads((project / "out" / "r" / "best.json").read_text())
    assert config["train_resolution"] == 512


def test_nothing_starts_where_a_run_is_bad(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bad run keeps all from starting; what is wrong and in which runs is said once."""
    (project / "base.json").write_text('{"img_folder": "data", "output_folder": "out"}')
    assert run_sweep(project / "grid.yaml", QUIET) == 1
    _, err = capsys.readouterr()
    assert err.count("base_model is missing") == 1
    assert "in every run" in err
    assert "4 of 4 runs cannot be trained; nothing was started" in err
    assert not (project / "out").exists()


def test_mistakes_in_the_grid_are_shown_with_a_caret(project: Path) -> None:
    """Each mistake comes with file, line, column and the line itself; the exit code is 2."""
    (project / "grid.yaml").write_text(GRID + "metod: grid\n")
    result = CliRunner().invoke(command, ["grid.yaml"], standalone_mode=False)
    assert result.return_value == 2
    assert "grid.yaml:6:1: error: unknown key 'metod', did you mean method?\n    metod: grid\n    ^\n" in result.stderr


@pytest.mark.parametrize(
    ("text", "options"),
    [(GRID.replace("base.json", '{training_comment: "\\ud800"}'), []), (GRID, ["--set", 'training_comment="\\ud800"'])],
)
def test_half_a_character_is_told_in_a_line(text: str, options: list[str], project: Path) -> None:
    """What no file can hold ends the sweep before it begins."""
    (project / "grid.yaml").write_text(text)
    result = CliRunner().invoke(command, ["grid.yaml", *options], standalone_mode=False)
    assert "half of a character" in (str(result.exception) if options else result.stderr)
    assert not (project / "out").exists()


def test_a_dry_run_trains_nothing(project: Path) -> None:
    """The plan and the findings are all there is."""
    result = CliRunner().invoke(command, ["grid.yaml", "--dry-run"], standalone_mode=False)
    assert result.return_value == 0
    assert "4  net_dim=16 unet_lr=0.0001" in result.stdout
    assert "sixteen is even" in result.stderr
    assert not (project / "out").exists()
    assert not (project / "lora-lab-runs").exists()


def test_a_failed_run_makes_the_exit_code_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are trained all the same, and the reason stands below the table."""
    (project / "grid.yaml").write_text("name: r\nbase: base.json\nparameters: {net_dim: [64, 8]}")
    assert run_sweep(project / "grid.yaml", QUIET) == 1
    out, err = capsys.readouterr()
    assert "best: net_dim=8" in out
    assert "run1 failed: RuntimeError: no such kernel" in err


def test_an_interrupted_sweep_shows_what_it_has(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with the table of what was trained and exit code 130; the next call goes on from there."""
    (project / "grid.yaml").write_text("name: r\nbase: base.json\nparameters: {net_dim: [8, 128, 4]}")
    assert run_sweep(project / "grid.yaml", QUIET) == 130
    out, _ = capsys.readouterr()
    assert "best: net_dim=8" in out
    assert "interrupted" in out
    (project / "grid.yaml").write_text("name: r\nbase: base.json\nparameters: {net_dim: [8, 4]}")
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (0, 130)])
def test_the_exit_code_is_the_signals(number: int, code: int, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that sends SIGTERM hears of it, as from `train`; 0 is a run that was interrupted by itself."""
    ended = Executed((), interrupted=True, signal=number)
    monkeypatch.setattr("lora_lab.sweep.execute.execute", lambda *given: ended)
    assert run_sweep(project / "grid.yaml", QUIET) == code


def test_where_the_runs_go(project: Path) -> None:
    """`multi_run_folder` wins over the output folder, the option over both, and a new name is a new folder."""
    run_sweep(project / "grid.yaml", QUIET)
    run_sweep(project / "grid.yaml", SweepOptions(Path("there"), tracking=False, train=train, name="other"))
    assert (project / "there" / "other" / "run4" / "run.json").is_file()
    base = {"base_model": "base", "img_folder": "data", "output_folder": "out", "multi_run_folder": "many"}
    (project / "base.json").write_text(json.dumps(base))
    run_sweep(project / "grid.yaml", QUIET)
    assert (project / "many" / "run1" / "run.json").is_file()
    assert sorted(path.name for path in (project / "out" / "ranks").glob("run*")) == [
        "run1",
        "run2",
        "run3",
        "run4",
    ]


def test_a_grid_that_is_not_there_is_a_failure(project: Path) -> None:
    """A missing grid is one line."""
    with pytest.raises(Failure, match=r"none\.yaml"):
        run_sweep(project / "none.yaml", QUIET)


def test_settings_from_the_command_line(project: Path) -> None:
    """--set goes over the base config in every run; its value is read as in a grid, its path from here."""
    (project / "other").mkdir()
    run_sweep(project / "grid.yaml", replace(QUIET, settings=("base_model=other", "max_steps=7", "vae=null")))
    config = json.loads((project / "out" / "ranks" / "run1" / "config.json").read_text())
    assert (config["base_model"], config["max_steps"], config["vae"]) == (str(project / "other"), 7, None)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("net_dim=4", "the grid varies it"),
        ("max_steps", "has no value"),
        ("max_steps=many", "must be a whole number"),
        ("max_stesp=4", "did you mean max_steps"),
    ],
)
def test_a_setting_that_no_run_could_have_is_a_failure(project: Path, setting: str, said: str) -> None:
    """A wrong --set is one line, before anything is looked at."""
    with pytest.raises(Failure, match=said):
        run_sweep(project / "grid.yaml", replace(QUIET, settings=(setting,)))


def test_a_name_that_is_a_path_is_a_failure(project: Path) -> None:
    """A sweep's name cannot lead its runs out of the output folder."""
    with pytest.raises(Failure, match="cannot name a sweep"):
        run_sweep(project / "grid.yaml", SweepOptions(tracking=False, train=train, name="../x"))


@pytest.mark.filterwarnings("ignore")
def test_the_runs_are_in_mlflow_in_the_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With tracking on, the parent and its runs are in the database in the project, and it is said how to look."""
    assert run_sweep(project / "grid.yaml", SweepOptions(train=train)) == 0
    assert "look: lora-lab ui ranks" in capsys.readouterr().out
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project}/lora-lab-runs/mlflow.db")
    experiment = client.get_experiment_by_name("ranks")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["lora_lab.run"] == "sweep"]
    children = [run for run in runs if run.data.tags["lora_lab.run"] == "train"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [len(run.data.params) >= 60 for run in children] == [True] * 4
    assert "run2" in parent.data.tags["mlflow.note.content"]
    files = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert files == {"grid.yaml", "table.txt", "figures"}
    assert {a.path for a in client.list_artifacts(children[0].info.run_id)} >= {
        "config.json",
        "lint.json",
        "l.safetensors",
    }


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a step is told every ten seconds, with the time that the sweep still needs."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines = live.make_watch(2)
    assert type(lines) is live.Lines
    from lora_lab.sweep.plan import PlannedRun
    from lora_lab.sweep.roles import Job

    job = Job(PlannedRun(0, "net_dim=8", {}, {}), check({}).config, "id")
    lines.started(job, Path("/r/run1"))
    for step in range(1, 31):
        clock[0] += 1
        lines.progressed(job, RunProgress(step, 60, 0.25))
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "[1/2] net_dim=8: training into /r/run1"
    assert told[1] == "[1/2] net_dim=8: step 10 of 60, loss 0.2500, the sweep needs about 1 min 50 s more"
    assert len(told) == 4


def test_the_time_left_of_a_pack(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs at the same step tell of it one after the other: after the first alone the pace is not known yet."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    from lora_lab.sweep.plan import PlannedRun
    from lora_lab.sweep.roles import Job

    lines = live.Lines(2)
    jobs = [Job(PlannedRun(n, f"net_dim={n}", {}, {}), check({}).config, "id") for n in range(2)]
    for job in jobs:
        lines.started(job, Path("/r"))
    for step in (15, 30):
        clock[0] += 30
        for job in jobs:
            lines.progressed(job, RunProgress(step, 60, 0.25))
    told = capsys.readouterr().out.splitlines()[2:]
    assert told[0] == "[1/2] net_dim=0: step 15 of 60, loss 0.2500"
    assert told[1].startswith("[1/2] net_dim=0: step 30 of 60, loss 0.2500, the sweep needs about 1 min")


def test_the_bars_show_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the lines stand above the bars; drawing them does not fail."""
    from lora_lab.sweep.plan import PlannedRun
    from lora_lab.sweep.roles import Job, Outcome

    run = PlannedRun(0, "net_dim=[8]", {}, {})
    bars = live.Bars(1)
    try:
        bars.started(Job(run, check({}).config, "id"), Path("/r/run1"))
        bars.progressed(Job(run, check({}).config, "id"), RunProgress(1, 2, 0.5))
        bars.ended(Outcome(run=run, status="FAILED", folder=Path("/r/run1"), reason="[bold] no", seconds=1))
        bars.warn("[x]")
    finally:
        bars.close()
    out = capsys.readouterr().out
    assert "net_dim=[8]: failed after 1.0 s: [bold] no" in out
    assert "warning: [x]" in out
