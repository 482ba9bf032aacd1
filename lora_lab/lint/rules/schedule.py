"""LL42x: the course of the learning rate."""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rule import OURS, Hit, View, rule

_SCHEDULES = "diffusers optimization.py"
_WARMUP = ("warmup_lr_ratio", "lr_warmup_steps")


@rule(
    "LL421",
    "warmup-ratio-is-percent",
    "error",
    reads=("warmup_lr_ratio",),
    source="LoRA_Easy_Training_Scripts d14b240 load_json",
    sees="raw",
)
def warmup_ratio_is_percent(view: View) -> Iterator[Hit]:
    """The warm-up ratio is 1 or more: a percentage, or a number of steps.

    What it does
    Looks for `warmup_lr_ratio` of 1 and above. The kohya GUI's `lr_warmup` is a percentage, and files from there carry
    its numbers.

    Why is this bad
    The learning rate would climb over the whole run and never be reached.

    Bad
    ```json
    {"warmup_lr_ratio": 10}
    ```

    Good
    ```json
    {"warmup_lr_ratio": 0.1}
    ```
    """
    value = view.values.get("warmup_lr_ratio")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
        return
    if value < 100:
        message = f"warmup_lr_ratio {value:g} is a share of all steps, below 1; {value:g} % is {value / 100:g}"
        yield Hit(message, ("warmup_lr_ratio",), f"write {value / 100:g}", set_to("warmup_lr_ratio", value / 100))
    else:
        message = f"warmup_lr_ratio {value:g} is a share of all steps, below 1; this looks like a number of steps"
        yield Hit(message, ("warmup_lr_ratio",), "write it as lr_warmup_steps")


@rule(
    "LL422",
    "warmup-without-effect",
    "warning",
    reads=("scheduler", *_WARMUP),
    source=f"{_SCHEDULES}; sd-scripts #1769",
    targets=OURS,
)
def warmup_without_effect(view: View) -> Iterator[Hit]:
    """The schedule `constant` has no warm-up.

    What it does
    Looks for a warm-up with `scheduler` constant.

    Why is this bad
    It is ignored here; newer versions of sd-scripts stop.

    Bad
    ```json
    {"scheduler": "constant", "warmup_lr_ratio": 0.1}
    ```

    Good
    ```json
    {"scheduler": "constant_with_warmup", "warmup_lr_ratio": 0.1}
    ```
    """
    for key in _WARMUP:
        if view.config.scheduler == "constant" and key in view.given and getattr(view.config, key):
            fix = set_to("scheduler", "constant_with_warmup")
            yield Hit(
                f"{key} has no effect with scheduler constant", (key, "scheduler"), "use constant_with_warmup", fix
            )


@rule("LL423", "no-warmup", "info", reads=("scheduler", *_WARMUP), source=_SCHEDULES)
def no_warmup(view: View) -> Iterator[Hit]:
    """`constant_with_warmup` without a warm-up.

    What it does
    Looks for that schedule where neither `warmup_lr_ratio` nor `lr_warmup_steps` is set.

    Why is this bad
    It is the same as `constant`; the warm-up was probably forgotten.

    Bad
    ```json
    {"scheduler": "constant_with_warmup"}
    ```

    Good
    ```json
    {"scheduler": "constant_with_warmup", "warmup_lr_ratio": 0.05}
    ```
    """
    config = view.config
    if config.scheduler == "constant_with_warmup" and not config.warmup_lr_ratio and not config.lr_warmup_steps:
        message = "constant_with_warmup without a warm-up is the same as constant"
        yield Hit(message, ("scheduler",), "give it one, or use constant")


@rule("LL424", "warmup-longer-than-run", "error", reads=("max_steps", "lr_warmup_steps"), source=_SCHEDULES)
def warmup_longer_than_run(view: View) -> Iterator[Hit]:
    """The warm-up lasts as long as the run.

    What it does
    Compares `lr_warmup_steps` with `max_steps`.

    Why is this bad
    The learning rate is never reached.

    Bad
    ```json
    {"lr_warmup_steps": 500, "max_steps": 400}
    ```

    Good
    ```json
    {"lr_warmup_steps": 40, "max_steps": 400}
    ```
    """
    steps, warmup = view.config.max_steps, view.config.lr_warmup_steps
    if steps and warmup and warmup >= steps:
        message = f"the warm-up of {warmup} steps is not over when the run of {steps} is"
        yield Hit(message, ("lr_warmup_steps", "max_steps"), f"use up to {max(steps // 10, 1)}")


