"""LL52x: how long a run is, by the pictures that are there.

Steps an epoch = ceil(Σ over buckets of ceil(pictures × repeats / batch size) / gradient_acc_steps), regularisation
pictures among them. With `validation_split` that is the most that it can be.
"""

from collections.abc import Iterator
from typing import Final

from lora_lab.config import StepPlan
from lora_lab.lint.dataset import EPOCH_KEYS, regularisation, steps_of, training
from lora_lab.lint.rule import Hit, View, rule

_LENGTH: Final = (*EPOCH_KEYS, "gradient_acc_steps", "num_epochs", "max_steps")
_TRAIN: Final = "sd-scripts train_network.py train: max_train_steps"

FEWEST: Final = 50
"""Optimizer steps below which a LoRA hardly moves away from zero at usual learning rates."""

MOST_VIEWS: Final = 1_000
"""Times that one picture is shown in a run, above which it is learned by heart (kohya-colab #109: 200–300 repeats)."""


@rule(
    "LL521",
    "interval-longer-than-run",
    "warning",
    reads=(*_LENGTH, "save_every_n_steps", "sample_every_n_steps", "save_every_n_epochs", "sample_every_n_epochs"),
    source=_TRAIN,
    sees="disk",
)
def interval_longer_than_run(view: View) -> Iterator[Hit]:
    """Files or pictures are asked for at an interval that the run never reaches.

    What it does
    Computes the steps of the run from the pictures on disk, where its length is given in epochs, and the epochs where
    it is given in steps, and compares them with the intervals.

    Why is this bad
    Nothing is saved or drawn before the end.

    Bad
    ```json
    {"img_folder": "pics", "num_epochs": 10, "save_every_n_steps": 500}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```

    Good
    ```json
    {"img_folder": "pics", "num_epochs": 10, "save_every_n_steps": 50}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```
    """
    plan, config = steps_of(view), view.config
    if plan is None:
        return
    if config.max_steps is None:
        saves, draws, end = config.save_every_n_steps, config.sample_every_n_steps, plan.total_steps
        unit, length = "steps", _length(plan)
    else:  # other rules compare steps with steps
        saves, draws, end = config.save_every_n_epochs, config.sample_every_n_epochs, plan.epochs
        unit, length = "epochs", f"{end} epoch(s), of {plan.steps_per_epoch} steps each"
    for key, every, does in (("save", saves, "saves"), ("sample", draws, "draws")):
        if every and every > end:
            name = f"{key}_every_n_{unit}"
            message = f"{name} {every} {does} nothing before the end: the run has {length}"
            yield Hit(message, (name, "num_epochs"), "use a smaller number")


@rule("LL522", "warmup-longer-than-epochs", "warning", reads=(*_LENGTH, "lr_warmup_steps"), source=_TRAIN, sees="disk")
def warmup_longer_than_epochs(view: View) -> Iterator[Hit]:
    """The warm-up takes as long as the whole run.

    What it does
    Computes the steps of the run from the pictures on disk and compares them with `lr_warmup_steps`.

    Why is this bad
    The learning rate never reaches its value.

    Bad
    ```json
    {"img_folder": "pics", "num_epochs": 5, "lr_warmup_steps": 200}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```

    Good
    ```json
    {"img_folder": "pics", "num_epochs": 5, "lr_warmup_steps": 10}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```
    """
    plan, warmup = steps_of(view), view.config.lr_warmup_steps
    if plan and warmup and view.config.max_steps is None and warmup >= plan.total_steps:
        message = f"the warm-up of {warmup} steps is not over when the run is: it has {_length(plan)}"
        yield Hit(message, ("lr_warmup_steps", "num_epochs"), f"use up to {max(plan.total_steps // 10, 1)}")


