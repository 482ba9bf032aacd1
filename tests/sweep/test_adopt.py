"""Runs that a neighbouring sweep has finished."""

from pathlib import Path

from lora_lab.sweep.adopt import adopt, finished_elsewhere
from lora_lab.sweep.run_folder import RunRecord, claim, finished_runs, write_record
from lora_lab.tracking.events import Artifact, Metrics, SamplePicture
from lora_lab.tracking.spool import Spool, read_events, read_header


def finished(sweep: Path, identity: str) -> Path:
    """Make a finished run."""
    folder = claim(sweep)
    (folder / "l.safetensors").write_bytes(b"lora")
    (folder / "config.json").write_text("{}")
    spool = Spool(folder, sweep.name, sweep, print)
    spool(Metrics(step=1, values={"loss": 0.5}, time_ms=1))
    spool(SamplePicture(step=1, key="sample_00", path=folder / "sample.png"))
    spool(Artifact(path=folder / "l.safetensors"))
    spool.close()
    write_record(
        folder,
        RunRecord(identity=identity, name="n", status="FINISHED", axes={}, metrics={"loss": 0.5}, lora="l.safetensors"),
    )
    return folder


def test_a_finished_run_is_taken_over(tmp_path: Path) -> None:
    """It gets a folder here with what it told, as a run of its own; the LoRA stays where it lies."""
    theirs = finished(tmp_path / "first", "a" * 64)
    claim(tmp_path / "second")
    found = finished_elsewhere(tmp_path / "second")
    assert set(found) == {"a" * 64}
    ours, record = adopt(*found["a" * 64], "second", tmp_path / "second")
    assert ours == tmp_path / "second" / "run2"
    assert record.lora == str(theirs / "l.safetensors")
    assert record.reason == f"trained in {theirs}"
    assert set(finished_runs(tmp_path / "second")) == {"a" * 64}
    header, before = read_header(ours), read_header(theirs)
    assert header is not None
    assert before is not None
    assert (header.experiment, header.parent) == ("second", "..")
    assert header.key != before.key, "the tracker must not take it for the first sweep's run"
    events = [spooled.event for spooled in read_events(ours, 0)]
    assert events == [spooled.event for spooled in read_events(theirs, 0)]
    assert sorted(path.name for path in ours.iterdir()) == ["config.json", "events.jsonl", "run.json"]


def test_neighbours_without_runs_are_passed_over(tmp_path: Path) -> None:
    """Other folders beside the sweep are left alone, and so is the sweep itself."""
    (tmp_path / "pictures").mkdir()
    finished(tmp_path / "sweep", "b" * 64)
    assert finished_elsewhere(tmp_path / "sweep") == {}
    assert finished_elsewhere(tmp_path / "none" / "sweep") == {}
