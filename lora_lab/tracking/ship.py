"""Reads spools and writes them to MLflow, in a thread: `apart` gives it a process of its own."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from lora_lab.locks import held, held_if_free
from lora_lab.tracking.contact_sheet import SHEET, write_contact_sheet
from lora_lab.tracking.events import Artifact, Metrics, RunEnded, SamplePicture, SystemMetrics
from lora_lab.tracking.mlflow_writer import MlflowWriter, is_refusal
from lora_lab.tracking.spool import (
    EVENTS,
    Sent,
    SpooledEvent,
    SpoolHeader,
    read_events,
    read_header,
    read_sent,
    write_sent,
)
from lora_lab.tracking.target import Target, without_secrets

POLL_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
EVENTS_PER_PARCEL = 200
NUMBERS = (Metrics, SystemMetrics)
MOST_LOSSES = 5
GONE = "RESOURCE_DOES_NOT_EXIST"
LOCK = ".events.sent.lock"
"""Beside the spool: who ships it holds this, so that two processes never tell a tracker the same thing twice."""


class LostError(Exception):
    """The tracker has forgotten a run that it had: its database is gone, or another one stands behind its address."""


class Writer(Protocol):
    """What the shipper needs of a tracker; `MlflowWriter` is the one there is."""

    def experiment(self, name: str) -> str: ...  # noqa: D102
    def knows(self, run_id: str) -> bool: ...  # noqa: D102
    def run_of(self, header: SpoolHeader, experiment_id: str, parent_run_id: str | None, time_ms: int) -> str: ...  # noqa: D102
    def write(self, run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None: ...  # noqa: D102


@dataclass
class _Line:
    """One spool on its way: its folder and, once read, how far it has got."""

    folder: Path
    sent: Sent | None = None
    checked: bool = False


class Shipper:
    """Ships every spool it is given, in the order given, in a thread of its own.

    A tracker that does not answer is told to `warn` once and tried again with growing pauses; the events wait in their
    spools. What the tracker refuses is told and left out. A spool that another process is just shipping is left to it,
    or waited for if `waits` is true.
    """

    def __init__(
        self,
        target: Target,
        warn: Callable[[str], None],
        make_writer: Callable[[Target], Writer] = MlflowWriter,
        *,
        waits: bool = False,
    ) -> None:
        """Start the thread; it imports mlflow itself."""
        self._waits = waits
        self._target = target
        self._warn = warn
        self._make_writer = make_writer
        self._writer: Writer | None = None
        self._lines: list[_Line] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._down = False
        self._thread = threading.Thread(target=self._work, name="lora-lab-tracking", daemon=True)
        self._thread.start()

    def add(self, folder: Path) -> None:
        """Ship the spool of `folder`, now and as it grows. A parent is added before its children."""
        with self._lock:
            if all(line.folder != folder for line in self._lines):
                self._lines.append(_Line(folder))

    def close(self, timeout: float | None) -> bool:
        """Ship what is left, for at most `timeout` seconds, None for no limit; return whether all has got through."""
        self._closing.set()
        self._thread.join(timeout)
        if self._thread.is_alive() or self._down:
            self._warn(incomplete(self._target))
            return False
        return True

    def _work(self) -> None:
        pause, forgotten = POLL_SECONDS, 0
        while True:
            closing = self._closing.is_set()  # read before the round, so that nothing recorded earlier is missed
            try:
                self._round()
                pause, self._down = POLL_SECONDS, False
            except ImportError as error:
                self._fail(error)
                return
            except LostError as error:
                self._start_over()
                forgotten += 1
                if closing and forgotten < MOST_LOSSES:
                    continue
                self._fail(error)
            except Exception as error:  # whatever a tracker does, the training goes on
                self._fail(error)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            if closing:
                return
            self._closing.wait(pause)

    def _start_over(self) -> None:
        """Look anew at what the tracker has, of everything."""
        self._writer = None
        with self._lock:
            for line in self._lines:
                line.checked = False

    def _fail(self, error: Exception) -> None:
        """Warn, but once for each time that the tracker goes away."""
        if not self._down:
            text = str(error).strip()
            line = without_secrets(text.splitlines()[0])[:300] if text else type(error).__name__
            self._warn(f"the tracker {self._target.shown} does not answer ({line}); training goes on, nothing is lost")
        self._down = True

    def _round(self) -> None:
        """Ship what every spool has by now."""
        if self._writer is None:
            self._writer = self._make_writer(self._target)
        with self._lock:
            lines = tuple(self._lines)
        for line in lines:
            self._ship(self._writer, line)

    def _ship(self, writer: Writer, line: _Line) -> None:
        """Ship what a spool has got since the last look, unless another process is just doing so."""
        try:
            size = (line.folder / EVENTS).stat().st_size
        except OSError:
            return
        if line.checked and line.sent is not None and size <= line.sent.offset:
            return
        with self._alone(line.folder / LOCK) as free:
            header = read_header(line.folder)
            if free and header is not None:
                self._ship_alone(writer, line, header)

    @contextlib.contextmanager
    def _alone(self, lock: Path) -> Iterator[bool]:
        """Hold a lock, and say whether that is so."""
        if self._waits:
            with held(lock):
                yield True
        else:
            with held_if_free(lock) as free:
                yield free

    def _ship_alone(self, writer: Writer, line: _Line, header: SpoolHeader) -> None:
        line.sent = read_sent(line.folder, self._target.key)
        if not line.checked:
            if line.sent.run_id is not None and not writer.knows(line.sent.run_id):
                line.sent = Sent()  # the tracker's database is gone or new: it gets everything again
            line.checked = True
        for parcel in parcels(read_events(line.folder, line.sent.offset)):
            sent = line.sent
            if sent.run_id is None or sent.experiment_id is None:
                sent = self._begin(writer, line.folder, header, parcel[0].time_ms)
            assert sent.run_id is not None
            assert sent.experiment_id is not None
            if isinstance(parcel[0].event, RunEnded):
                self._write_sheet(writer, sent, line.folder, parcel[0])
            self._write(writer, sent.run_id, sent.experiment_id, parcel)
            line.sent = replace(sent, offset=parcel[-1].end)
            write_sent(line.folder, self._target.key, line.sent)

    def _write_sheet(self, writer: Writer, sent: Sent, folder: Path, end: SpooledEvent) -> None:
        """Put the pictures of a run that is over on one sheet, and ship it."""
        pictures = [one.event for one in read_events(folder, 0) if isinstance(one.event, SamplePicture)]
        if write_contact_sheet(pictures, folder / SHEET) and sent.run_id and sent.experiment_id:
            sheet = SpooledEvent(Artifact(path=folder / SHEET), end.time_ms, end.end)
            self._write(writer, sent.run_id, sent.experiment_id, [sheet])

    def _begin(self, writer: Writer, folder: Path, header: SpoolHeader, time_ms: int) -> Sent:
        experiment_id = writer.experiment(header.experiment)
        parent = None if header.parent is None else read_sent(folder / header.parent, self._target.key).run_id
        return Sent(0, writer.run_of(header, experiment_id, parent, time_ms), experiment_id)

    def _write(self, writer: Writer, run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None:
        """Write a parcel; where the tracker refuses it, write its events one by one and leave out the refused."""
        try:
            writer.write(run_id, experiment_id, parcel)
        except Exception as error:
            if not is_refusal(error):
                raise
            if getattr(error, "error_code", "") == GONE and not writer.knows(run_id):
                raise LostError(f"it has forgotten run {run_id}") from error
            if len(parcel) == 1:
                reason = without_secrets(str(error))[:300]
                self._warn(f"the tracker left out a {type(parcel[0].event).__name__} event: {reason}")
                return
            for event in parcel:
                self._write(writer, run_id, experiment_id, [event])


def incomplete(target: Target) -> str:
    """Return the line that says what becomes of what a tracker has not got."""
    missing = "what is missing stays in the events.jsonl of the run folders; `lora-lab sync` ships it later"
    return f"the tracker {target.shown} has not got everything; {missing}"


def parcels(events: Sequence[SpooledEvent]) -> list[list[SpooledEvent]]:
    """Return the events in order, neighbouring numbers together: a tracker takes a thousand numbers in one call."""
    found: list[list[SpooledEvent]] = []
    for event in events:
        last = found[-1] if found else None
        together = last is not None and isinstance(event.event, NUMBERS) and isinstance(last[0].event, NUMBERS)
        if last is not None and together and len(last) < EVENTS_PER_PARCEL:
            last.append(event)
        else:
            found.append([event])
    return found
