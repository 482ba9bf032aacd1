"""`lora-lab compare`: what a person reads."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_runs import Made, make_run, make_sweep, seeded

from lora_lab.cli.compare import command
from lora_lab.cli.wrap import cells
from lora_lab.failure import Failure


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of whoever runs the tests is nobody's business."""
    monkeypatch.delenv("COLUMNS", raising=False)


def ask(*words: str) -> Result:
    """Run the command as in a pipe: nothing has to fit."""
    return CliRunner().invoke(command, list(words), standalone_mode=False, catch_exceptions=False)


def test_seeds_are_one_line_with_their_spread(tmp_path: Path) -> None:
    """The best setting is first; what is within the noise is marked, what is not is not; failed runs come apart."""
    failed = Made(axes={"net_dim": 64, "test_seed": 1}, status="FAILED", reason="out of memory", name="net_dim=64")
    runs = [*seeded(4, 0.300, 0.304), *seeded(8, 0.198, 0.202), *seeded(16, 0.199, 0.203), failed]
    lines = ask(str(make_sweep(tmp_path, runs))).output.splitlines()
    assert lines == [
        "7 runs, 1 failed; by val_loss, the smallest first",
        "run        net_dim         val_loss  seeds    behind        lowest  steps        time",
        "---------  -------  ---------------  -----  --------  ------------  -----  ----------",
        "run3 run4        8  0.2000 ± 0.0028      2            0.19008 @ 10     20  1 min 30 s",
        "run5 run6       16  0.2010 ± 0.0028      2  ~ +0.001  0.19104 @ 10     20  1 min 30 s",
        "run1 run2        4  0.3020 ± 0.0028      2      +0.1    0.288 @ 10     20  1 min 30 s",
        "",
        "not ranked:",
        "run   net_dim  seed  steps  why",
        "----  -------  ----  -----  ---------------------",
        "run7       64     1      0  failed: out of memory",
        "",
        "best: net_dim=8: val_loss 0.2000 ± 0.0028, the mean of 2 seeds",
        "  0.001 (0.5%) better than the next, net_dim=16: within the noise of the seeds (± 0.009), so which of them is "
        "better is not known",
        "  ~ marks the 1 setting that the noise does not tell from the best",
        "what mattered for val_loss (part of its variance): net_dim 100%, test_seed 0%",
    ]


