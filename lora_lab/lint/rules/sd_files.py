"""LL05x: the form of the files that sd-scripts reads, which passes over much in silence."""

import difflib
from collections.abc import Iterator
from functools import partial
from typing import Final

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects.names import DIFFUSERS, EVERY_NAME, GUI_ONLY, REASONS, is_known
from lora_lab.lint.rule import SD_SCRIPTS, Hit, View, rule
from lora_lab.lint.theirs import Setting

_theirs = partial(rule, reads=(), sees="theirs", targets=SD_SCRIPTS)
_CLOSE = 0.85
_MEANT: Final = {
    "epoch": "max_train_epochs",
    "lr_warmup": "lr_warmup_steps",
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "LoRA_type": "network_module",
    "sdxl_no_half_vae": "no_half_vae",
    "num_train_epochs": "max_train_epochs",
    "rank": "network_dim",
    "lora_rank": "network_dim",
    "snr_gamma": "min_snr_gamma",
    "batch_size": "train_batch_size",
    "text_encoder_lr1": "text_encoder_lr",
    "text_encoder_lr2": "text_encoder_lr",
}
"""Names of the GUI, diffusers' scripts and sd-scripts' own documentation, with the flag that is meant."""


@_theirs(
    "LL050", "not-an-sd-scripts-setting", "warning", source="sd-scripts train_util.py read_config_from_file; #2371"
)
def not_an_sd_scripts_setting(view: View) -> Iterator[Hit]:
    """A key is none of sd-scripts', which has another name for the setting.

    What it does
    Looks in a `--config_file` or a command line for names of kohya's GUI (`epoch`), of diffusers' scripts, of LoRA Easy
    Training Scripts (`net_dim`), and for slips of the hand.

    Why is this bad
    Keys of a `--config_file` become attributes that nobody reads: with `epoch = 10` a run has the 1600 steps of the
    default. On the command line the script stops at them.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    epoch = 10
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    max_train_epochs = 10
    ```
    """
    theirs = view.theirs
    if theirs.dialect not in ("sd-scripts", "sd-scripts-command"):
        return
    command = theirs.dialect == "sd-scripts-command"
    for one in theirs.every:
        meant = _meant(one.key, likest=not command) if len(one.place) <= 2 else ""
        if not meant:
            continue
        sign = "--" if command else ""
        does = "the script stops at it" if command else "passes over it in silence"
        message = f"{sign}{one.key} is no setting of sd-scripts: {does}"
        remedy = f"did you mean {sign}{meant}?"
        yield Hit(message, (one.key,), remedy, None, "error" if command else None, span=one.key_span)


def _meant(key: str, *, likest: bool) -> str:
    """Return sd-scripts' name for a key that it does not have; "" where it has it, or nobody knows it.

    `likest` asks for slips of the hand too; in a command line these are a syntax error (LL001).
    """
    if key in _MEANT:
        return _MEANT[key]
    if key in GUI_ONLY or key in DIFFUSERS:
        return ""
    if key in PARAMETERS and not is_known(key):
        return PARAMETERS[key].aliases.get("sd-scripts", "")
    if is_known(key) or not likest:
        return ""
    known = [*EVERY_NAME, *(name for names, _, _ in REASONS for name in names)]
    return next(iter(difflib.get_close_matches(key[:60], known, 1, _CLOSE)), "")


@_theirs("LL051", "resolution-no-text", "error", source="sd-scripts train_util.py prepare_dataset_args")
def resolution_no_text(view: View) -> Iterator[Hit]:
    """`resolution` of a `--config_file` is no text.

    What it does
    Looks for a number or a list there. (A `--dataset_config` wants just these, and no text.)

    Why is this bad
    sd-scripts splits the text at its comma: `'int' object has no attribute 'split'`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    resolution = 1024
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    resolution = "1024,1024"
    ```
    """
    theirs = view.theirs
    one = theirs.settings.get("resolution")
    if theirs.dialect != "sd-scripts" or one is None or isinstance(one.value, str) or one.value is None:
        return
    sides = one.value if isinstance(one.value, list) else [one.value, one.value]
    text = ",".join(map(str, sides))
    message = f"resolution {one.value} is no text: sd-scripts stops (it splits the text at its comma)"
    yield theirs.hit(message, ("resolution",), f'write "{text}"')


@_theirs("LL052", "sections-too-deep", "warning", source="sd-scripts train_util.py read_config_from_file")
def sections_too_deep(view: View) -> Iterator[Hit]:
    """A setting of a `--config_file` stands in a section of a section.

    What it does
    Looks for tables two levels deep.

    Why is this bad
    sd-scripts flattens one level only, so the setting is never read.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    [training.optimizer]
    learning_rate = 1e-4
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    [optimizer]
    learning_rate = 1e-4
    ```
    """
    if view.theirs.dialect != "sd-scripts":
        return
    deep = [one for one in view.theirs.every if len(one.place) > 2 and isinstance(one.place[1], str)]
    for one in deep[:1]:
        section = ".".join(map(str, one.place[:-1]))
        message = f"[{section}] is a section of a section, and sd-scripts reads one level: {one.key} is not set"
        yield Hit(message, (one.key,), f"write it in [{one.place[0]}]", span=one.key_span)


