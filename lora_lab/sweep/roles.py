"""Who takes part when runs are executed, and what passes between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.lint import Finding
from lora_lab.sweep.footprint import Footprint
from lora_lab.sweep.grid import EarlyTerminate, Metric
from lora_lab.sweep.plan import PlannedRun
from lora_lab.tracking.events import Event, Record, Status


class Progress(Protocol):
    """How far a training is; a `notice` is a message that must be seen, `about` one run of the pack or all of it."""

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
    @property
    def about(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True)
class RunProgress:
    """How far one run is, with what it has reached."""

    step: int
    total_steps: int
    loss: float | None = None
    val_loss: float | None = None
    message: str = ""
    notice: bool = False
    about: int | None = None


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


@dataclass(frozen=True, kw_only=True)
class RunToTrain:
    """One run of a pack: where its files go, who hears its events, and who is told at once how it ended.

    `judge` is asked after each validation, with the step and the latest metrics, whether to end the run there; its end
    is the failure CutShort then.
    """

    config: TrainConfig
    folder: Path
    record: Record
    name: str
    ended: Callable[[TrainResult | Failure], None]
    judge: Callable[[int, Mapping[str, float]], bool] | None = None


class Train(Protocol):
    """Trains runs as one pack; the result of each in its order. Raises `Failure` for what ends them all."""

    def __call__(  # noqa: D102
        self, runs: Sequence[RunToTrain], progress: Callable[[Progress], None]
    ) -> Sequence[TrainResult | Failure]: ...


class Recording(Protocol):
    """Where a run's events go; closed when the run is over."""

    def __call__(self, event: Event) -> None: ...  # noqa: D102
    def close(self) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class Rule:
    """When runs are cut short, and by which metric."""

    early: EarlyTerminate
    metric: Metric

    @property
    def text(self) -> str:
        """Return the rule in a line; equal rules, equal lines."""
        early = self.early
        until = f" to {early.max_iter}" if early.max_iter else ""
        eta = f", eta {early.eta}" if early.type == "hyperband" else ""
        return f"{early.type} from {early.min_iter}{until}{eta}, {self.metric.goal} {self.metric.name}"


@dataclass(frozen=True)
class Job:
    """A planned run with its config, its identity, what lint said, and when it is cut short."""

    run: PlannedRun
    config: TrainConfig
    identity: str
    findings: tuple[Finding, ...] = ()
    rule: Rule | None = None


EndStatus = Status | Literal["PRUNED"]
"""How a run of a sweep ends; PRUNED was cut short on purpose."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `reused` runs were trained by an earlier sweep; `reason` is a line where it did not finish.

    `validation` says what the validation loss was measured on, as the tag `VALIDATION_SET`; `signal` is the number of
    the signal that ended a run which is KILLED, 0 where none is known.
    """

    run: PlannedRun
    status: EndStatus
    folder: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    lora: Path | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""
    reused: bool = False
    validation: str = ""
    signal: int = 0


class Source(Protocol):
    """Where jobs come from that are not known beforehand: a search, which learns from what has become of others."""

    def take(self, count: int) -> Sequence[Job]:
        """Return about so many new jobs; none where there will be no more."""

    def told(self, outcome: Outcome) -> None:
        """Hear how a job has ended."""


class Watch(Protocol):
    """Who is shown what happens."""

    def started(self, job: Job, folder: Path) -> None: ...  # noqa: D102
    def progressed(self, job: Job, progress: RunProgress) -> None: ...  # noqa: D102
    def ended(self, outcome: Outcome) -> None: ...  # noqa: D102
    def say(self, line: str) -> None: ...  # noqa: D102
    def warn(self, line: str) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Surroundings:
    """What the training of runs is given from outside: who trains, who records (by run folder), who watches."""

    train: Train
    open_recorder: Callable[[Path], Recording]
    watch: Watch


@dataclass(frozen=True)
class Task:
    """Runs that are trained as one pack, by one worker. `attempt` counts from 0: a lost task is tried again.

    With `measure` nothing is trained: what each of the jobs takes of the machine is told.
    """

    number: int
    jobs: tuple[Job, ...]
    attempt: int = 0
    measure: bool = False


@dataclass(frozen=True)
class Started:
    """A run is being trained into `folder`."""

    job: Job
    folder: Path


@dataclass(frozen=True)
class Stepped:
    """A run has come further."""

    job: Job
    progress: RunProgress


@dataclass(frozen=True)
class Ended:
    """A run is over, whatever way."""

    outcome: Outcome


@dataclass(frozen=True)
class Warned:
    """Somebody must read a line."""

    line: str


@dataclass(frozen=True)
class Measured:
    """What runs like a job take of the worker's machine, which could give `room` bytes; kept there under `key`."""

    job: Job
    footprint: Footprint
    room: int
    key: str


@dataclass(frozen=True)
class Over:
    """A task is over. `lost` says why it was, where its runs have not all ended: the process died, memory ran out.

    `elsewhere` are the indexes of the runs that another sweep is training just now. `gone`: the machine was taken away
    or broke, so that the runs are no more suspect than before.
    """

    task: Task
    lost: str = ""
    memory: bool = False
    elsewhere: tuple[int, ...] = ()
    gone: bool = False


Message = Started | Stepped | Ended | Warned | Measured | Over
"""What an executor tells."""


class Executor(Protocol):
    """Trains tasks somewhere: in this process, in others, on other machines."""

    @property
    def slots(self) -> int:
        """Return how many tasks it trains at a time."""

    @property
    def on_device(self) -> int:
        """Return how many of them, at most, share a card, or the main memory of a machine without."""

    def start(self, task: Task) -> None:
        """Begin a task; there is a slot for it."""

    def next(self, seconds: float) -> Message | None:
        """Return what happened next, waiting for at most so long. KeyboardInterrupt is the caller's to handle."""

    def stop(self) -> None:
        """Ask every task to keep its state and end."""

    def close(self, how: Literal["kindly", "now"]) -> None:
        """Let all workers go; "now" ends what they are at."""