@rule(
    "LL425",
    "warmup-over-half",
    "warning",
    reads=("warmup_lr_ratio",),
    source="LoRA_Easy_Training_Scripts d14b240 find_max_steps",
)
def warmup_over_half(view: View) -> Iterator[Hit]:
    """The warm-up takes more than half of the run.

    What it does
    Looks for `warmup_lr_ratio` above 0.5.

    Why is this bad
    Most of the run is trained below the learning rate; 0 to 0.1 is usual.

    Bad
    ```json
    {"warmup_lr_ratio": 0.8}
    ```

    Good
    ```json
    {"warmup_lr_ratio": 0.08}
    ```
    """
    ratio = view.config.warmup_lr_ratio or 0.0
    if ratio > 0.5:
        message = f"warmup_lr_ratio {ratio:g}: the learning rate still climbs after half of the run"
        yield Hit(message, ("warmup_lr_ratio",), "use 0 to 0.1")


@rule(
    "LL426", "two-warmups", "warning", reads=_WARMUP, source="lora_lab.config.warmup_steps", idle=("warmup_lr_ratio",)
)
def two_warmups(view: View) -> Iterator[Hit]:
    """The warm-up is given as steps and as a ratio.

    What it does
    Looks for `lr_warmup_steps` together with `warmup_lr_ratio`.

    Why is this bad
    The steps win, and the ratio has no effect.

    Bad
    ```json
    {"lr_warmup_steps": 40, "warmup_lr_ratio": 0.1}
    ```

    Good
    ```json
    {"lr_warmup_steps": 40}
    ```
    """
    if "lr_warmup_steps" in view.given and view.config.warmup_lr_ratio:
        message = "warmup_lr_ratio has no effect: lr_warmup_steps wins"
        yield Hit(message, ("warmup_lr_ratio", "lr_warmup_steps"), "keep one of them", removed("warmup_lr_ratio"))


@rule(
    "LL427",
    "restarts-without-effect",
    "warning",
    reads=("scheduler", "cosine_restarts"),
    source=_SCHEDULES,
    idle=("cosine_restarts",),
)
def restarts_without_effect(view: View) -> Iterator[Hit]:
    """Cosine cycles are asked for, but the schedule has none.

    What it does
    Looks for `cosine_restarts` above 1 with a schedule other than `cosine_with_restarts`.

    Why is this bad
    It has no effect.

    Bad
    ```json
    {"scheduler": "cosine", "cosine_restarts": 3}
    ```

    Good
    ```json
    {"scheduler": "cosine_with_restarts", "cosine_restarts": 3}
    ```
    """
    if view.config.cosine_restarts > 1 and view.config.scheduler != "cosine_with_restarts":
        message = f"cosine_restarts has no effect with scheduler {view.config.scheduler}"
        remedy = "use cosine_with_restarts, or leave cosine_restarts out"
        yield Hit(message, ("cosine_restarts", "scheduler"), remedy, removed("cosine_restarts"))


@rule(
    "LL428",
    "power-without-effect",
    "warning",
    reads=("scheduler", "scheduler_power"),
    source=_SCHEDULES,
    idle=("scheduler_power",),
)
def power_without_effect(view: View) -> Iterator[Hit]:
    """A power is set, but the schedule is not polynomial.

    What it does
    Looks for `scheduler_power` other than 1 with a schedule other than `polynomial`.

    Why is this bad
    It has no effect.

    Bad
    ```json
    {"scheduler": "cosine", "scheduler_power": 2}
    ```

    Good
    ```json
    {"scheduler": "polynomial", "scheduler_power": 2}
    ```
    """
    if view.config.scheduler_power != 1 and view.config.scheduler != "polynomial":
        message = f"scheduler_power has no effect with scheduler {view.config.scheduler}"
        remedy = "use polynomial, or leave scheduler_power out"
        yield Hit(message, ("scheduler_power", "scheduler"), remedy, removed("scheduler_power"))


@rule(
    "LL429",
    "more-restarts-than-epochs",
    "info",
    reads=("scheduler", "cosine_restarts", "num_epochs", "max_steps"),
    source="transformers optimization.py get_cosine_with_hard_restarts_schedule",
)
def more_restarts_than_epochs(view: View) -> Iterator[Hit]:
    """The learning rate jumps back more often than the pictures are gone through.

    What it does
    Compares `cosine_restarts` with `num_epochs`, where the epochs decide the length of the run.

    Why is this bad
    A cycle shorter than an epoch treats the pictures unequally, and files saved in the middle of one are noisy.

    Bad
    ```json
    {"scheduler": "cosine_with_restarts", "cosine_restarts": 12, "num_epochs": 4}
    ```

    Good
    ```json
    {"scheduler": "cosine_with_restarts", "cosine_restarts": 2, "num_epochs": 4}
    ```
    """
    config = view.config
    cycles = config.cosine_restarts if config.scheduler == "cosine_with_restarts" else 0
    if config.max_steps is None and cycles > 1 and cycles > config.num_epochs:
        message = f"{cycles} cosine cycles in {config.num_epochs} epoch(s): each is shorter than an epoch"
        yield Hit(message, ("cosine_restarts", "num_epochs"), f"use up to {config.num_epochs}")
