"""Which runs somebody means: the folders of sweeps, of single runs, or of whatever holds them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from lora_lab.failure import Failure
from lora_lab.sweep.run_folder import RECORD, run_folders
from lora_lab.sweep.sweep_record import SWEEP, SweepRecord, read_sweep
from lora_lab.tracking.spool import EVENTS

LOGS: Final = "lora-lab-logs"
"""Below an output folder: what each run of `lora-lab train` told."""

DEEPEST: Final = 3
"""How far below a folder sweeps and runs are looked for."""


class Place(NamedTuple):
    """A folder with a run, and the sweep that it belongs to: its folder, and what it says of itself, if it does."""

    folder: Path
    sweep_folder: Path | None = None
    sweep: SweepRecord | None = None


def find_runs(given: Sequence[Path]) -> list[Place]:
    """Return the runs that are meant, each once, in the order given.

    A name that is no path is that of a sweep somewhere below the working folder. Raises `Failure` where there is
    nothing.
    """
    found: dict[Path, Place] = {}
    for path in given:
        places = list(_runs_of(path if path.exists() else _named(path)))
        if not places:
            raise Failure(f"no runs in {path}", "name a sweep's folder, a run's, or the output folder of `train`")
        for place in places:
            found.setdefault(place.folder.resolve(), place)
    return list(found.values())


def _named(path: Path) -> Path:
    """Return the folder of the sweep with that name. Raises `Failure` where there is none, or more than one."""
    name = str(path)
    sweeps = [folder for folder in _below(Path(), SWEEP) if _is_called(folder, name)] if path.name == name else []
    if len(sweeps) == 1:
        return sweeps[0]
    if sweeps:
        raise Failure(f"several sweeps are called {name}", "give one's folder: " + ", ".join(map(str, sweeps[:5])))
    raise Failure(f"there is no {path}", "name a sweep's folder, a run's, or the output folder of `train`")


def _is_called(folder: Path, name: str) -> bool:
    sweep = read_sweep(folder)
    return folder.name == name or (sweep is not None and sweep.name == name)


def _runs_of(path: Path) -> Iterator[Place]:
    """Yield the runs that a path stands for."""
    folder = path.parent if path.is_file() else path
    if _is_sweep(folder):
        yield from _of_sweep(folder)
    elif (folder / RECORD).is_file() and _is_sweep(folder.resolve().parent):
        yield Place(folder, folder.parent, read_sweep(folder.parent))
    elif (folder / EVENTS).is_file():
        yield Place(folder)
    elif folder.name == LOGS or (folder / LOGS).is_dir():
        yield from _of_logs(folder if folder.name == LOGS else folder / LOGS)
        yield from _deeper(folder)
    else:
        yield from _deeper(folder)


def _deeper(folder: Path) -> Iterator[Place]:
    for sweep in _below(folder, SWEEP):
        yield from _of_sweep(sweep)
    for logs in _below(folder, f"{LOGS}/*/{EVENTS}"):
        yield Place(logs)


def _is_sweep(folder: Path) -> bool:
    return (folder / SWEEP).is_file() or any((run / RECORD).is_file() for run in run_folders(folder))


def _of_sweep(folder: Path) -> Iterator[Place]:
    sweep = read_sweep(folder)
    for run in run_folders(folder):
        if (run / RECORD).is_file():
            yield Place(run, folder, sweep)


def _of_logs(logs: Path) -> Iterator[Place]:
    for run in sorted(logs.iterdir()):
        if (run / EVENTS).is_file():
            yield Place(run)


def _below(folder: Path, name: str) -> list[Path]:
    """Return the folders below one, and it itself, that hold a file of that name."""
    patterns = [name, *("/".join(["*"] * depth) + f"/{name}" for depth in range(1, DEEPEST + 1))]
    return sorted({path.parent for pattern in patterns for path in folder.glob(pattern)})
