"""LL55x: how long sd-scripts trains, and what it saves and draws on the way."""

from collections.abc import Iterator
from functools import partial

from lora_lab.lint.rule import SD_SCRIPTS, THEIRS, Hit, View, rule
from lora_lab.lint.theirs import Theirs

_theirs = partial(rule, reads=(), sees="theirs", targets=THEIRS)
_TU = "sd-scripts train_util.py"


@_theirs("LL550", "epochs-win-over-steps", "warning", source="sd-scripts train_network.py; sd-scripts #2426")
def epochs_win_over_steps(view: View) -> Iterator[Hit]:
    """Epochs and steps are both set: the epochs win.

    What it does
    Looks for `max_train_epochs` beside `max_train_steps`.

    Why is this bad
    The steps look like a limit and are none: a run of 12 hours takes 33.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    max_train_epochs = 20
    max_train_steps = 1600
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    max_train_epochs = 20
    ```
    """
    theirs = view.theirs
    if theirs.easy and theirs.dialect == "own":
        return  # the tool passes on the steps only
    epochs, steps = theirs.number("max_train_epochs"), theirs.number("max_train_steps")
    if epochs and steps:
        message = f"{theirs.key('max_train_steps')} {steps:g} is no limit: {theirs.key('max_train_epochs')} wins"
        yield theirs.hit(message, ("max_train_steps", "max_train_epochs"), "keep the one that is meant")


@_theirs("LL551", "default-steps", "warning", source=f"{_TU} add_training_arguments; kohya_ss #2371, #2303, #3268")
def default_steps(view: View) -> Iterator[Hit]:
    """Neither epochs nor steps are set: the run has 1600 steps.

    What it does
    Looks for a run without `max_train_epochs` and `max_train_steps`.

    Why is this bad
    1600 is the default whatever the data set is, and nothing says so: a run that never gets over its first epoch, or
    goes through ten pictures a hundred times.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    max_train_epochs = 10
    ```
    """
    theirs = view.theirs
    length = ("max_train_epochs", "max_train_steps", "epoch")
    if theirs.whole and theirs.dialect != "own" and not any(theirs.on(name) or theirs.varies(name) for name in length):
        yield theirs.hit(
            "neither epochs nor steps are set: the run has 1600 steps", (), "set max_train_epochs or max_train_steps"
        )


@_theirs("LL552", "samples-stop-the-run", "error", source=f"{_TU} sample_images_common")
def samples_stop_the_run(view: View) -> Iterator[Hit]:
    """Sample pictures are to be drawn, and there is no file of prompts.

    What it does
    Looks for an interval without `sample_prompts`.

    Why is this bad
    sd-scripts stops at the first sample, in the middle of the run.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    sample_every_n_epochs = 1
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    sample_every_n_epochs = 1
    sample_prompts = "prompts.txt"
    ```
    """
    theirs = view.theirs
    if theirs.gui or theirs.part or theirs.has("config_file"):
        return  # the GUI leaves the interval out when its prompts are empty
    for name in ("sample_every_n_epochs", "sample_every_n_steps"):
        if (theirs.number(name) or 0) > 0 and not theirs.get("sample_prompts"):
            message = f"{theirs.key(name)} without sample_prompts: the run stops at the first sample"
            yield theirs.hit(message, (name,), "name a file of prompts, or take it out")
            return


@_theirs("LL553", "workers-to-keep", "error", source="torch DataLoader")
def workers_to_keep(view: View) -> Iterator[Hit]:
    """Loading processes are to be kept, and there are none.

    What it does
    Looks for `persistent_data_loader_workers` with `max_data_loader_n_workers` 0.

    Why is this bad
    The run stops: `persistent_workers option needs num_workers > 0`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    persistent_data_loader_workers = true
    max_data_loader_n_workers = 0
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    persistent_data_loader_workers = true
    max_data_loader_n_workers = 1
    ```
    """
    theirs = view.theirs
    if theirs.get("persistent_data_loader_workers") is True and theirs.number("max_data_loader_n_workers") == 0:
        keep, count = theirs.key("persistent_data_loader_workers"), theirs.key("max_data_loader_n_workers")
        if not (theirs.easy and theirs.dialect == "own"):
            message = f"{keep} with {count} 0: the run stops"
            yield theirs.hit(
                message, ("max_data_loader_n_workers", "persistent_data_loader_workers"), f"turn {keep} off"
            )


@_theirs("LL554", "counters-without-state", "warning", source="sd-scripts train_network.py")
def counters_without_state(view: View) -> Iterator[Hit]:
    """A run is to start at a later epoch or step, and has no state to go on from.

    What it does
    Looks for `initial_epoch` and `initial_step` without `resume`, and for both of them.

    Why is this bad
    The numbers of epochs and steps go on, but the schedule and the optimizer start from nothing.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    initial_epoch = 5
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    initial_epoch = 5
    resume = "out/last-state"
    ```
    """
    theirs = view.theirs
    for name in ("initial_epoch", "initial_step"):
        value = theirs.number(name) or 0
        if value > (name == "initial_epoch") and not theirs.on("resume") and not theirs.varies("resume"):
            message = f"{name} {value:g} without resume: the learning rate and the optimizer start from nothing"
            yield theirs.hit(message, (name,), "name the state's folder as resume")


@_theirs("LL555", "ratio-hides-interval", "warning", source="sd-scripts train_network.py")
def ratio_hides_interval(view: View) -> Iterator[Hit]:
    """`save_n_epoch_ratio` and `save_every_n_epochs` are both set.

    What it does
    Looks for both.

    Why is this bad
    The ratio counts, the interval is ignored.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    save_n_epoch_ratio = 4
    save_every_n_epochs = 1
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    save_every_n_epochs = 1
    ```
    """
    theirs = view.theirs
    if theirs.number("save_n_epoch_ratio") and theirs.number("save_every_n_epochs"):
        message = f"{theirs.key('save_every_n_epochs')} is ignored: save_n_epoch_ratio says how many files there are"
        yield theirs.hit(message, ("save_every_n_epochs", "save_n_epoch_ratio"), "keep one of the two")


@_theirs("LL556", "processes-like-threads", "warning", targets=SD_SCRIPTS, source="kohya-colab #306; lora-scripts #645")
def processes_like_threads(view: View) -> Iterator[Hit]:
    """accelerate is to start as many processes as a processor has threads.

    What it does
    Looks for `num_processes` above 8. It counts graphics cards.

    Why is this bad
    Each process loads the model and takes a card of its own: the run stops, or its steps are divided.

    Bad
    ```json
    {"pretrained_model_name_or_path": "a/base", "train_data_dir": "a", "LoRA_type": "Standard", "num_processes": 18}
    ```

    Good
    ```json
    {"pretrained_model_name_or_path": "a/base", "train_data_dir": "a", "LoRA_type": "Standard", "num_processes": 1}
    ```
    """
    count = view.theirs.number("num_processes")
    if count and count > 8:
        message = f"num_processes {count:g} counts graphics cards, not threads of the processor"
        yield view.theirs.hit(message, ("num_processes",), "write 1, or the number of cards")


def trains_text_encoder(theirs: Theirs) -> bool:
    """Say whether the text encoder is trained, as far as the file says."""
    return not theirs.on("network_train_unet_only") and not theirs.varies("network_train_unet_only")
