"""`--register MODEL`: a trained LoRA becomes a version of a registered model in MLflow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.sweep.roles import Outcome
    from lora_lab.tracking.events import Registered

ALIAS = "best"
"""Of a registered model: the version that the newest sweep found best, or that was trained alone since."""

FIGURES = ("val_loss", "loss")


def check_register(model: str | None, *, tracking: bool) -> None:
    """Raise `Failure` for a name that MLflow's registry does not take, before hours of training."""
    if model is None:
        return
    if not model.strip() or set(model) & set("/:'\""):
        raise Failure(f"{model!r} cannot name a registered model", "leave out / : and quotes")
    if not tracking:
        raise Failure("--register needs MLflow, and --no-tracking turns it off", "leave one of them out")


def registered(model: str, outcome: "Outcome", about: Mapping[str, str]) -> "Registered":
    """Return the event that makes a run's LoRA a version of `model`, with its figures, varied values and `about`."""
    from lora_lab.sweep.grid import label
    from lora_lab.tracking.events import Registered

    varied = {f"lora_lab.{axis}": label(value) for axis, value in outcome.run.axes.items()}
    figures = {name: f"{value:.6g}" for name, value in outcome.metrics.items() if name in FIGURES}
    tags = {"lora_lab.run": outcome.run.name, "lora_lab.steps": str(outcome.steps), **figures, **varied, **about}
    return Registered(model=model, alias=ALIAS, tags=tags)
