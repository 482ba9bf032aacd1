"""LL4xx: schedules that are another one in disguise, or that can't act."""

from collections.abc import Iterator

from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import OURS, Hit, View, rule

_DIFFUSERS = "diffusers/optimization.py"
_PLATEAU = "lora_lab/train/schedule.py; torch.optim.lr_scheduler.ReduceLROnPlateau"
LR_END = 1e-7
"""Where diffusers' polynomial schedule ends."""


@rule(
    "LL430",
    "single-restart",
    "info",
    reads=("scheduler", "cosine_restarts"),
    source=_DIFFUSERS,
    idle=("scheduler",),
)
def single_restart(view: View) -> Iterator[Hit]:
    """Cosine with restarts has only one cycle.

    What it does
    Looks for `cosine_with_restarts` without `cosine_restarts`, whose default is 1.

    Why is this bad
    One cycle never restarts: it is the schedule `cosine`. `cosine_restarts` counts the cycles, not the jumps.

    Bad
    ```json
    {"scheduler": "cosine_with_restarts"}
    ```

    Good
    ```json
    {"scheduler": "cosine_with_restarts", "cosine_restarts": 3, "num_epochs": 6}
    ```
    """
    if view.config.scheduler == "cosine_with_restarts" and view.config.cosine_restarts == 1 and not _chosen(view):
        message = "one cycle never restarts: this is the schedule cosine"
        remedy = "set cosine_restarts to the number of cycles, or scheduler to cosine"
        yield Hit(message, ("scheduler", "cosine_restarts"), remedy, set_to("scheduler", "cosine", safe=True))


@rule("LL431", "polynomial-ends-above-start", "error", reads=("scheduler", "learning_rate"), source=_DIFFUSERS)
def polynomial_ends_above_start(view: View) -> Iterator[Hit]:
    """The polynomial schedule ends at 1e-7, and the learning rate is not above that.

    What it does
    Compares `learning_rate` with 1e-7 where `scheduler` is polynomial.

    Why is this bad
    The schedule refuses to climb where it should fall.

    Bad
    ```json
    {"scheduler": "polynomial", "learning_rate": 1e-7}
    ```

    Good
    ```json
    {"scheduler": "polynomial", "learning_rate": 1e-4, "scheduler_power": 2.0}
    ```
    """
    if view.config.scheduler == "polynomial" and view.config.learning_rate <= LR_END:
        message = f"polynomial falls to 1e-7, and learning_rate {view.config.learning_rate:g} is not above that"
        yield Hit(message, ("learning_rate", "scheduler"), "raise learning_rate")


@rule("LL432", "polynomial-of-power-one", "info", reads=("scheduler", "scheduler_power"), source=_DIFFUSERS)
def polynomial_of_power_one(view: View) -> Iterator[Hit]:
    """A polynomial schedule has power 1, which is a straight line.

    What it does
    Looks for `polynomial` with `scheduler_power` 1, its default.

    Why is this bad
    It is the schedule `linear` but for its end at 1e-7. Perhaps the power was forgotten.

    Bad
    ```json
    {"scheduler": "polynomial"}
    ```

    Good
    ```json
    {"scheduler": "polynomial", "scheduler_power": 2.0}
    ```
    """
    if view.config.scheduler == "polynomial" and view.config.scheduler_power == 1:
        message = "polynomial of power 1 is a straight line, as linear is"
        yield Hit(message, ("scheduler", "scheduler_power"), "set scheduler_power to 2 or so, or use linear")


@rule(
    "LL433",
    "plateau-without-validation",
    "info",
    reads=("scheduler", "validation_split"),
    source=_PLATEAU,
    targets=OURS,
)
def plateau_without_validation(view: View) -> Iterator[Hit]:
    """The schedule waits for the loss to stop falling, and there is no validation loss.

    What it does
    Looks for `plateau` without `validation_split`.

    Why is this bad
    The training loss of an epoch stands in. It is noisy, since each step draws its own noise levels, and it goes on
    falling while the LoRA already overfits.

    Bad
    ```json
    {"scheduler": "plateau", "num_epochs": 10}
    ```

    Good
    ```json
    {"scheduler": "plateau", "num_epochs": 10, "validation_split": 0.1}
    ```
    """
    if view.config.scheduler == "plateau" and not view.config.validation_split:
        message = "plateau has no validation loss to go by, and takes the noisy loss of each epoch"
        yield Hit(message, ("scheduler", "validation_split"), "set validation_split to 0.1 or so")


@rule(
    "LL434",
    "plateau-never-reached",
    "warning",
    reads=("scheduler", "num_epochs", "max_steps"),
    source=_PLATEAU,
    targets=OURS,
)
def plateau_never_reached(view: View) -> Iterator[Hit]:
    """The run is too short for the schedule to act.

    What it does
    Looks for `plateau` with fewer than 5 epochs.

    Why is this bad
    The loss is judged once an epoch, and three epochs in a row must be no better than the best before the rate is
    halved: before the fifth epoch that can't happen, and the schedule is `constant`.

    Bad
    ```json
    {"scheduler": "plateau", "num_epochs": 4, "validation_split": 0.1}
    ```

    Good
    ```json
    {"scheduler": "plateau", "num_epochs": 20, "validation_split": 0.1}
    ```
    """
    epochs = view.config.num_epochs
    if view.config.scheduler == "plateau" and view.config.max_steps is None and epochs < 5:
        message = f"plateau can't lower the rate within {epochs} epoch(s): it waits for three without progress"
        yield Hit(message, ("scheduler", "num_epochs"), "train longer, or use another schedule")


def _chosen(view: View) -> bool:
    """Say whether the file sets the number of cycles, as the old tool did with 1 in every file that it saved."""
    return "cosine_restarts" in view.given


@rule(
    "LL435",
    "warmup-rounds-to-nothing",
    "warning",
    reads=("warmup_lr_ratio", "lr_warmup_steps", "max_steps", "scheduler"),
    source="lora_lab/config/steps.py warmup_steps",
)
def warmup_rounds_to_nothing(view: View) -> Iterator[Hit]:
    """The warm-up is less than one step.

    What it does
    Multiplies `warmup_lr_ratio` by `max_steps`.

    Why is this bad
    It is rounded down to none.

    Bad
    ```json
    {"warmup_lr_ratio": 0.01, "max_steps": 50}
    ```

    Good
    ```json
    {"warmup_lr_ratio": 0.1, "max_steps": 50}
    ```
    """
    ratio, steps = view.config.warmup_lr_ratio, view.config.max_steps
    if (
        ratio
        and steps
        and view.config.lr_warmup_steps is None
        and view.config.scheduler != "constant"
        and ratio * steps < 1
    ):
        message = f"{ratio:g} of {steps} steps is less than one: there is no warm-up"
        yield Hit(message, ("warmup_lr_ratio", "max_steps"), "raise it, or leave it out")
