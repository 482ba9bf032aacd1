"""`lora-lab sweep` with method bayes, from the grid file to the table, with a stand-in for the trainer."""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from lora_lab.cli.status import command as status_command
from lora_lab.cli.sweep import SweepOptions, run_sweep
from lora_lab.config import check
from lora_lab.failure import CutShort, Failure
from lora_lab.lint import Finding
from lora_lab.sweep import judge
from lora_lab.sweep.roles import Progress, RunProgress, RunToTrain, TrainResult
from lora_lab.tracking.events import Metrics

GRID = """\
name: rates
base: base.json
method: bayes
max_runs: 9
parameters:
  learning_rate: {min: 1e-5, max: 1e-2, distribution: log_uniform}
  net_dim: [8, 16]
  alpha: net_dim / 2
"""


class Result:
    """A training's result."""

    steps = 5
    seconds = 1.0

    def __init__(self, folder: Path, value: float) -> None:
        """Leave a file."""
        self.lora = folder / "l.safetensors"
        self.lora.write_bytes(b"lora")
        self.metrics = {"val_loss": value}


def train(runs: Sequence[RunToTrain], progress: Callable[[Progress], None]) -> Sequence[TrainResult | Failure]:
    """Pretend to train: 3e-4 is the best rate."""
    results: list[TrainResult | Failure] = []
    for run in runs:
        progress(RunProgress(1, 5, 0.5))
        value = abs(math.log10(run.config.learning_rate or 1) + 3.5)
        run.record(Metrics(step=2, values={"val_loss": value}, time_ms=1))
        short = run.judge is not None and run.judge(2, {"val_loss": value})
        results.append(CutShort(2, 5) if short else Result(run.folder, value))
    return results


QUIET = SweepOptions(tracking=False, train=train)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a grid, a base config and a data set; lint refuses what `check` does, and linear."""
    (tmp_path / "data" / "2_cat").mkdir(parents=True)
    (tmp_path / "data" / "2_cat" / "a.png").write_bytes(b"picture")
    (tmp_path / "data" / "2_cat" / "a.txt").write_text("a cat")
    (tmp_path / "base").mkdir()
    base = {"img_folder": "data", "output_folder": "out", "base_model": "base"}
    (tmp_path / "base.json").write_text(json.dumps(base))
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.setattr(judge, "lint_points", _lint)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _lint(
    shared: Mapping[str, object], points: Sequence[Mapping[str, object]], *rest: object
) -> list[tuple[Finding, ...]]:
    return [_lint_one({**shared, **point}) for point in points]


def _lint_one(values: Mapping[str, object]) -> tuple[Finding, ...]:
    found = [Finding("LL003", "wrong", "error", p.message, (p.key,), None, "mend it") for p in check(values).problems]
    if values.get("scheduler") == "linear":
        found.append(Finding("LL399", "linear", "error", "linear is not liked", ("scheduler",), None, "take cosine"))
    return tuple(found)


def test_a_dry_run_shows_the_space_and_what_lint_says_of_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written; Optuna is not even loaded."""
    before = set(sys.modules)
    (project / "grid.yaml").write_text(GRID + "exclude:\n  - {net_dim: 16, learning_rate: 1e-5}\n")
    assert run_sweep(project / "grid.yaml", replace(QUIET, dry_run=True)) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines() == [
        "rates: a search of 9 runs for the smallest val_loss",
        "  learning_rate: 1e-05 to 0.01, log_uniform",
        "  net_dim: 8, 16",
        "  alpha: net_dim / 2",
        "  linted 5 points from all over the space: all can be trained",
    ]
    assert not (project / "out").exists()
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {"optuna", "numpy"}


