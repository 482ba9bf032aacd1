"""Stand-ins that several tests share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """A training's progress."""

    step: int
    total_steps: int
    loss: float | None = None
    message: str = ""
    notice: bool = False
    about: int | None = None


@dataclass(frozen=True)
class Result:
    """A training's result."""

    lora: Path
    metrics: Mapping[str, float]
    steps: int = 3
    seconds: float = 1.5
