"""Events on the disk: complete, portable, and never in the training's way."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.failure import Failure
from lora_lab.tracking.events import (
    DECIDES,
    Artifact,
    DatasetUsed,
    Event,
    Metrics,
    RunEnded,
    RunStarted,
    SamplePicture,
)
from lora_lab.tracking.recorder import Recorder, Tracker
from lora_lab.tracking.spool import (
    EVENTS,
    SENT,
    Sent,
    Spool,
    can_go_on,
    decode,
    encode,
    read_events,
    read_header,
    read_sent,
    write_sent,
)


def no_warning(text: str) -> None:
    """Fail where a warning is given."""
    raise AssertionError(text)


def events_in(folder: Path) -> list[Event]:
    """Return some of every kind."""
    return [
        RunStarted(name="ä", params={"net_dim": "8"}, tags={"a": "b"}, note="n"),
        DatasetUsed(name="d", digest="0f", source="/data", profile={"pictures": 3}),
        Metrics(step=1, values={"loss": 0.1, "val_loss": float("inf")}, time_ms=17),
        SamplePicture(step=1, key="a dog", path=folder / "samples" / "1.png"),
        Artifact(path=Path("/elsewhere/grid.yaml"), folder="config"),
        RunEnded(status="FAILED", message="two\nlines"),
    ]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Every kind of event survives, in order, with the place where the next line begins."""
    spool = Spool(tmp_path, "e", None, no_warning)
    for event in events_in(tmp_path):
        spool(event)
    read = read_events(tmp_path, 0)
    assert [spooled.event for spooled in read] == events_in(tmp_path)
    assert read[-1].end == (tmp_path / EVENTS).stat().st_size
    assert [spooled.event for spooled in read_events(tmp_path, read[2].end)] == events_in(tmp_path)[3:]
    assert read[0].time_ms > 1_600_000_000_000
    spool.close()


def test_a_moved_folder_keeps_its_paths(tmp_path: Path) -> None:
    """Files in the run's folder are found after the folder has moved."""
    spool = Spool(tmp_path / "old", "e", tmp_path, no_warning)
    spool(Artifact(path=tmp_path / "old" / "lora.safetensors"))
    spool.close()
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_events(tmp_path / "new", 0)[0].event == Artifact(path=tmp_path / "new" / "lora.safetensors")
    header = read_header(tmp_path / "new")
    assert header is not None
    assert (header.experiment, header.parent) == ("e", "..")


def test_a_spool_is_continued_with_the_same_key(tmp_path: Path) -> None:
    """A second opening appends and leaves the run's key and experiment as they were."""
    for name in ("first", "second"):
        spool = Spool(tmp_path, name, None, no_warning)
        spool(RunEnded(status="FINISHED", message=name))
        spool.close()
    assert [spooled.event.message for spooled in read_events(tmp_path, 0)] == ["first", "second"]  # type: ignore[union-attr]
    header = read_header(tmp_path)
    assert header is not None
    assert header.experiment == "first"
    assert (tmp_path / EVENTS).read_text().count('"Spool"') == 1


def test_a_line_torn_by_a_crash_costs_itself_only(tmp_path: Path) -> None:
    """Half a line at the end is skipped while it may still grow, and does not swallow what is appended later."""
    spool = Spool(tmp_path, "e", None, no_warning)
    spool(RunEnded(status="KILLED"))
    spool.close()
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"kind": "RunEn')
    assert len(read_events(tmp_path, 0)) == 1
    spool = Spool(tmp_path, "e", None, no_warning)
    spool(RunEnded(status="FINISHED"))
    spool.close()
    assert [spooled.event for spooled in read_events(tmp_path, 0)] == [
        RunEnded(status="KILLED"),
        RunEnded(status="FINISHED"),
    ]


