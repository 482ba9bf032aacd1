"""LL5xx: how long a run is, and what is held out."""

from collections.abc import Iterator

from lora_lab.lint.dataset import training
from lora_lab.lint.finding import removed
from lora_lab.lint.rule import Hit, View, rule

_TRAIN = "sd-scripts train_network.py"
_SAMPLES = "sd-scripts library/train_util.py sample_images_common"


@rule(
    "LL501",
    "epochs-overridden",
    "warning",
    reads=("max_steps", "num_epochs"),
    source="https://github.com/kohya-ss/sd-scripts/pull/2426",
    idle=("num_epochs",),
    targets=("lora_lab", "easy"),
)
def epochs_overridden(view: View) -> Iterator[Hit]:
    """The length is given in steps and in epochs.

    What it does
    Looks for `max_steps` together with a `num_epochs` other than 1.

    Why is this bad
    Here the steps win; in sd-scripts it is the epochs, which has turned runs of hours into runs of days.

    Bad
    ```json
    {"max_steps": 1000, "num_epochs": 10}
    ```

    Good
    ```json
    {"num_epochs": 10}
    ```
    """
    if view.config.max_steps is not None and "num_epochs" in view.given and view.config.num_epochs != 1:
        message = f"num_epochs has no effect: max_steps {view.config.max_steps} decides the length"
        yield Hit(message, ("num_epochs", "max_steps"), "keep the one that is meant", removed("num_epochs"))


@rule(
    "LL509",
    "validation-takes-most",
    "warning",
    reads=("validation_split",),
    source="sd-scripts library/train_util.py split_train_val",
)
def validation_takes_most(view: View) -> Iterator[Hit]:
    """More than half of the pictures are held out.

    What it does
    Looks for `validation_split` above 0.5.

    Why is this bad
    What is held out is not learned; 0.1 to 0.2 measures well enough.

    Bad
    ```json
    {"validation_split": 0.9}
    ```

    Good
    ```json
    {"validation_split": 0.1}
    ```
    """
    if view.config.validation_split > 0.5:
        message = f"validation_split {view.config.validation_split:g} holds most of the pictures out of the training"
        yield Hit(message, ("validation_split",), "use 0.1 to 0.2")


@rule(
    "LL510",
    "too-few-to-validate",
    "error",
    reads=("validation_split", "img_folder"),
    source="lora_lab.train.data.split",
    sees="disk",
)
def too_few_to_validate(view: View) -> Iterator[Hit]:
    """Pictures are to be held out, and there is only one.

    What it does
    Counts the pictures where `validation_split` is set.

    Why is this bad
    One picture can't be trained on and held out: the run can't start.

    Bad
    ```json
    {"validation_split": 0.1, "img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    ```

    Good
    ```json
    {"validation_split": 0.1, "img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/b.png
    ```
    """
    if view.config.validation_split > 0 and training(view).pictures == 1:
        message = "validation_split needs two pictures, and there is one"
        yield Hit(
            message,
            ("validation_split", "img_folder"),
            "add pictures, or leave it out",
            removed("validation_split", safe=False),
        )


@rule(
    "LL511",
    "batch-larger-than-epoch",
    "info",
    reads=("batch_size", "img_folder"),
    source="sd-scripts library/train_util.py make_buckets",
    sees="disk",
)
def batch_larger_than_epoch(view: View) -> Iterator[Hit]:
    """A batch is larger than all that an epoch shows.

    What it does
    Compares `batch_size` with the pictures times their repeats.

    Why is this bad
    The batches are smaller than asked, one per epoch and picture shape.

    Bad
    ```json
    {"batch_size": 8, "img_folder": "pictures"}
    ```
    ```files
    pictures/1_cat/a.png
    ```

    Good
    ```json
    {"batch_size": 8, "img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    ```
    """
    samples = training(view).samples
    if 0 < samples < view.config.batch_size:
        message = f"batch_size {view.config.batch_size} is above the {samples} picture(s) that an epoch shows"
        yield Hit(message, ("batch_size", "img_folder"), "use a smaller batch, or more repeats")