def test_the_readmes_example_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of the sweep that the README shows make the answer that it shows."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ lora-lab compare runs/demo\n(.+?)```", readme, flags=re.DOTALL)
    assert shown is not None
    losses = iter((0.0628286, 0.0605410, 0.0635663, 0.0602197, 0.0385554, 0.0391660, 0.0374099, 0.0386849))
    runs = [
        Made(
            axes={"learning_rate": rate, "net_dim": rank, "test_seed": seed},
            val_loss={60: next(losses)},
            name=f"learning_rate={rate} net_dim={rank} test_seed={seed}",
            seconds=730.0,
        )
        for rate in (0.0005, 0.005)
        for rank in (2, 8)
        for seed in (1, 2)
    ]
    make_sweep(tmp_path / "runs", runs, "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "88")
    assert ask("runs/demo").output.strip() == shown[1].strip()


def test_a_clear_lead_is_called_so(tmp_path: Path) -> None:
    """A difference that seeds do not make is more than noise; without seeds nobody knows."""
    out = ask(str(make_sweep(tmp_path, [*seeded(4, 0.300, 0.304), *seeded(8, 0.198, 0.202)]))).output
    assert "0.1 (33.8%) better than the next, net_dim=4: more than the noise of the seeds makes (± 0.012)" in out
    assert "~" not in out
    alone = ask(str(make_sweep(tmp_path, [*seeded(4, 0.3), *seeded(8, 0.2)], "alone"))).output
    assert "no setting has two seeds, so how much of it is chance nobody knows" in alone
    assert "±" not in alone


def test_what_is_judged_on_other_things_is_not_ranked_with_the_rest(tmp_path: Path) -> None:
    """The smaller group has a table of its own with the reason, though its numbers are lower."""
    other = replace(
        seeded(2, 0.01)[0], judged_on="base=1 pictures=2", values={"train_resolution": 768}, name="at 768"
    )  # fmt: skip
    none = replace(seeded(3, 0.5)[0], val_loss={}, judged_on="none", values={"validation_split": 0}, name="none")
    lines = ask(str(make_sweep(tmp_path, [*seeded(4, 0.3), *seeded(8, 0.2), other, none]))).output.splitlines()
    assert lines[1:3] == ["", "A: 2 runs"]
    assert [line.split()[0] for line in lines[5:7]] == ["run2", "run1"]
    assert lines[8] == "B: 1 run; does not compare with A: train_resolution 768, not 512"
    assert lines[11].split()[:3] == ["run3", "2", "0.01"]
    assert lines[16].split() == ["run4", "3", "1", "0", "no", "val_loss:", "nothing", "is", "held", "out"]
    assert "best: net_dim=8: val_loss 0.2, of the runs in A" in lines
    assert lines[-1] == "1 run in B not ranked with A: train_resolution 768, not 512"


def test_by_averages_whatever_else_differs(tmp_path: Path) -> None:
    """One line for each value of the keys, over the other axis and the seeds, and it is said over what."""
    runs = [
        Made(axes={"net_dim": rank, "unet_lr": rate}, val_loss={10: rank / 100 + rate}, name=f"{rank} {rate}")
        for rank in (4, 8)
        for rate in (0.001, 0.002)
    ]
    lines = ask(str(make_sweep(tmp_path, runs)), "--by", "net_dim").output.splitlines()
    assert lines[0] == "4 runs; by val_loss, the smallest first, for each net_dim"
    assert lines[3].split()[:6] == ["run1", "run2", "4", "0.04150", "±", "0.00071"]
    assert "  averaged over unet_lr: the spread is theirs too, not of the seeds alone" in lines
    with pytest.raises(Failure, match="nett_dim is no parameter"):
        ask(str(tmp_path / "ranks"), "--by", "nett_dim")


def test_sweeps_and_single_runs_stand_together(tmp_path: Path) -> None:
    """What differs between the sources is a column, and so is the sweep; a run that was taken over counts once."""
    first = make_sweep(tmp_path, seeded(4, 0.3), "first")
    second = make_sweep(tmp_path, [replace(one, values={"alpha": 2.0}) for one in seeded(8, 0.2)], "second")
    make_run(tmp_path / "single" / "lora-lab-logs" / "last-1", seeded(16, 0.1)[0], "", None)
    lines = ask(str(first), str(second), str(tmp_path / "single")).output.splitlines()
    assert lines[1].split()[:5] == ["run", "sweep", "net_dim", "alpha", "val_loss"]
    assert [line.split()[:5] for line in lines[3:6]] == [
        ["last-1", "-", "16", "16.0", "0.1"],
        ["run1", "second", "8", "2.0", "0.2"],
        ["run1", "first", "4", "16.0", "0.3"],
    ]
    taken_over = (first / "run1" / "run.json").read_text()
    (second / "run1" / "run.json").write_text(taken_over)
    assert ask(str(first), str(second)).output.startswith("1 run, 1 not begun;")


def test_other_metrics_and_goals(tmp_path: Path) -> None:
    """Any metric that the runs have told; the training's own loss comes with a warning."""
    folder = make_sweep(tmp_path, [*seeded(4, 0.3), *seeded(8, 0.2)])
    out = ask(str(folder), "--metric", "grad_norm", "--goal", "maximize").output
    assert "by grad_norm, the greatest first" in out
    assert "highest" in out
    assert "loss is what each run trains on" in ask(str(folder), "--metric", "loss").output
    assert "no run has finished with a speed" in ask(str(folder), "--metric", "speed").output


def test_a_table_fits_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What matters least is left out, and said; then long cells are cut: no line of a table is wider."""
    long = [replace(run, axes={**run.axes, "training_comment": "猫" * 40}) for run in seeded(4, 0.3, 0.31)]
    folder = make_sweep(tmp_path, [*long, *seeded(8, 0.2)])
    for width in (60, 80, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = ask(str(folder)).output.splitlines()
        assert max(map(cells, lines)) <= width
        assert len(lines) > 8
    monkeypatch.setenv("COLUMNS", "60")
    assert "(left out to fit: seeds, time, steps, lowest)" in ask(str(folder)).output


def test_json_has_everything(tmp_path: Path) -> None:
    """Tools get numbers as numbers, and null for what is none."""
    runs = [*seeded(4, 0.3, 0.31), replace(seeded(8, 0.2)[0], val_loss={20: float("nan")})]
    body = json.loads(ask(str(make_sweep(tmp_path, runs)), "--json").output)
    assert (body["metric"], body["columns"], body["noise"]["freedom"]) == ("val_loss", ["net_dim"], 1)
    first, last = body["settings"]
    assert (first["values"], first["n"], first["group"]) == ({"net_dim": 4}, 2, "A")
    assert first["runs"][0]["best"] == {"step": 10, "value": 0.288}
    assert (last["group"], last["runs"][0]["metrics"]["val_loss"]) == (None, None)


def test_csv_is_a_line_for_each_run_and_no_formula(tmp_path: Path) -> None:
    """A name that a spreadsheet would calculate is text there; numbers stay numbers."""
    runs = [replace(run, axes={**run.axes, "caption_prefix": "=1+1"}) for run in seeded(4, 0.3, 0.31)]
    rows = list(csv.DictReader(io.StringIO(ask(str(make_sweep(tmp_path, runs, "-x")), "--csv").output)))
    assert [row["run"] for row in rows] == ["run1", "run2"]
    assert rows[0]["caption_prefix"] == "'=1+1"
    assert rows[0]["sweep"] == "'-x"
    assert (rows[0]["val_loss"], rows[1]["test_seed"], rows[0]["best_step"]) == ("0.3", "2", "10")


def test_a_sweep_is_found_by_name_and_below_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name stands for the one sweep of that name below the working folder; otherwise a line says what to give."""
    make_sweep(tmp_path / "out", seeded(4, 0.3))
    monkeypatch.chdir(tmp_path)
    assert ask("ranks").output == ask(str(tmp_path)).output == ask("out/ranks/run1/run.json").output
    make_sweep(tmp_path / "other", seeded(4, 0.3))
    with pytest.raises(Failure, match="several sweeps are called ranks"):
        ask("ranks")
    with pytest.raises(Failure, match="there is no nothing"):
        ask("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match="no runs in"):
        ask("empty")


def test_nothing_of_mlflow_is_loaded(tmp_path: Path) -> None:
    """Comparing needs neither MLflow nor torch: the files are enough."""
    folder = make_sweep(tmp_path, seeded(4, 0.3))
    code = (
        "import sys; from lora_lab.cli import group; group(['compare', sys.argv[1]], standalone_mode=False); "
        "assert not {'mlflow', 'torch', 'numpy', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 run;")
