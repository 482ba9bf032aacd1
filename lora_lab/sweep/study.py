"""Optuna studies that live in a sweep's folder: one journal, which all processes of the sweep append to.

Optuna is loaded here and nowhere else, when a search or a referee begins.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.failure import Failure
from lora_lab.locks import held
from lora_lab.sweep.grid import Goal

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage

JOURNAL = "search.journal"
LOCK = ".search.lock"


def demand_optuna() -> None:
    """Raise `Failure` where Optuna is not installed, without loading it."""
    if importlib.util.find_spec("optuna") is None:
        raise _not_installed()


def _not_installed() -> Failure:
    what = "method bayes and early_terminate need Optuna, which is not installed"
    return Failure(what, "pip install 'lora-lab[search]', or leave them out of the grid file")


def open_study(folder: Path, name: str, goal: Goal, pruner: "BasePruner | None" = None) -> "Study":
    """Return the study of a name in a sweep's folder, a new one where there is none.

    Raises `Failure` where Optuna is missing or the journal cannot be read or written.
    """
    with _storage(folder) as storage:
        import optuna  # noqa: PLC0415 -- half a second, with numpy; only searches need it

        with contextlib.suppress(KeyError):  # there is none yet
            return optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        return optuna.create_study(study_name=name, storage=storage, direction=goal, pruner=pruner, load_if_exists=True)


def studies(folder: Path, prefix: str) -> "list[Study]":
    """Return the studies in a sweep's folder whose names begin so, the oldest first. Raises `Failure`."""
    with _storage(folder) as storage:
        import optuna  # noqa: PLC0415 -- see above

        names = [name for name in optuna.get_all_study_names(storage) if name.startswith(prefix)]
        return [optuna.load_study(study_name=name, storage=storage) for name in names]


@contextlib.contextmanager
def _storage(folder: Path) -> "Iterator[BaseStorage]":
    """Give the storage of a sweep's folder; what goes wrong with it is a `Failure`."""
    try:
        import optuna  # noqa: PLC0415 -- see above
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed() from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / JOURNAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _Lock(path)
        lock.acquire()  # mends the end of the journal before it is read
        lock.release()
        yield JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type]
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", "see to the disk or folder") from error
    except (ValueError, KeyError) as error:
        what = f"{path} is damaged: {error}"
        raise Failure(what, "move it away: the search then begins anew, finished runs are not trained again") from error


class _Lock:
    """Optuna's lock, held by the operating system: a process that was killed leaves none behind.

    What a killed writer has left of a line is taken away before the next one is written.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._held = contextlib.ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(held(self._journal.with_name(LOCK)))
        _mend(self._journal)
        return True

    def release(self) -> None:
        self._held.close()


def _mend(journal: Path) -> None:
    """Take a last line that has no end off the journal."""
    if not journal.is_file():
        return
    with journal.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
