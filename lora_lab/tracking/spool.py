"""The spool: every event of a run as a JSON line in its own folder, before anybody else hears of it.

Writing a line costs microseconds and never waits for a tracker. Whoever ships the lines keeps, beside them, how far
each tracker has got, so that a tracker that was down, or a new one, can be given the rest later.
"""

import contextlib
import functools
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple, get_args

from pydantic import TypeAdapter

from lora_lab.failure import Failure
from lora_lab.tracking.events import DECIDES, Event, Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.whole_files import write_whole

EVENTS = "events.jsonl"
SENT = "events.sent.json"
KINDS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


@dataclass(frozen=True)
class SpoolHeader:
    """The first line of a spool: which run this is, whatever the tracker calls it.

    `parent` is the folder of the parent run's spool, relative to this one, or None.
    """

    key: str
    experiment: str
    parent: str | None


class SpooledEvent(NamedTuple):
    """An event, the wall-clock milliseconds at which it was recorded, and where the line after it begins (bytes)."""

    event: Event
    time_ms: int
    end: int


@dataclass(frozen=True)
class Sent:
    """How far one tracker has got with one spool: bytes shipped, and the tracker's ids for the run."""

    offset: int = 0
    run_id: str | None = None
    experiment_id: str | None = None


def now_ms() -> int:
    """Return wall-clock milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def encode(event: Event, folder: Path, time_ms: int) -> str:
    """Return the event as one JSON line; paths inside `folder` are written relative to it, so that it can be moved."""
    body: dict[str, object] = {"kind": type(event).__name__, "at": time_ms}
    for field in fields(event):
        value = getattr(event, field.name)
        body[field.name] = _portable(value, folder) if isinstance(value, Path) else value
    return json.dumps(body, ensure_ascii=False, default=str) + "\n"


@functools.cache
def _checked(kind: str) -> TypeAdapter[Event]:
    """Return what makes events of a kind and refuses values of other types: a spool may come from anywhere."""
    return TypeAdapter(KINDS[kind])


def decode(line: str, folder: Path, end: int) -> SpooledEvent | None:
    """Return the event of a line, or None for a line that is no event (the header, or one torn by a crash)."""
    try:
        body = json.loads(line)
        kind = body.pop("kind")
        time_ms = int(body.pop("at"))
        if "path" in body:
            body["path"] = folder / body["path"]
        return SpooledEvent(_checked(kind).validate_python(body), time_ms, end)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def read_header(folder: Path) -> SpoolHeader | None:
    """Return the spool's header, or None where there is no spool."""
    try:
        with (folder / EVENTS).open(encoding="utf-8") as lines:
            body = json.loads(lines.readline())
        return SpoolHeader(body["key"], body["experiment"], body["parent"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_events(folder: Path, offset: int) -> list[SpooledEvent]:
    """Return the events after byte `offset`, complete lines only: the writer may be in the middle of one."""
    with (folder / EVENTS).open("rb") as file:
        file.seek(offset)
        data = file.read()
    events = []
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        offset += len(line)
        event = decode(line.decode("utf-8", errors="replace"), folder, offset)
        if event is not None:
            events.append(event)
    return events


def read_sent(folder: Path, target_key: str) -> Sent:
    """Return how far the tracker with that key has got; the beginning where nothing (readable) was kept."""
    try:
        return Sent(**json.loads((folder / SENT).read_text(encoding="utf-8"))[target_key])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Sent()


def unsent(folder: Path, target_key: str) -> int:
    """Return how many bytes of a spool the tracker with that key is not known to have."""
    try:
        return (folder / EVENTS).stat().st_size - read_sent(folder, target_key).offset
    except OSError:
        return 0


def write_sent(folder: Path, target_key: str, sent: Sent) -> None:
    """Keep how far the tracker with that key has got, beside what is kept for other trackers."""
    try:
        kept = json.loads((folder / SENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        kept = {}
    kept = kept if isinstance(kept, dict) else {}
    kept[target_key] = {"offset": sent.offset, "run_id": sent.run_id, "experiment_id": sent.experiment_id}
    write_whole(folder / SENT, json.dumps(kept, indent=1))


class Spool:
    """Appends events to `{folder}/events.jsonl`; a `Record`.

    A spool that exists is continued. Losing the disk must not lose the training: the first error of writing is told to
    `warn`, later ones are silent.
    """

    def __init__(self, folder: Path, experiment: str, parent: Path | None, warn: Callable[[str], None]) -> None:
        """Open or continue the spool of `folder`; raises `Failure` where it cannot be written."""
        self.folder = folder
        self._warn = warn
        self._lock = threading.Lock()
        self._broken = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = read_header(folder)
            before = read_events(folder, 0) if known else []
            self.began_ms = before[0].time_ms if before else now_ms()
            self._told = _points(before)
            torn = _ends_within_a_line(folder / EVENTS)
            self._file = (folder / EVENTS).open("ab")
            if torn:
                self._append("\n")
            if known is None:
                header = SpoolHeader(
                    uuid.uuid4().hex, experiment, None if parent is None else _portable(parent, folder)
                )
                self._append(json.dumps({"kind": "Spool", **vars(header)}) + "\n")
        except OSError as error:
            raise Failure(
                f"cannot write {folder / EVENTS}: {error.strerror}", "free the disk or mend its rights"
            ) from error

    def new(self, event: Event) -> Event | None:
        """Return what the spool has not got yet of an event.

        A run that goes on after a crash starts before the last step that it told of.
        """
        if isinstance(event, Metrics):
            values = {key: value for key, value in event.values.items() if (event.step, key) not in self._told}
            return replace(event, values=values) if values else None
        known = isinstance(event, SamplePicture) and (event.step, f"picture {event.key}") in self._told
        return None if known else event

    def __call__(self, event: Event) -> None:
        """Append the event; returns at once, whatever happens."""
        try:
            self._append(encode(event, self.folder, now_ms()))
        except (OSError, ValueError, RecursionError) as error:
            if not self._broken:
                self._warn(f"cannot write {self.folder / EVENTS}: {error}; the training goes on without its record")
            self._broken = True

    def _append(self, line: str) -> None:
        with self._lock:
            self._file.write(line.encode("utf-8", errors="replace"))
            self._file.flush()

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock, contextlib.suppress(OSError):  # of a full disk, which has been told
            self._file.close()


def copy_spool(source: Path, folder: Path, experiment: str, parent: Path | None) -> None:
    """Write the events of `source`'s spool into a new one in `folder`: a run of its own for the tracker.

    Files stay where they are. Raises `OSError`; does nothing where there is no spool.
    """
    if read_header(source) is None:
        return
    header = SpoolHeader(uuid.uuid4().hex, experiment, None if parent is None else _portable(parent, folder))
    lines = [json.dumps({"kind": "Spool", **vars(header)}) + "\n"]
    lines += [encode(spooled.event, folder, spooled.time_ms) for spooled in read_events(source, 0)]
    write_whole(folder / EVENTS, "".join(lines))


def _points(spooled: Sequence[SpooledEvent]) -> frozenset[tuple[int, str]]:
    """Return the step and key of every number and picture in a spool."""
    events = [one.event for one in spooled]
    numbers = ((event.step, key) for event in events if isinstance(event, Metrics) for key in event.values)
    pictures = ((event.step, f"picture {event.key}") for event in events if isinstance(event, SamplePicture))
    return frozenset((*numbers, *pictures))


def can_go_on(folder: Path, decides: str) -> bool:
    """Return whether the spool of `folder` is of a run with that tag `DECIDES` which has not finished."""
    if read_header(folder) is None:
        return False
    events = [spooled.event for spooled in read_events(folder, 0)]
    starts = {event.tags.get(DECIDES) for event in events if isinstance(event, RunStarted)}
    ends = [event for event in events if isinstance(event, RunEnded)]
    return decides in starts and not (ends and ends[-1].status == "FINISHED")


def _portable(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder` where it lies in it or is its neighbour, else absolute."""
    absolute, home = path.absolute(), folder.absolute()
    if absolute.is_relative_to(home):
        return absolute.relative_to(home).as_posix()
    if home.is_relative_to(absolute):
        return "/".join([".."] * len(home.relative_to(absolute).parts))
    return str(absolute)


def _ends_within_a_line(path: Path) -> bool:
    """Return whether a crash left the last line unfinished: what is appended must not melt into it."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"
