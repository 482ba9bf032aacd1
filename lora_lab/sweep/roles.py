"""Who takes part when runs are executed, and what passes between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lora_lab.config import TrainConfig
from lora_lab.lint import Finding
from lora_lab.sweep.plan import PlannedRun
from lora_lab.tracking.events import Event, Record, Status


class Progress(Protocol):
    """How far a training is; a `notice` is a message that must be seen."""

    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def total_steps(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float | None: ...  # noqa: D102
    @property
    def message(self) -> str: ...  # noqa: D102
    @property
    def notice(self) -> bool: ...  # noqa: D102


class TrainResult(Protocol):
    """What a training gives back: the LoRA file, the final metrics, steps and seconds."""

    @property
    def lora(self) -> Path: ...  # noqa: D102
    @property
    def metrics(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102


class Train(Protocol):
    """Trains one config into `folder`. Raises `Failure` for what the user can mend."""

    def __call__(  # noqa: D102
        self, config: TrainConfig, *, folder: Path, record: Record, progress: Callable[[Progress], None]
    ) -> TrainResult: ...


class Recording(Protocol):
    """Where a run's events go; closed when the run is over."""

    def __call__(self, event: Event) -> None: ...  # noqa: D102
    def close(self) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class Job:
    """A planned run with its config, its identity and what lint said."""

    run: PlannedRun
    config: TrainConfig
    identity: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `reused` runs were trained by an earlier sweep; `reason` is a line where it did not finish."""

    run: PlannedRun
    status: Status
    folder: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    lora: Path | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""
    reused: bool = False


class Watch(Protocol):
    """Who is shown what happens."""

    def started(self, job: Job, folder: Path) -> None: ...  # noqa: D102
    def progressed(self, job: Job, progress: Progress) -> None: ...  # noqa: D102
    def ended(self, outcome: Outcome) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Surroundings:
    """What the execution is given from outside: who trains, who records (by run folder), who watches."""

    train: Train
    open_recorder: Callable[[Path], Recording]
    watch: Watch
