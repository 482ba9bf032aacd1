"""What a training run tells about itself. Plain values: whoever trains need not know who listens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DECIDES = "lora_lab.decides"
"""The tag with the hash of everything that decides a run's weights."""

VALIDATION_SET = "lora_lab.validation_set"
"""The tag with everything that a run's validation loss depends on besides its LoRA: equal texts, comparable losses."""

NO_VALIDATION = "none"
"""The value of that tag where no pictures are held out."""

LORA_FOLDER = "lora"
"""Of a run's artifacts: the one with its LoRA files."""

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """The first event of a run: every effective parameter, and tags.

    Runs with the same tag `DECIDES` have the same numbers: one goes on where another was interrupted.
    """

    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetUsed:
    """The data set a run trains on; `digest` is a hash of its pictures and captions, `profile` its figures."""

    name: str
    digest: str
    source: str
    profile: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Numbers at an optimizer step. `time_ms` is wall-clock milliseconds since 1970."""

    step: int
    values: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class SystemMetrics:
    """How busy the machine is, `second` seconds after the run was first started; names as MLflow's, `system/...`."""

    second: int
    values: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class SamplePicture:
    """A picture drawn at an optimizer step; `key` is the same for the same prompt in every run."""

    step: int
    key: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file to keep with the run, in `folder` of its artifacts."""

    path: Path
    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class LoraModel:
    """The finished LoRA file, as a model: `base_model` is where the base lies, `facts` what else a user of it needs."""

    path: Path
    step: int
    base_model: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """The run's LoRA is to be a version of the registered model `model`, and `alias` to point at it."""

    model: str
    alias: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What is known of a run only when it is over: a summary for people (Markdown), and tags."""

    note: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """The last event of a run."""

    status: Status
    message: str = ""


Event = (
    RunStarted
    | DatasetUsed
    | Metrics
    | SystemMetrics
    | SamplePicture
    | Artifact
    | LoraModel
    | Registered
    | Noted
    | RunEnded
)
Record = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