_HIDDEN: Final = (
    *("train_data_dir", "reg_data_dir", "in_json", "train_batch_size", "resolution", "enable_bucket"),
    *("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale"),
)
_IDLE: Final = {"train_batch_size": 1, "enable_bucket": False, "bucket_no_upscale": False}


@_theirs("LL056", "hidden-by-dataset-config", "warning", source="sd-scripts train_network.py train; kohya_ss #2596")
def hidden_by_dataset_config(view: View) -> Iterator[Hit]:
    """`dataset_config` is given, and folders are named beside it.

    What it does
    Looks for `train_data_dir`, `reg_data_dir` or `in_json` beside `dataset_config`.

    Why is this bad
    They are ignored: the pictures come from the folders of the data set's file alone.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    dataset_config = "data.toml"
    train_data_dir = "pictures"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    dataset_config = "data.toml"
    ```
    """
    theirs = view.theirs
    if not theirs.on("dataset_config") and not theirs.varies("dataset_config"):
        return
    for name in ("train_data_dir", "reg_data_dir", "in_json"):
        if theirs.on(name):
            message = f"{theirs.key(name)} is ignored: {theirs.key('dataset_config')} names the folders"
            yield theirs.hit(message, (name, "dataset_config"), "remove one of the two")


@_theirs("LL057", "half-a-number-of-steps", "error", source="sd-scripts train_util.py int_or_float, get_scheduler_fix")
def half_a_number_of_steps(view: View) -> Iterator[Hit]:
    """A number of warm-up or decay steps is written with a point.

    What it does
    Looks for `lr_warmup_steps` and `lr_decay_steps` of 1.0 and more, with a decimal point.

    Why is this bad
    A number with a point is a share of all steps: 100.0 is a hundred times the run. The command line refuses it.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_warmup_steps = 100.0
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_warmup_steps = 100
    ```
    """
    theirs = view.theirs
    if theirs.gui or theirs.dialect == "own":
        return
    for name in ("lr_warmup_steps", "lr_decay_steps"):
        value = theirs.get(name)
        if isinstance(value, float) and value >= 1:
            message = f"{theirs.key(name)} {value} is a share of all steps, since it has a point"
            yield theirs.hit(message, (name,), f"write {value:.0f}")


@_theirs("LL058", "script-of-another-kind", "error", source="sd-scripts; kohya_ss #1690, #1972, sd-scripts #809")
def script_of_another_kind(view: View) -> Iterator[Hit]:
    """A command starts a script that does not know its flags.

    What it does
    Looks for a LoRA's flags with a script that trains whole models (`train_db.py`, `fine_tune.py`, `sdxl_train.py`),
    and for flags of SDXL with `train_network.py`.

    Why is this bad
    The script stops at `unrecognized arguments`, or trains the whole model and runs out of memory.

    Bad
    ```sh
    accelerate launch train_db.py --pretrained_model_name_or_path=base --network_dim=16 --network_module=networks.lora
    ```

    Good
    ```sh
    accelerate launch train_network.py --pretrained_model_name_or_path=base --network_module=networks.lora
    ```
    """
    theirs = view.theirs
    wrong: tuple[Setting, ...] = ()
    if theirs.program in ("train_db", "fine_tune", "sdxl_train", "flux_train", "sd3_train"):
        wrong = tuple(one for one in theirs.every if one.key.startswith("network_"))
        meant = f"{_NETWORK_SCRIPT[theirs.program]}.py trains a LoRA"
    elif theirs.program == "train_network":
        wrong = tuple(one for one in theirs.every if one.key in _OF_SDXL)
        meant = "sdxl_train_network.py is for SDXL; leave the flag out for SD 1 and SD 2"
    for one in wrong[:1]:
        message = f"{theirs.program}.py has no flag --{one.key}: it stops at it"
        yield Hit(message, (one.key,), meant, span=one.key_span)


_NETWORK_SCRIPT: Final = {
    "train_db": "train_network",
    "fine_tune": "train_network",
    "sdxl_train": "sdxl_train_network",
    "flux_train": "flux_train_network",
    "sd3_train": "sd3_train_network",
}
_OF_SDXL: Final = frozenset(["cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "sdxl"])


@_theirs("LL059", "settings-and-data-in-one", "error", source="sd-scripts train_util.py; config_util.py")
def settings_and_data_in_one(view: View) -> Iterator[Hit]:
    """One file holds the settings of a run and its data set.

    What it does
    Looks for `[[datasets]]` beside sections of settings.

    Why is this bad
    As a `--config_file` the data set is not read, and as a `--dataset_config` the settings are refused.

    Bad
    ```toml
    [[datasets]]
    resolution = 512
    [[datasets.subsets]]
    image_dir = "a/cat"
    [training]
    pretrained_model_name_or_path = "a/base"
    learning_rate = 1e-4
    ```

    Good
    ```toml
    [training]
    pretrained_model_name_or_path = "a/base"
    learning_rate = 1e-4
    dataset_config = "data.toml"
    ```
    """
    theirs = view.theirs
    if theirs.dialect == "mixed":
        place = next((one.key_span for one in theirs.every if one.place[0] == "datasets"), theirs.start)
        message = "settings and [[datasets]] in one file: a --config_file does not read the latter, a --dataset_config"
        yield Hit(f"{message} refuses the former", ("datasets",), "write them into two files", span=place)
