"""The shipping thread against trackers that fail in every way."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lora_lab.tracking import ship
from lora_lab.tracking.events import Event, Metrics, RunEnded, RunStarted
from lora_lab.tracking.ship import Shipper, parcels
from lora_lab.tracking.spool import Sent, Spool, SpooledEvent, SpoolHeader, read_sent
from lora_lab.tracking.target import Target

TARGET = Target("http://user:secret@tracker")


class RefusedError(Exception):
    """What MLflow says to a value that it does not take."""

    error_code = "INVALID_PARAMETER_VALUE"


@dataclass
class FakeTracker:
    """A tracker in memory. `down` and `refuses` say how it misbehaves."""

    runs: dict[str, list[Event]] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    calls: int = 0
    down: bool = False
    refuses: Callable[[Event], bool] = lambda event: False

    def experiment(self, name: str) -> str:
        """Return an id."""
        self._answer()
        return f"id of {name}"

    def knows(self, run_id: str) -> bool:
        """Return whether the run is there."""
        self._answer()
        return run_id in self.runs

    def run_of(self, header: SpoolHeader, experiment_id: str, parent_run_id: str | None, time_ms: int) -> str:
        """Return the run of a key."""
        self._answer()
        run_id = f"run {header.key}"
        self.runs.setdefault(run_id, [])
        self.parents[run_id] = parent_run_id
        return run_id

    def write(self, run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None:
        """Take a parcel as a whole or not at all."""
        self._answer()
        if any(self.refuses(spooled.event) for spooled in parcel):
            raise RefusedError("no such thing")
        self.runs[run_id] += [spooled.event for spooled in parcel]
        self.calls += 1

    def _answer(self) -> None:
        if self.down:
            raise ConnectionError("connection refused\nand much more")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(ship, "LONGEST_PAUSE_SECONDS", 0.02)


def metrics(step: int) -> Metrics:
    """Return a step's metrics."""
    return Metrics(step=step, values={"loss": 1 / (step + 1)}, time_ms=step)


def spool_of(folder: Path, parent: Path | None = None) -> Spool:
    """Return a spool that started a run."""
    spool = Spool(folder, "e", parent, pytest.fail)
    spool(RunStarted(name=folder.name, params={}))
    return spool


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_children_are_nested_under_their_parent(tmp_path: Path) -> None:
    """Everything arrives in order, and a child carries its parent's run id."""
    tracker, warnings = FakeTracker(), list[str]()
    shipper = Shipper(TARGET, warnings.append, lambda target: tracker)
    spool_of(tmp_path / "sweep").close()
    shipper.add(tmp_path / "sweep")
    child = spool_of(tmp_path / "sweep" / "run1", tmp_path / "sweep")
    shipper.add(tmp_path / "sweep" / "run1")
    for step in range(500):
        child(metrics(step))
    child(RunEnded(status="FINISHED"))
    child.close()
    assert shipper.close(10)
    parent_id, child_id = list(tracker.runs)
    assert tracker.parents == {parent_id: None, child_id: parent_id}
    assert tracker.runs[child_id] == [
        RunStarted(name="run1", params={}),
        *(metrics(step) for step in range(500)),
        RunEnded(status="FINISHED"),
    ]
    assert tracker.calls < 100, "metrics travel together"
    assert warnings == []


def test_a_tracker_that_is_down_loses_nothing(tmp_path: Path) -> None:
    """While it is down there is one warning without the password; when it is back everything arrives once."""
    tracker, warnings = FakeTracker(down=True), list[str]()
    shipper = Shipper(TARGET, warnings.append, lambda target: tracker)
    spool = spool_of(tmp_path)
    shipper.add(tmp_path)
    eventually(lambda: bool(warnings))
    spool(metrics(0))
    time.sleep(0.1)
    tracker.down = False
    eventually(lambda: len(next(iter(tracker.runs.values()), [])) == 2)
    tracker.down = True
    spool(metrics(1))
    eventually(lambda: len(warnings) == 2)
    tracker.down = False
    spool(RunEnded(status="FINISHED"))
    spool.close()
    assert shipper.close(10)
    (events,) = tracker.runs.values()
    assert events == [RunStarted(name=tmp_path.name, params={}), metrics(0), metrics(1), RunEnded(status="FINISHED")]
    assert "connection refused" in warnings[0]
    assert "secret" not in "".join(warnings)
    assert "much more" not in warnings[0]


def test_the_next_shipper_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    """What one process could not ship, the next one does, and nothing twice."""
    tracker = FakeTracker()
    spool = spool_of(tmp_path)
    first = Shipper(TARGET, pytest.fail, lambda target: tracker)
    first.add(tmp_path)
    assert first.close(10)
    spool(metrics(0))
    warnings: list[str] = []
    tracker.down = True
    second = Shipper(TARGET, warnings.append, lambda target: tracker)
    second.add(tmp_path)
    assert not second.close(10)
    assert "stays in the events.jsonl" in warnings[-1]
    tracker.down = False
    third = Shipper(TARGET, pytest.fail, lambda target: tracker)
    third.add(tmp_path)
    assert third.close(10)
    assert list(tracker.runs.values()) == [[RunStarted(name=tmp_path.name, params={}), metrics(0)]]
    spool.close()


