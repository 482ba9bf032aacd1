"""LL5xx: what is saved and drawn during a run, and how pictures are loaded."""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rule import OURS, Hit, View, rule

_TRAIN = "sd-scripts train_network.py"
_SAMPLES = "sd-scripts library/train_util.py sample_images_common"


@rule(
    "LL502", "no-save-before-the-end", "info", reads=("save_every_n_epochs", "num_epochs", "max_steps"), source=_TRAIN
)
def no_save_before_the_end(view: View) -> Iterator[Hit]:
    """The saving interval is as long as the run.

    What it does
    Compares `save_every_n_epochs` with `num_epochs`, where there is more than one.

    Why is this bad
    Only the last file is written, and the best epoch is often an earlier one.

    Bad
    ```json
    {"save_every_n_epochs": 10, "num_epochs": 10}
    ```

    Good
    ```json
    {"save_every_n_epochs": 2, "num_epochs": 10}
    ```
    """
    every, epochs = view.config.save_every_n_epochs, view.config.num_epochs
    if every and view.config.max_steps is None and every >= epochs > 1:
        message = f"save_every_n_epochs {every} saves nothing before the end: the run has {epochs} epochs"
        yield Hit(message, ("save_every_n_epochs", "num_epochs"), "use a smaller number")


@rule("LL503", "step-save-after-the-end", "info", reads=("save_every_n_steps", "max_steps"), source=_TRAIN)
def step_save_after_the_end(view: View) -> Iterator[Hit]:
    """The saving interval in steps is as long as the run.

    What it does
    Compares `save_every_n_steps` with `max_steps`.

    Why is this bad
    Only the last file is written.

    Bad
    ```json
    {"save_every_n_steps": 1000, "max_steps": 500}
    ```

    Good
    ```json
    {"save_every_n_steps": 100, "max_steps": 500}
    ```
    """
    every, steps = view.config.save_every_n_steps, view.config.max_steps
    if every and steps and every >= steps:
        message = f"save_every_n_steps {every} saves nothing before the end: the run has {steps} steps"
        yield Hit(message, ("save_every_n_steps", "max_steps"), "use a smaller number")


@rule(
    "LL504",
    "keep-last-without-saving",
    "warning",
    reads=("save_last_n_epochs", "save_every_n_epochs"),
    source="sd-scripts library/train_util.py",
    idle=("save_last_n_epochs",),
)
def keep_last_without_saving(view: View) -> Iterator[Hit]:
    """Old epoch files are to be deleted, but none are written.

    What it does
    Looks for `save_last_n_epochs` without `save_every_n_epochs`.

    Why is this bad
    It has no effect.

    Bad
    ```json
    {"save_last_n_epochs": 3}
    ```

    Good
    ```json
    {"save_last_n_epochs": 3, "save_every_n_epochs": 1}
    ```
    """
    if view.config.save_last_n_epochs and not view.config.save_every_n_epochs:
        message = "save_last_n_epochs has no effect without save_every_n_epochs"
        yield Hit(message, ("save_last_n_epochs",), "set save_every_n_epochs too", removed("save_last_n_epochs"))


@rule(
    "LL505",
    "sampling-without-prompts",
    "warning",
    reads=("sample_every_n_epochs", "sample_every_n_steps", "sample_prompts"),
    source=_SAMPLES,
    targets=OURS,
)
def sampling_without_prompts(view: View) -> Iterator[Hit]:
    """Sample pictures are to be drawn, but there are no prompts.

    What it does
    Looks for `sample_every_n_epochs` or `sample_every_n_steps` without `sample_prompts`.

    Why is this bad
    No picture is drawn; sd-scripts stops in the middle of the run, at the first sample.

    Bad
    ```json
    {"sample_every_n_epochs": 1}
    ```

    Good
    ```json
    {"sample_every_n_epochs": 1, "sample_prompts": ["a cat"]}
    ```
    """
    if view.config.sample_prompts:
        return
    for key in ("sample_every_n_epochs", "sample_every_n_steps"):
        if getattr(view.config, key):
            yield Hit(
                f"{key} draws nothing without sample_prompts", (key,), "set sample_prompts, say to a list of texts"
            )
            return


@rule(
    "LL506",
    "two-sample-intervals",
    "warning",
    reads=("sample_every_n_epochs", "sample_every_n_steps"),
    source=_SAMPLES,
    idle=("sample_every_n_steps",),
)
def two_sample_intervals(view: View) -> Iterator[Hit]:
    """Sample pictures have two intervals.

    What it does
    Looks for `sample_every_n_epochs` together with `sample_every_n_steps`.

    Why is this bad
    The epochs win, and the steps have no effect.

    Bad
    ```json
    {"sample_every_n_epochs": 1, "sample_every_n_steps": 100, "sample_prompts": ["a cat"]}
    ```

    Good
    ```json
    {"sample_every_n_steps": 100, "sample_prompts": ["a cat"]}
    ```
    """
    if view.config.sample_every_n_epochs and view.config.sample_every_n_steps:
        message = "sample_every_n_steps has no effect: sample_every_n_epochs wins"
        keys = ("sample_every_n_steps", "sample_every_n_epochs")
        yield Hit(message, keys, "keep one of them", removed("sample_every_n_steps"))


