"""LL40x: optimizers that want learning rates of their own."""

from collections.abc import Iterator

from lora_lab.config import arguments
from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rates import OPTIMIZER_KEYS, family, rates_in_use
from lora_lab.lint.rule import OURS, Hit, View, rule

_READS = (*OPTIMIZER_KEYS, "unet_only", "text_only")
_GET_OPTIMIZER = "sd-scripts library/train_util.py get_optimizer"


@rule("LL404", "adaptive-optimizer-rate", "warning", reads=_READS, source=_GET_OPTIMIZER)
def adaptive_optimizer_rate(view: View) -> Iterator[Hit]:
    """An optimizer that finds its own learning rate has one like AdamW's.

    What it does
    Looks for learning rates of 0.1 and less, or above 10, with Prodigy and D-Adaptation.

    Why is this bad
    Their learning rate is a factor on the rate that they find, so with 1e-4 hardly anything is learned.

    Bad
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1e-4}
    ```

    Good
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1.0}
    ```
    """
    if family(view.config) != "adaptive":
        return
    name = view.config.optimizer_type
    for key, rate in rates_in_use(view.config, view.given).items():
        if rate <= 0.1 or rate > 10:
            default = "" if key in view.given else " (the default)"
            what = "low" if rate <= 0.1 else "high"
            message = f"{key} {rate:g}{default} is too {what} for {name}, which finds the rate itself"
            yield Hit(message, (key, "optimizer_type"), f"{name} wants 1.0", set_to(key, 1.0))


@rule("LL405", "lion-rate-like-adam", "warning", reads=_READS, source="LoRA_Easy_Training_Scripts README")
def lion_rate_like_adam(view: View) -> Iterator[Hit]:
    """Lion has a learning rate that would suit AdamW.

    What it does
    Looks for 1e-4 to 3e-4 with Lion; higher ones are LL402.

    Why is this bad
    Lion moves every weight by the full rate in each step: it wants 3 to 10 times less than AdamW.

    Bad
    ```json
    {"optimizer_type": "Lion", "learning_rate": 1e-4}
    ```

    Good
    ```json
    {"optimizer_type": "Lion", "learning_rate": 2e-5}
    ```
    """
    if family(view.config) != "lion":
        return
    for key, rate in rates_in_use(view.config, view.given).items():
        if 1e-4 <= rate <= 3e-4:
            default = "" if key in view.given else " (the default)"
            message = f"{key} {rate:g}{default} is a rate for AdamW; Lion wants 3 to 10 times less"
            yield Hit(message, (key, "optimizer_type"), "use 1e-5 to 3e-5", set_to(key, 2e-5))


@rule("LL407", "several-rates-for-adaptive-optimizer", "error", reads=_READS, source=f"{_GET_OPTIMIZER}; prodigyopt")
def several_rates_for_adaptive_optimizer(view: View) -> Iterator[Hit]:
    """U-Net and text encoder have different rates, and the optimizer finds one for both.

    What it does
    Looks for two rates with Prodigy and D-Adaptation.

    Why is this bad
    They estimate one step size for all parts and refuse two rates, so the run ends at its start.

    Bad
    ```json
    {"optimizer_type": "Prodigy", "unet_lr": 1.0, "text_encoder_lr": 0.5}
    ```

    Good
    ```json
    {"optimizer_type": "Prodigy", "unet_lr": 1.0, "text_encoder_lr": 1.0}
    ```
    """
    rates = rates_in_use(view.config, view.given)
    if family(view.config) == "adaptive" and len(set(rates.values())) > 1:
        shown = ", ".join(f"{key} {rate:g}" for key, rate in rates.items())
        message = f"{view.config.optimizer_type} finds one rate for all parts, and here are {shown}"
        yield Hit(message, tuple(rates), "give both parts 1.0, or use unet_only")