def test_a_new_tracker_gets_everything(tmp_path: Path) -> None:
    """Where the database was deleted, the runs are shipped to the new one from the beginning."""
    spool_of(tmp_path).close()
    for _ in range(2):
        tracker = FakeTracker()
        shipper = Shipper(TARGET, pytest.fail, lambda target, tracker=tracker: tracker)
        shipper.add(tmp_path)
        assert shipper.close(10)
        assert [len(events) for events in tracker.runs.values()] == [1]


class GoneError(Exception):
    """What MLflow says of a run that it has not got."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


def test_a_tracker_that_loses_its_database_meanwhile_gets_everything_again(tmp_path: Path) -> None:
    """A server that comes back empty, behind the same address: the runs are made again, parents first, and whole."""
    tracker, warnings = FakeTracker(), list[str]()
    write = tracker.write

    def write_known(run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None:
        if run_id not in tracker.runs:
            raise GoneError("no such run")
        write(run_id, experiment_id, parcel)

    tracker.write = write_known  # type: ignore[method-assign]
    shipper = Shipper(TARGET, warnings.append, lambda target: tracker)
    parent, child = spool_of(tmp_path / "sweep"), spool_of(tmp_path / "sweep" / "run1", tmp_path / "sweep")
    for spool in (parent, child):
        shipper.add(spool.folder)
        spool(metrics(0))
    eventually(lambda: [len(events) for events in tracker.runs.values()] == [2, 2])
    tracker.runs.clear()
    tracker.parents.clear()
    for spool in (parent, child):
        spool(metrics(1))
        spool.close()
    assert shipper.close(60)
    parent_id, child_id = tracker.runs
    assert tracker.parents == {parent_id: None, child_id: parent_id}
    assert [events[1:] for events in tracker.runs.values()] == [[metrics(0), metrics(1)]] * 2


def test_two_at_once_tell_everything_once(tmp_path: Path) -> None:
    """`lora-lab sync` called twice: one waits for the other, both end well, nothing is there twice."""
    tracker = FakeTracker()
    write = tracker.write

    def write_slowly(run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None:
        time.sleep(0.02)
        write(run_id, experiment_id, parcel)

    tracker.write = write_slowly  # type: ignore[method-assign]
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        spool = spool_of(folder)
        spool(metrics(0))
        spool(RunEnded(status="FINISHED"))
        spool.close()
    both = [Shipper(TARGET, pytest.fail, lambda target: tracker, waits=True) for _ in range(2)]
    for folder in folders:
        for shipper in both:
            shipper.add(folder)
    assert [shipper.close(60) for shipper in both] == [True, True]
    assert [len(events) for events in tracker.runs.values()] == [3] * 4
    assert all(read_sent(folder, TARGET.key).run_id for folder in folders)


def test_what_the_tracker_refuses_is_left_out_and_told(tmp_path: Path) -> None:
    """One bad event costs itself: its neighbours in the parcel arrive."""
    tracker = FakeTracker(refuses=lambda event: event == metrics(1))
    warnings: list[str] = []
    spool = spool_of(tmp_path)
    for step in range(3):
        spool(metrics(step))
    spool.close()
    shipper = Shipper(TARGET, warnings.append, lambda target: tracker)
    shipper.add(tmp_path)
    assert shipper.close(10)
    (events,) = tracker.runs.values()
    assert events[1:] == [metrics(0), metrics(2)]
    assert warnings == ["the tracker left out a Metrics event: no such thing"]


def test_a_tracker_that_hangs_holds_nobody(tmp_path: Path) -> None:
    """Recording takes no time and closing takes the time given, whatever the tracker does."""
    hang = threading.Event()

    def stuck(target: Target) -> FakeTracker:
        hang.wait(20)
        raise ConnectionError

    warnings: list[str] = []
    shipper = Shipper(TARGET, warnings.append, stuck)
    spool = spool_of(tmp_path)
    shipper.add(tmp_path)
    start = time.monotonic()
    for step in range(100):
        spool(metrics(step))
    assert not shipper.close(0.05)
    assert time.monotonic() - start < 5
    assert len(warnings) == 1
    hang.set()
    spool.close()


def test_without_mlflow_the_thread_ends_with_a_word(tmp_path: Path) -> None:
    """A package that is missing is not tried again and again."""

    def missing(target: Target) -> FakeTracker:
        raise ImportError("no mlflow here")

    warnings: list[str] = []
    shipper = Shipper(TARGET, warnings.append, missing)
    eventually(lambda: not shipper._thread.is_alive())
    assert not shipper.close(1)
    assert "no mlflow here" in warnings[0]


def test_the_position_is_kept_under_no_secret(tmp_path: Path) -> None:
    """The file beside the spool names the tracker by a hash."""
    spool_of(tmp_path).close()
    shipper = Shipper(TARGET, pytest.fail, lambda target: FakeTracker())
    shipper.add(tmp_path)
    assert shipper.close(10)
    assert read_sent(tmp_path, TARGET.key) != Sent()
    assert "secret" not in (tmp_path / "events.sent.json").read_text()


def test_parcels_hold_neighbouring_metrics() -> None:
    """Only metrics that follow each other travel together, and never too many."""
    events: list[Event] = [metrics(0), metrics(1), RunEnded(status="FINISHED"), *(metrics(n) for n in range(450))]
    spooled = [SpooledEvent(event, 0, end) for end, event in enumerate(events)]
    found = parcels(spooled)
    assert [len(parcel) for parcel in found] == [2, 1, 200, 200, 50]
    assert [event for parcel in found for event in parcel] == spooled