@rule(
    "LL507",
    "persistent-without-workers",
    "warning",
    reads=("persistent_workers", "num_workers"),
    source="PyTorch torch.utils.data.DataLoader",
    idle=("persistent_workers",),
    targets=OURS,
)
def persistent_without_workers(view: View) -> Iterator[Hit]:
    """Loading processes are to be kept, but there are none.

    What it does
    Looks for `persistent_workers` with `num_workers` 0.

    Why is this bad
    It has no effect; in older tools the run stops at its start.

    Bad
    ```json
    {"persistent_workers": true, "num_workers": 0}
    ```

    Good
    ```json
    {"persistent_workers": true, "num_workers": 2}
    ```
    """
    if view.config.persistent_workers and view.config.num_workers == 0:
        message = "persistent_workers has no effect: num_workers is 0"
        remedy = "set num_workers to 1 or more, or persistent_workers to false"
        yield Hit(
            message, ("persistent_workers", "num_workers"), remedy, set_to("persistent_workers", False, safe=True)
        )


@rule(
    "LL508",
    "one-state-at-the-end",
    "info",
    reads=("save_state", "save_every_n_epochs", "save_every_n_steps"),
    source=_TRAIN,
)
def one_state_at_the_end(view: View) -> Iterator[Hit]:
    """States are saved, but only when the run is over.

    What it does
    Looks for `save_state` without `save_every_n_epochs` and `save_every_n_steps`.

    Why is this bad
    An interrupted run, which a state is for, leaves none.

    Bad
    ```json
    {"save_state": true}
    ```

    Good
    ```json
    {"save_state": true, "save_every_n_epochs": 1}
    ```
    """
    config = view.config
    if config.save_state and not config.save_every_n_epochs and not config.save_every_n_steps:
        message = "save_state writes one state, at the end: an interrupted run leaves none"
        yield Hit(message, ("save_state",), "set save_every_n_epochs or save_every_n_steps")


@rule(
    "LL515",
    "keep-best-without-validation",
    "error",
    reads=("keep_best", "validation_split"),
    source="lora_lab/train/prepare.py add_member",
    targets=OURS,
)
def keep_best_without_validation(view: View) -> Iterator[Hit]:
    """The best LoRA is to be kept, and there is nothing to tell it by.

    What it does
    Looks for `keep_best` without `validation_split`.

    Why is this bad
    The best is the one of the lowest validation loss, which needs held-out pictures: the run ends at its start. The
    training loss would not do, since it goes on falling while the LoRA overfits.

    Bad
    ```json
    {"keep_best": true}
    ```

    Good
    ```json
    {"keep_best": true, "validation_split": 0.1}
    ```
    """
    if view.config.keep_best and not view.config.validation_split:
        message = "keep_best goes by the validation loss, and there is none"
        yield Hit(message, ("keep_best", "validation_split"), "set validation_split to 0.1 or so")


@rule(
    "LL516",
    "average-decay-not-reached",
    "info",
    reads=("ema_decay", "max_steps"),
    source="lora_lab/train/average.py decay_at; diffusers training_utils.EMAModel",
    targets=OURS,
)
def average_decay_not_reached(view: View) -> Iterator[Hit]:
    """The run is too short for the decay of the average.

    What it does
    Compares `ema_decay` with what its warm-up, (1 + n) / (10 + n) after n steps, reaches in `max_steps`.

    Why is this bad
    It is no harm, but the number is not the one that acts: every larger one gives the same LoRA, so comparing them
    compares nothing.

    Bad
    ```json
    {"ema_decay": 0.999, "max_steps": 1000}
    ```

    Good
    ```json
    {"ema_decay": 0.99, "max_steps": 1000}
    ```
    """
    decay, steps = view.config.ema_decay, view.config.max_steps
    if decay is None or steps is None:
        return
    reached = steps / (9 + steps)
    if decay > reached:
        message = f"ema_decay {decay:g} is not reached in {steps} steps: its warm-up ends at {reached:.4g}"
        yield Hit(message, ("ema_decay", "max_steps"), f"any number above {reached:.4g} gives the same LoRA")


@rule(
    "LL517",
    "averaged-twice",
    "warning",
    reads=("ema_decay", "optimizer_type"),
    source="Defazio et al. 2024, The Road Less Scheduled (arXiv:2405.15682)",
    targets=OURS,
)
def averaged_twice(view: View) -> Iterator[Hit]:
    """The weights of a schedule-free optimizer are averaged once more.

    What it does
    Looks for `ema_decay` with an optimizer whose name has "schedulefree" in it.

    Why is this bad
    These optimizers show an average of their weights already. The average of that lags behind for nothing.

    Bad
    ```json
    {"ema_decay": 0.99, "optimizer_type": "AdamWScheduleFree"}
    ```

    Good
    ```json
    {"ema_decay": 0.99, "optimizer_type": "AdamW"}
    ```
    """
    name = view.config.optimizer_type
    if view.config.ema_decay and "schedulefree" in name.lower().replace("_", ""):
        message = f"{name} averages its weights already, and ema_decay averages them again"
        yield Hit(message, ("ema_decay", "optimizer_type"), "leave ema_decay out", removed("ema_decay", safe=False))