@rule("LL408", "two-optimizers", "error", reads=("use_8bit_adam", "optimizer_type"), source=_GET_OPTIMIZER)
def two_optimizers(view: View) -> Iterator[Hit]:
    """`use_8bit_adam` and `optimizer_type` ask for different optimizers.

    What it does
    Looks for `use_8bit_adam` with an `optimizer_type` that is neither AdamW nor AdamW8bit.

    Why is this bad
    Only one can be meant; sd-scripts stops, other tools drop one of them silently.

    Bad
    ```json
    {"use_8bit_adam": true, "optimizer_type": "Prodigy", "learning_rate": 1.0}
    ```

    Good
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1.0}
    ```
    """
    name = view.config.optimizer_type
    if view.config.use_8bit_adam and name.casefold() not in {"adamw", "adamw8bit"}:
        message = f"use_8bit_adam asks for AdamW8bit, optimizer_type for {name}"
        fix = removed("use_8bit_adam", safe=False)
        yield Hit(message, ("use_8bit_adam", "optimizer_type"), "keep optimizer_type only", fix)


_SET_BY_ADAFACTOR = (
    *("learning_rate", "unet_lr", "text_encoder_lr"),
    *("scheduler", "cosine_restarts", "scheduler_power", "warmup_lr_ratio", "lr_warmup_steps"),
)


@rule(
    "LL410",
    "adafactor-finds-its-rate",
    "warning",
    reads=("optimizer_type", "optimizer_args", "use_8bit_adam", *_SET_BY_ADAFACTOR),
    source=f"transformers optimization.py Adafactor; {_GET_OPTIMIZER}",
    idle=_SET_BY_ADAFACTOR,
    targets=OURS,
)
def adafactor_finds_its_rate(view: View) -> Iterator[Hit]:
    """AdaFactor finds its own learning rate, and the config gives it one.

    What it does
    Looks for learning rates, a `scheduler` or a warm-up with AdaFactor and without `relative_step=False` in
    `optimizer_args`; its default is True.

    Why is this bad
    They have no effect: each tensor's rate follows from the step and from the size of its values.

    Bad
    ```json
    {"optimizer_type": "AdaFactor", "learning_rate": 1e-3}
    ```

    Good
    ```json
    {
      "optimizer_type": "AdaFactor", "learning_rate": 1e-3,
      "optimizer_args": ["relative_step=False", "scale_parameter=False"]
    }
    ```
    """
    config = view.config
    fixed = arguments(config.optimizer_args).get("relative_step") is False or config.use_8bit_adam
    idle = [key for key in _SET_BY_ADAFACTOR if key in view.given]
    if family(config) == "adafactor" and not fixed and idle:
        verb = "has" if len(idle) == 1 else "have"
        message = f"AdaFactor with relative_step (its default) sets its own rate: {', '.join(idle)} {verb} no effect"
        remedy = 'leave that out, or set optimizer_args to ["relative_step=False", "scale_parameter=False"]'
        yield Hit(message, (*idle, "optimizer_type"), remedy, removed(*idle))


@rule(
    "LL411",
    "schedule-with-schedule-free",
    "warning",
    reads=("optimizer_type", "scheduler", "use_8bit_adam"),
    source="sd-scripts library/train_util.py get_dummy_scheduler",
)
def schedule_with_schedule_free(view: View) -> Iterator[Hit]:
    """An optimizer that needs no schedule has one.

    What it does
    Looks for a `scheduler` other than constant with RAdamScheduleFree, AdamWScheduleFree and SGDScheduleFree.

    Why is this bad
    They average the weights instead of lowering the rate; a falling rate on top works against that. sd-scripts ignores
    the scheduler then.

    Bad
    ```json
    {"optimizer_type": "AdamWScheduleFree", "scheduler": "cosine"}
    ```

    Good
    ```json
    {"optimizer_type": "AdamWScheduleFree", "scheduler": "constant"}
    ```
    """
    name = view.config.optimizer_type
    if name.casefold().endswith("schedulefree") and not view.config.scheduler.startswith("constant"):
        default = "" if "scheduler" in view.given else " (the default)"
        message = f"{name} needs no schedule, and scheduler is {view.config.scheduler}{default}"
        yield Hit(message, ("scheduler", "optimizer_type"), "use constant", set_to("scheduler", "constant"))