def test_a_search_ends_with_the_table_and_the_best_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nine runs are proposed, trained and compared; status and the best config know them; again, all is done before."""
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    out, _ = capsys.readouterr()
    assert "[9/9]" in out
    assert "best: learning_rate=" in out
    best = json.loads((project / "out" / "rates" / "best.json").read_text())
    assert best["alpha"] == best["net_dim"] / 2
    assert len(json.loads((project / "out" / "rates" / "sweep.json").read_text())["runs"]) == 9
    result = CliRunner().invoke(status_command, [str(project / "out")], standalone_mode=False)
    assert result.return_value == 0
    assert "9 finished" in result.output
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    out, _ = capsys.readouterr()
    assert out.count("done before") == 18  # a line and a row each
    assert not (project / "out" / "rates" / "run10").exists()


def test_status_counts_what_is_still_to_be_proposed(project: Path) -> None:
    """An interrupted search says how many runs there will be, and is not complete."""

    def interrupted(
        runs: Sequence[RunToTrain], progress: Callable[[Progress], None]
    ) -> Sequence[TrainResult | Failure]:
        if len(list((project / "out" / "rates").glob("run*"))) > 4:
            raise KeyboardInterrupt
        return train(runs, progress)

    assert run_sweep(project / "grid.yaml", replace(QUIET, train=interrupted)) == 130
    result = CliRunner().invoke(status_command, [str(project / "out")], standalone_mode=False)
    assert result.return_value == 1
    assert "4 finished, 1 interrupted, 4 to be proposed" in result.output


def test_a_part_of_the_space_that_cannot_be_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lint refuses is said before the start, and never trained."""
    axes = "net_dim: [8, 16]\n  scheduler: [cosine, linear]"
    (project / "grid.yaml").write_text(GRID.replace("net_dim: [8, 16]", axes))
    code = run_sweep(project / "grid.yaml", QUIET)
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "6 of them cannot be trained and will be left out" in out
    assert "in 6 of 12 points of the sample" in err
    runs = json.loads((project / "out" / "rates" / "sweep.json").read_text())["runs"]
    assert [run["axes"]["scheduler"] for run in runs] == ["cosine"] * 9


def test_nothing_starts_where_no_point_can_be_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What holds everywhere is said as for a grid."""
    (project / "base.json").write_text('{"img_folder": "data", "output_folder": "out"}')
    assert run_sweep(project / "grid.yaml", QUIET) == 1
    _, err = capsys.readouterr()
    assert "base_model is missing" in err
    assert "in every point of the sample" in err
    assert "none of 6 points from all over the space can be trained; nothing was started" in err
    assert not (project / "out").exists()


def test_without_optuna_one_line_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a search nor early_terminate begins; a dry run needs nothing."""
    from lora_lab.sweep import study

    monkeypatch.setattr(study.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Failure, match=r"pip install 'lora-lab\[search\]'"):
        run_sweep(project / "grid.yaml", QUIET)
    assert run_sweep(project / "grid.yaml", replace(QUIET, dry_run=True)) == 0
    (project / "grid.yaml").write_text("base: base.json\nearly_terminate: {type: median}\n")
    with pytest.raises(Failure, match="early_terminate need Optuna"):
        run_sweep(project / "grid.yaml", QUIET)


def test_runs_of_a_grid_that_are_cut_short(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They stand in the table as such, the sweep has ended well, and status says it too."""
    (project / "grid.yaml").write_text(
        "name: cut\nbase: base.json\nparameters: {learning_rate: [3e-4, 1e-2, 1e-5]}\n"
        "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n"
    )
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    out, _ = capsys.readouterr()
    assert out.count("cut short at step 2 of 5") == 4  # a line and a row each
    assert json.loads((project / "out/cut/run2/run.json").read_text())["status"] == "PRUNED"
    result = CliRunner().invoke(status_command, [str(project / "out")], standalone_mode=False)
    assert result.return_value == 0
    assert "2 cut short, 1 finished" in result.output
    assert run_sweep(project / "grid.yaml", QUIET) == 0
    out, _ = capsys.readouterr()
    assert "cut short at step 2 of 5 before" in out
    assert "all 3 runs are done before" in out