def test_a_full_disk_is_told_once_and_never_raised(tmp_path: Path) -> None:
    """Recording that cannot be written warns once; the training hears nothing of it."""
    warnings: list[str] = []
    spool = Spool(tmp_path, "e", None, warnings.append)
    spool.close()  # a closed file refuses as a full disk does
    spool(RunEnded(status="FINISHED"))
    spool(RunEnded(status="FINISHED"))
    assert len(warnings) == 1
    assert "training goes on" in warnings[0]


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    """Where no spool can be opened, the run is not started."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot write"):
        Spool(tmp_path / "file" / "run", "e", None, no_warning)


def test_what_was_sent_is_kept_for_each_tracker(tmp_path: Path) -> None:
    """Two trackers have positions of their own; a torn note means from the beginning."""
    assert read_sent(tmp_path, "a") == Sent()
    write_sent(tmp_path, "a", Sent(10, "run", "1"))
    write_sent(tmp_path, "b", Sent(20, "other", "2"))
    assert read_sent(tmp_path, "a") == Sent(10, "run", "1")
    assert read_sent(tmp_path, "b") == Sent(20, "other", "2")
    (tmp_path / SENT).write_text("{")
    assert read_sent(tmp_path, "a") == Sent()


@given(st.text(), st.dictionaries(st.text(), st.floats(allow_nan=False)), st.integers(0, 10**6))
def test_any_metrics_survive(message: str, values: dict[str, float], step: int) -> None:
    """Names, numbers and texts of any kind stay one line and come back the same."""
    for event in (Metrics(step=step, values=values, time_ms=1), RunEnded(status="FAILED", message=message)):
        line = encode(event, Path("/run"), 5)
        assert line.count("\n") == 1
        spooled = decode(line, Path("/run"), 0)
        assert spooled is not None
        assert (spooled.event, spooled.time_ms) == (event, 5)


@given(st.one_of(st.text(), st.dictionaries(st.sampled_from(["kind", "at", "path"]), st.integers()).map(json.dumps)))
def test_any_line_is_read_without_an_exception(line: str) -> None:
    """A line that is no event is None, whatever it is."""
    assert decode(line, Path("/run"), 0) is None


def test_a_run_that_goes_on_tells_nothing_twice(tmp_path: Path) -> None:
    """Numbers and pictures that the spool has are left out when the run repeats its last steps; new ones are kept."""
    first = Recorder(Spool(tmp_path, "e", None, no_warning), Tracker(None, "e", no_warning), owns_tracker=False)
    picture = SamplePicture(step=2, key="sample_00", path=tmp_path / "2.png")
    for event in (Metrics(step=1, values={"loss": 1.0}, time_ms=1), Metrics(step=2, values={"loss": 2.0}, time_ms=2)):
        first(event)
    first(picture)
    first.close()
    again = Recorder(Spool(tmp_path, "e", None, no_warning), Tracker(None, "e", no_warning), owns_tracker=False)
    again(Metrics(step=2, values={"loss": 2.5, "epoch_loss": 1.5}, time_ms=3))
    again(picture)
    again(Metrics(step=3, values={"loss": 3.0}, time_ms=4))
    again.close()
    events = [spooled.event for spooled in read_events(tmp_path, 0)]
    told = [(event.step, dict(event.values)) for event in events if isinstance(event, Metrics)]
    assert told == [(1, {"loss": 1.0}), (2, {"loss": 2.0}), (2, {"epoch_loss": 1.5}), (3, {"loss": 3.0})]
    assert events.count(picture) == 1


def test_which_log_can_go_on(tmp_path: Path) -> None:
    """A log goes on if it is of a run with the same decisions that has not finished."""
    ends = {"killed": ["KILLED"], "crashed": [], "finished": ["FINISHED"], "went on": ["KILLED", "FINISHED"]}
    for name, statuses in ends.items():
        spool = Spool(tmp_path / name, "e", None, no_warning)
        spool(RunStarted(name="n", params={}, tags={DECIDES: "abc"}))
        for status in statuses:
            spool(RunEnded(status=status))
        spool.close()
    found = [name for name in ends if can_go_on(tmp_path / name, "abc")]
    assert found == ["killed", "crashed"]
    assert not can_go_on(tmp_path / "killed", "other")
    assert not can_go_on(tmp_path / "nowhere", "abc")
