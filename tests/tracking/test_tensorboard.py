"""Event files: TensorBoard's own reader finds what the run told."""

import sys
from pathlib import Path

import pytest

from lora_lab.tracking.events import Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.tracking.recorder import open_recorder
from lora_lab.tracking.tensorboard import MISSING, folder_of

pytest.importorskip("tensorboard")


def no_warning(text: str) -> None:
    """Fail where a warning is given."""
    raise AssertionError(text)


def read(folder: Path) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, tuple[int, int]]]]:
    """Numbers and picture sizes by name and step, as tensorboard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    numbers = {tag: {one.step: one.value for one in events.Scalars(tag)} for tag in tags["scalars"]}
    pictures = {tag: {one.step: (one.width, one.height) for one in events.Images(tag)} for tag in tags["images"]}
    return numbers, pictures


def start(log_dir: Path | None) -> RunStarted:
    """The first event of a run."""
    return RunStarted(name="net_dim=4/a", params={"log_dir": "null" if log_dir is None else str(log_dir)})


def test_numbers_and_pictures(tmp_path: Path) -> None:
    """Losses and sample pictures have their steps, in a folder with name and time; a run goes on in the same one."""
    from PIL import Image

    Image.new("RGB", (24, 16)).save(tmp_path / "x.png")
    logs, spool = tmp_path / "logs", tmp_path / "run"
    recorder = open_recorder(None, "e", None, spool, no_warning)
    recorder(start(logs))
    recorder(Metrics(step=1, values={"loss": 0.5, "lr/unet": 1e-3}, time_ms=1_700_000_000_000))
    recorder(Metrics(step=2, values={"loss": 0.25}, time_ms=1_700_000_001_000))
    recorder(SamplePicture(step=2, key="sample_00", path=tmp_path / "x.png"))
    recorder.close()
    recorder = open_recorder(None, "e", None, spool, no_warning)
    recorder(start(logs))
    recorder(Metrics(step=2, values={"loss": 0.25}, time_ms=1_700_000_002_000))
    recorder(SamplePicture(step=2, key="sample_00", path=tmp_path / "x.png"))
    recorder(Metrics(step=3, values={"loss": 0.125}, time_ms=1_700_000_003_000))
    recorder(RunEnded(status="FINISHED"))
    recorder.close()
    (folder,) = logs.iterdir()
    assert folder.name.startswith("net_dim=4_a-20")
    assert len(list(folder.iterdir())) == 2
    numbers, pictures = read(folder)
    assert numbers == {"loss": {1: 0.5, 2: 0.25, 3: 0.125}, "lr/unet": {1: pytest.approx(1e-3)}}
    assert pictures == {"sample_00": {2: (24, 16)}}


def test_no_log_dir(tmp_path: Path) -> None:
    """Without the key nothing is written."""
    assert folder_of(start(None), 0) is None
    recorder = open_recorder(None, "e", None, tmp_path / "run", no_warning)
    recorder(start(None))
    recorder(Metrics(step=1, values={"loss": 0.5}, time_ms=1))
    recorder.close()
    assert not list(tmp_path.rglob("*tfevents*"))


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing one line says so, and everything else is recorded."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    warnings: list[str] = []
    recorder = open_recorder(None, "e", None, tmp_path / "run", warnings.append)
    for event in (start(tmp_path / "logs"), Metrics(step=1, values={"loss": 0.5}, time_ms=1), start(tmp_path / "logs")):
        recorder(event)
    recorder.close()
    assert warnings == [MISSING]
    assert (tmp_path / "run" / "events.jsonl").read_text().count("loss") == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A `log_dir` that is a file costs the event files, and a line says so."""
    (tmp_path / "logs").write_text("")
    warnings: list[str] = []
    recorder = open_recorder(None, "e", None, tmp_path / "run", warnings.append)
    recorder(start(tmp_path / "logs"))
    recorder(RunEnded(status="FINISHED"))
    recorder.close()
    assert len(warnings) == 1
    assert "cannot write TensorBoard's files" in warnings[0]
