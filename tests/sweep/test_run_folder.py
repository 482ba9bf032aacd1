"""Numbered run folders and the note in them."""

import threading
from pathlib import Path

import pytest

from lora_lab.failure import Failure
from lora_lab.locks import held
from lora_lab.sweep.run_folder import LOCK, RunRecord, claim, finished_runs, place_of, read_record, write_record


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    """A gap is not filled: a deleted run's number is not given to another."""
    (tmp_path / "run1").mkdir()
    (tmp_path / "run7").mkdir()
    (tmp_path / "runner").mkdir()
    assert [claim(tmp_path).name, claim(tmp_path).name] == ["run8", "run9"]


def test_two_claims_at_once_get_two_folders(tmp_path: Path) -> None:
    """Sweeps that claim at the same moment never share a folder."""
    claimed: list[Path] = []
    threads = [threading.Thread(target=lambda: claimed.append(claim(tmp_path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.name for path in claimed}) == 16


def test_a_file_in_the_way_is_a_failure(tmp_path: Path) -> None:
    """A sweep folder that is a file is said in one line."""
    (tmp_path / "sweep").write_text("")
    with pytest.raises(Failure, match="cannot write"):
        claim(tmp_path / "sweep")


def record_of(identity: str, status: str = "FINISHED", lora: str = "l.safetensors") -> RunRecord:
    """Return a record as a finished run leaves it."""
    return RunRecord(identity=identity, name="n", status=status, axes={"net_dim": 8}, metrics={"loss": 0.5}, lora=lora)


def test_only_finished_runs_with_their_file_are_known(tmp_path: Path) -> None:
    """A failed run, a run whose LoRA was deleted, and a torn note do not count; of equal runs the first does."""
    for number, record in enumerate(
        [record_of("a"), record_of("b", "FAILED"), record_of("c", lora="gone"), record_of("a")], 1
    ):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "l.safetensors").write_bytes(b"x")
        write_record(folder, record)
    (tmp_path / "run5").mkdir()
    (tmp_path / "run5" / "run.json").write_text('{"identity": ')
    found = finished_runs(tmp_path)
    assert {identity: folder.name for identity, (folder, _) in found.items()} == {"a": "run1"}
    assert read_record(tmp_path / "run1") == record_of("a")
    assert finished_runs(tmp_path / "none") == {}
    assert [path.name for path in (tmp_path / "run1").iterdir() if path.name.endswith(".part")] == []


def test_an_unfinished_run_goes_on_in_its_folder(tmp_path: Path) -> None:
    """A run that was interrupted, or whose process died, is taken up where it lies, unless another process is at it."""
    for identity, status in (("a", "FINISHED"), ("b", "KILLED"), ("c", "RUNNING")):
        write_record(claim(tmp_path), RunRecord(identity=identity, name=identity, status=status, axes={}))
    assert [place_of(identity, tmp_path).name for identity in "bc"] == ["run2", "run3"]
    with held(tmp_path / "run3" / LOCK):
        assert place_of("c", tmp_path).name == "run4"
    assert place_of("a", tmp_path).name == "run5"
