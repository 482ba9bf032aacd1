"""`lora-lab status`: how runs stand, seen from their folders."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli.status import command
from lora_lab.config import check
from lora_lab.failure import Failure
from lora_lab.locks import held
from lora_lab.sweep.grid import Metric
from lora_lab.sweep.plan import Plan, PlannedRun
from lora_lab.sweep.roles import Job
from lora_lab.sweep.run_folder import LOCK, RunRecord, claim, read_record, write_record
from lora_lab.sweep.sweep_record import write_sweep
from lora_lab.tracking.events import VALIDATION_SET, Metrics, RunStarted
from lora_lab.tracking.spool import Spool

METRIC = {"val_loss": 0.5}
RANKS = (2, 4, 8, 16, 32)


def ask(*words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, list(words), standalone_mode=False, catch_exceptions=False)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Return a sweep of which one run has finished, one failed, one trains, one was interrupted, and one waits."""
    folder = tmp_path / "out" / "ranks"
    jobs = [
        Job(PlannedRun(at, f"net_dim={rank}", {"net_dim": rank}, {}), check({}).config, f"id{rank}")
        for at, rank in enumerate(RANKS)
    ]
    write_sweep(folder, Plan("ranks", Metric(), ("net_dim",), ()), jobs)
    for rank, status in ((2, "FINISHED"), (4, "FAILED"), (8, "RUNNING"), (16, "KILLED")):
        run = claim(folder)
        spool = Spool(run, "ranks", folder, print)
        spool(RunStarted(name="x", params={"derived.total_steps": "60"}, tags={}))
        spool(Metrics(step=rank, values={"val_loss": rank / 100}, time_ms=1))
        spool.close()
        metrics = {"val_loss": 0.5} if status == "FINISHED" else {}
        record = RunRecord(
            identity=f"id{rank}", name="x", status=status, axes={"net_dim": rank}, metrics=metrics, steps=60,
            seconds=75.0, reason="no pictures" if status == "FAILED" else "",
        )  # fmt: skip
        write_record(run, record)
    return folder


def test_every_state_is_told_from_the_folders(sweep: Path) -> None:
    """A run trains while its lock is held; one that is not finished, and not held, was interrupted."""
    with held(sweep / "run3" / LOCK):
        result = ask(str(sweep))
    assert result.return_value == 1
    lines = result.output.splitlines()
    assert lines[0] == f"ranks ({sweep}): 1 finished, 1 failed, 1 training, 1 interrupted, 1 waiting"
    assert [line.split() for line in lines[3:8]] == [
        ["run1", "2", "60/60", "0.5", "1", "min", "15", "s", "finished"],
        ["run2", "4", "4/60", "0.04", "1", "min", "15", "s", "failed:", "no", "pictures"],
        ["run3", "8", "8/60", "0.08", "1", "min", "15", "s", "training"],
        ["run4", "16", "16/60", "0.16", "1", "min", "15", "s", "interrupted"],
        ["-", "32", "-", "-", "-", "waiting"],
    ]


def test_sweeps_below_a_folder_are_found(sweep: Path) -> None:
    """Asked for a folder above, each sweep below is shown; as JSON for tools too."""
    assert "ranks (" in ask(str(sweep.parent.parent)).output
    (page,) = json.loads(ask(str(sweep), "--format", "json").output)
    assert page["name"] == "ranks"
    assert [run["state"] for run in page["runs"]][-1] == "waiting"


def test_no_sweep_is_a_failure(tmp_path: Path) -> None:
    """A folder without a sweep is one line."""
    with pytest.raises(Failure, match="no sweep in"):
        ask(str(tmp_path))


def test_runs_judged_on_different_things_are_marked(sweep: Path) -> None:
    """Where validation sets differ, a letter in each line says which runs compare, and a line why others do not."""
    spool = Spool(sweep / "run4", "ranks", sweep, print)
    spool(RunStarted(name="x", params={}, tags={VALIDATION_SET: "base=2"}))
    spool.close()
    for number in (1, 2, 3):
        record = read_record(sweep / f"run{number}")
        assert record is not None
        write_record(sweep / f"run{number}", replace(record, validation="base=1", status="FINISHED", metrics=METRIC))
    lines = ask(str(sweep)).output.splitlines()
    assert [line.split()[4] for line in lines[3:7]] == ["A", "A", "A", "B"]
    assert lines[8] == "val_loss of 1 run marked B does not compare with that of A: the base model is another one"


def test_finished_sweeps_exit_with_zero(tmp_path: Path) -> None:
    """All finished is 0, for scripts that wait."""
    job = Job(PlannedRun(0, "a", {}, {}), check({}).config, "id")
    write_sweep(tmp_path, Plan("one", Metric(), (), ()), [job])
    write_record(claim(tmp_path), RunRecord(identity="id", name="a", status="FINISHED", axes={}))
    assert ask(str(tmp_path)).return_value == 0
