"""The way in: a recorder for one run, a tracker for all runs of a sweep."""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from lora_lab.tracking.apart import ShippingProcess
from lora_lab.tracking.events import Event, RunEnded, RunStarted
from lora_lab.tracking.spool import Spool
from lora_lab.tracking.system_metrics import SystemSampler
from lora_lab.tracking.target import Target
from lora_lab.tracking.tensorboard import MISSING, TensorBoardWriter, folder_of
from lora_lab.tracking.view import RUN_TAG

CLOSE_SECONDS = 60.0
"""How long the end of a training waits for the tracker; what it has not got then waits for `lora-lab sync`."""


class Recorder:
    """A `Record`: call it with events, then close it. Only the first `RunEnded` counts."""

    def __init__(self, spool: Spool, tracker: "Tracker", *, owns_tracker: bool) -> None:
        """Use `Tracker.recorder` or `open_recorder`."""
        self._spool = spool
        self._tracker = tracker
        self._owns_tracker = owns_tracker
        self._ended = False
        self._board: TensorBoardWriter | None = None
        self._board_failed = False

    def __call__(self, event: Event) -> None:
        """Keep the event; never waits, never raises."""
        if isinstance(event, RunEnded):
            if self._ended:
                return
            self._ended = True
            self._tracker.sampler.remove(self._spool)
        new = self._spool.new(event)
        if new is not None:
            self._spool(new)
            self._show(new)
        if isinstance(event, RunStarted) and event.tags.get(RUN_TAG, "train") == "train" and not self._ended:
            self._tracker.sampler.add(self._spool, self._spool.began_ms)

    def _show(self, event: Event) -> None:
        """Pass the event on to TensorBoard where the run's `log_dir` asks for it; an error there is told once."""
        try:
            if self._board is None and isinstance(event, RunStarted) and not self._board_failed:
                folder = folder_of(event, self._spool.began_ms)
                if folder is not None:
                    self._board = TensorBoardWriter(folder)
            if self._board is not None:
                self._board(event)
        except ModuleNotFoundError:
            self._give_up(MISSING)
        except Exception as error:  # whatever a tracker does, the training goes on
            self._give_up(f"cannot write TensorBoard's files: {error}; the training goes on without them")

    def _give_up(self, text: str) -> None:
        self._tracker.warn(text)
        self._board, self._board_failed = None, True

    def close(self, timeout: float | None = None) -> bool:
        """End the run (as KILLED where it has not ended) and the file; return whether the tracker has everything.

        Of a tracker's many recorders none waits: the tracker's own `close` does.
        """
        self(RunEnded(status="KILLED", message="not ended"))
        self._spool.close()
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()
            self._board = None
        return self._tracker.close(timeout) if self._owns_tracker else True


class Ships(Protocol):
    """Who brings spools to a tracker: `ShippingProcess`, or a `Shipper` in this process."""

    def add(self, folder: Path) -> None: ...  # noqa: D102
    def close(self, timeout: float | None) -> bool: ...  # noqa: D102


Ship = Callable[[Target, Callable[[str], None]], Ships]


class Tracker:
    """Ships the runs of one experiment, in a process beside. With `target` None the runs are only kept on disk."""

    def __init__(
        self, target: Target | None, experiment: str, warn: Callable[[str], None], ship: Ship = ShippingProcess
    ) -> None:
        """Start shipping to `target`; where mlflow is not installed, say so and keep the runs on disk."""
        self._experiment = experiment
        self.warn = warn
        self.sampler = SystemSampler()
        if target is not None and importlib.util.find_spec("mlflow") is None:
            warn("mlflow is not installed: the runs are kept in their folders only; pip install 'lora-lab[mlflow]'")
            target = None
        self._shipper = None if target is None else ship(target, warn)

    def recorder(self, run_folder: Path, parent: Path | None = None) -> Recorder:
        """Return the recorder of the run in `run_folder`; `parent` is the folder of the run it is nested under.

        A run that was recorded there before is continued. Raises `Failure` where the folder cannot be written.
        """
        spool = Spool(run_folder, self._experiment, parent, self.warn)
        self.catch_up(run_folder)
        return Recorder(spool, self, owns_tracker=False)

    def append(self, run_folder: Path, event: Event) -> None:
        """Add an event to a run that is over. Raises `Failure` where the folder cannot be written."""
        spool = Spool(run_folder, self._experiment, None, self.warn)
        spool(event)
        spool.close()
        self.catch_up(run_folder)

    def catch_up(self, run_folder: Path) -> None:
        """Ship what the tracker has not got yet of a run that was recorded earlier."""
        if self._shipper is not None:
            self._shipper.add(run_folder)

    def close(self, timeout: float | None = None) -> bool:
        """Ship what is left, for at most `timeout` seconds, else CLOSE_SECONDS; return whether all has got through."""
        patience = CLOSE_SECONDS if timeout is None else timeout
        return True if self._shipper is None else self._shipper.close(patience)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_recorder(
    target: Target | None,
    experiment: str,
    parent: Path | None,
    run_folder: Path,
    warn: Callable[[str], None],
    ship: Ship = ShippingProcess,
) -> Recorder:
    """Return a recorder for one run with a tracker of its own, which `Recorder.close` closes too."""
    tracker = Tracker(target, experiment, warn, ship)
    recorder = tracker.recorder(run_folder, parent)
    return Recorder(recorder._spool, tracker, owns_tracker=True)
