"""A worker process with a trainer that does as each rank is told; started by the tests beside it."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_lab.cli import work
from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.sweep.roles import Progress, RunProgress, RunToTrain, TrainResult
from lora_lab.tracking.events import Metrics


@dataclass(frozen=True)
class Result:
    """A training's result."""

    lora: Path
    metrics: dict[str, float] = field(default_factory=lambda: {"val_loss": 0.5})
    steps: int = 3
    seconds: float = 0.1


def train(runs: Sequence[RunToTrain], progress: Callable[[Progress], None]) -> Sequence[TrainResult | Failure]:
    """Rank 60 dies always, 61 at first, 62 runs out of memory in company, 63 waits for its end, 64 does so at first."""
    print("a library prints this")  # noqa: T201
    return [one(run, len(runs), progress) for run in runs]


def one(run: RunToTrain, together: int, progress: Callable[[Progress], None]) -> TrainResult | Failure:
    """Train one run."""
    run.record(Metrics(step=1, values={"loss": 0.5, "val_loss": 0.75}, time_ms=1))
    progress(RunProgress(1, 3, 0.5, notice=True))
    rank = run.config.net_dim
    tried = run.folder / "tried"
    if rank == 60 or (rank == 61 and not tried.exists()):
        tried.touch()
        print("cannot go on", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(7) if rank == 60 else os.kill(os.getpid(), signal.SIGKILL)
    if rank == 62 and together > 1:
        raise MemoryError
    if rank == 63 or (rank == 64 and not tried.exists()):
        tried.touch()
        time.sleep(60)
    (run.folder / "lora.safetensors").write_text(f"{os.getpid()} {os.environ.get('SLOT')} {together}")
    result = Result(run.folder / "lora.safetensors")
    run.ended(result)
    return result


@dataclass(frozen=True)
class Probed:
    """A base of a million bytes, each run three million: of ten million there is room for two and a half."""

    peaks: dict[int, int] = field(default_factory=lambda: {1: 4_000_000, 2: 7_000_000})
    seconds: dict[int, float] = field(default_factory=lambda: {1: 1.0, 2: 1.5})
    counts: tuple[float, int, int, int, int] = (1.0, 0, 0, 0, 0)
    drawing: int = 0


class Probe:
    """Measures the same of every run but one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, config: TrainConfig) -> Probed:
        """Note who was measured. Rank 66 breaks."""
        with (self.folder / "probed").open("a") as notes:
            notes.write(str(config.net_dim))
        if config.net_dim == 66:
            raise ValueError("cannot be measured\nand more")
        return Probed()

    def room(self) -> int:
        """Room for three: 88 % of it is 10.1 million."""
        return 11_500_000


def main() -> Any:
    """Work with this trainer."""
    work.built_in_trainer = lambda: train
    given = json.loads(sys.argv[1])
    work.built_in_probe = lambda: Probe(Path(given["folder"]))
    return work.main()


if __name__ == "__main__":
    sys.exit(main())