@rule("LL523", "very-short-run", "warning", reads=_LENGTH, source="heuristic: a LoRA starts at zero", sees="disk")
def very_short_run(view: View) -> Iterator[Hit]:
    """The whole run has very few steps.

    What it does
    Computes the steps of the run from the pictures on disk: fewer than 50 are reported. A length that is given in steps
    is taken as meant.

    Why is this bad
    A LoRA starts as no change at all and needs some hundred steps to learn something. Mostly the folder's number is
    missing, or the epochs are.

    Bad
    ```json
    {"img_folder": "pics", "num_epochs": 1}
    ```
    ```files
    pics/1_cat/a.png
    pics/1_cat/b.png
    ```

    Good
    ```json
    {"img_folder": "pics", "num_epochs": 10}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```
    """
    plan = steps_of(view)
    if plan and view.config.max_steps is None and plan.total_steps < FEWEST:
        message = f"the run is over after {_length(plan)}, too few to learn from"
        yield Hit(message, ("num_epochs", "img_folder"), "raise num_epochs, or the number in the folder's name")


@rule("LL524", "ends-in-first-epoch", "info", reads=_LENGTH, source=_TRAIN, sees="disk")
def ends_in_first_epoch(view: View) -> Iterator[Hit]:
    """`max_steps` ends the run before every picture was shown as often as its folder says.

    What it does
    Computes the steps of an epoch from the pictures on disk and compares them with `max_steps`.

    Why is this bad
    Some pictures are seen less often than others, perhaps never.

    Bad
    ```json
    {"img_folder": "pics", "max_steps": 10}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```

    Good
    ```json
    {"img_folder": "pics", "max_steps": 200}
    ```
    ```files
    pics/10_cat/a.png
    pics/10_cat/b.png
    ```
    """
    plan = steps_of(view)
    if plan and plan.total_steps < plan.steps_per_epoch:
        message = f"max_steps {plan.total_steps} ends in the first epoch, which has {plan.steps_per_epoch} steps"
        yield Hit(message, ("max_steps", "img_folder"), "raise it, or lower the numbers in the folders' names")


@rule(
    "LL525",
    "picture-shown-often",
    "warning",
    reads=_LENGTH,
    source="https://github.com/hollowstrawberry/kohya-colab/issues/109",
    sees="disk",
)
def picture_shown_often(view: View) -> Iterator[Hit]:
    """A picture is shown more than a thousand times in the run.

    What it does
    Multiplies the repeats of each folder with the epochs of the run.

    Why is this bad
    It is learned by heart: the LoRA draws that picture whatever is asked for.

    Bad
    ```json
    {"img_folder": "pics", "num_epochs": 10}
    ```
    ```files
    pics/200_cat/a.png
    ```

    Good
    ```json
    {"img_folder": "pics", "num_epochs": 10}
    ```
    ```files
    pics/20_cat/a.png
    ```
    """
    plan = steps_of(view)
    if plan is None:
        return
    epochs = plan.total_steps / plan.steps_per_epoch
    for subset in training(view).used:
        views = (subset.repeats or 0) * epochs
        if views > MOST_VIEWS and subset.listing.pictures:
            times = f"{views:.0f} times: {subset.repeats} repeats × {epochs:.3g} epochs"
            message = f"each picture of {subset.name} is shown {times}"
            yield Hit(message, ("img_folder", "num_epochs"), "some 50 to 200 times is usual: lower one of the two")


@rule("LL526", "regularisation-doubles-steps", "info", reads=_LENGTH, source=f"{_TRAIN}; kohya_ss #3322", sees="disk")
def regularisation_doubles_steps(view: View) -> Iterator[Hit]:
    """Regularisation pictures make an epoch twice as long.

    What it does
    Computes the steps of an epoch with them: as many are shown as training pictures with their repeats.

    Why is this bad
    Steps and time per epoch double; where `max_steps` gives the length, the training pictures are shown half as often.

    Bad
    ```json
    {"img_folder": "pics", "reg_img_folder": "class"}
    ```
    ```files
    pics/10_cat/a.png
    class/1_cat/b.png
    ```

    Good
    ```json
    {"img_folder": "pics"}
    ```
    ```files
    pics/10_cat/a.png
    ```
    """
    plan, other = steps_of(view), regularisation(view)
    if plan and other and other.pictures:
        message = f"half of what an epoch's {plan.steps_per_epoch} steps show are regularisation pictures"
        yield Hit(message, ("reg_img_folder",), "count that in where you choose the length, or leave them out")


def _length(plan: StepPlan) -> str:
    """Return the length of a run in words."""
    return f"{plan.total_steps} steps ({plan.steps_per_epoch} an epoch × {plan.epochs} epochs)"
