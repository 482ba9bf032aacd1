"""LL1xx: configs that start from others, or only write one."""

import re
from collections.abc import Iterator
from pathlib import Path

from lora_lab.config import ALIASES, PARAMETERS
from lora_lab.lint.finding import removed
from lora_lab.lint.foreign import is_later_easy
from lora_lab.lint.rule import OURS, Hit, View, rule

_EASY = "LoRA_Easy_Training_Scripts d14b240 load_json"


@rule(
    "LL116",
    "state-folder-is-no-state",
    "error",
    reads=("load_previous_save_state",),
    source="lora_lab/train/state.py",
    sees="disk",
    targets=OURS,
)
def state_folder_is_no_state(view: View) -> Iterator[Hit]:
    """The folder to go on from holds no state of lora_lab.

    What it does
    Looks for `training.pt` in the folder of `load_previous_save_state`.

    Why is this bad
    The run stops. States of sd-scripts (accelerate) hold other files and can't be continued here.

    Bad
    ```json
    {"load_previous_save_state": "a-state"}
    ```
    ```files
    a-state/optimizer.bin: x
    ```

    Good
    ```json
    {"load_previous_save_state": "a-state"}
    ```
    ```files
    a-state/training.pt: x
    a-state/train_state.json: {}
    ```
    """
    state = view.config.load_previous_save_state
    if not state:
        return
    path = view.disk.resolve(state)
    if view.disk.is_folder(path) and not view.disk.is_file(path / "training.pt"):
        message = f"{state} holds no training.pt, so it is no state that lora_lab saved"
        remedy = "name a folder that ends in -state, or go on from a LoRA file with lora_model_for_resume"
        yield Hit(message, ("load_previous_save_state",), remedy)


@rule(
    "LL117",
    "skip-list-without-file",
    "info",
    reads=("load_json_path", "json_load_skip_list"),
    source=_EASY,
    idle=("json_load_skip_list",),
)
def skip_list_without_file(view: View) -> Iterator[Hit]:
    """Keys are not to be taken from another config, but none is loaded.

    What it does
    Looks for `json_load_skip_list` without `load_json_path`.

    Why is this bad
    It has no effect. Perhaps the path was forgotten.

    Bad
    ```json
    {"json_load_skip_list": ["net_dim"]}
    ```

    Good
    ```json
    {"json_load_skip_list": ["net_dim"], "load_json_path": "start.json"}
    ```
    ```files
    start.json: {}
    ```
    """
    if view.config.json_load_skip_list and not view.config.load_json_path:
        message = "json_load_skip_list has no effect without load_json_path"
        yield Hit(message, ("json_load_skip_list",), "leave it out", removed("json_load_skip_list"))


@rule("LL118", "skip-list-unknown-key", "warning", reads=("json_load_skip_list",), source=_EASY, targets=OURS)
def skip_list_unknown_key(view: View) -> Iterator[Hit]:
    """A key that is not to be taken from another config does not exist.

    What it does
    Compares the names in `json_load_skip_list` with the keys of lora_lab and of other tools.

    Why is this bad
    The key that was meant is taken after all.

    Bad
    ```json
    {"load_json_path": "start.json", "json_load_skip_list": ["netdim"]}
    ```
    ```files
    start.json: {}
    ```

    Good
    ```json
    {"load_json_path": "start.json", "json_load_skip_list": ["net_dim"]}
    ```
    ```files
    start.json: {}
    ```
    """
    for name in view.config.json_load_skip_list or ():
        if name not in PARAMETERS and name not in ALIASES and not is_later_easy(name):
            message = f'"{name}" in json_load_skip_list is no key'
            yield Hit(message, ("json_load_skip_list",), "write the key's exact name")


@rule(
    "LL119",
    "json-only-without-folder",
    "error",
    reads=("save_json_only", "save_json_folder"),
    source="LoRA_Easy_Training_Scripts d14b240 main; lora_lab/cli/train.py",
    targets=OURS,
)
def json_only_without_folder(view: View) -> Iterator[Hit]:
    """Only the config is to be saved, and no folder is named for it.

    What it does
    Looks for `save_json_only` without `save_json_folder`.

    Why is this bad
    The old tool ended without training and without a file; here it is refused.

    Bad
    ```json
    {"save_json_only": true}
    ```

    Good
    ```json
    {"save_json_only": true, "save_json_folder": "configs"}
    ```
    """
    if view.config.save_json_only and not view.config.save_json_folder:
        message = "save_json_only is true, and save_json_folder names no folder"
        yield Hit(message, ("save_json_only", "save_json_folder"), "name one, or set save_json_only to false")


@rule(
    "LL124",
    "state-past-the-end",
    "error",
    reads=("load_previous_save_state", "max_steps"),
    source="lora_lab/train/run.py; sd-scripts issues 141, 840, 954",
    sees="disk",
    targets=OURS,
)
def state_past_the_end(view: View) -> Iterator[Hit]:
    """The state to go on from has done all the steps already.

    What it does
    Compares `max_steps` with `current_step` in the state's `train_state.json`.

    Why is this bad
    `max_steps` counts from the beginning, not from the state: there is nothing left to train, and the run stops.

    Bad
    ```json
    {"load_previous_save_state": "a-state", "max_steps": 500}
    ```
    ```files
    a-state/training.pt: x
    a-state/train_state.json: {"current_step": 500}
    ```

    Good
    ```json
    {"load_previous_save_state": "a-state", "max_steps": 900}
    ```
    ```files
    a-state/training.pt: x
    a-state/train_state.json: {"current_step": 500}
    ```
    """
    state, planned = view.config.load_previous_save_state, view.config.max_steps
    if not state or planned is None:
        return
    found = re.search(r'"current_step"\s*:\s*(\d{1,9})\b', view.disk.text(_state_file(view, state)) or "")
    if found and int(found.group(1)) >= planned:
        message = f"the state has done {found.group(1)} steps, and max_steps {planned} counts from the beginning"
        remedy = "raise max_steps, or start a new run with lora_model_for_resume"
        yield Hit(message, ("max_steps", "load_previous_save_state"), remedy)


def _state_file(view: View, state: str) -> Path:
    """Return the path of the state's counters."""
    return view.disk.resolve(state) / "train_state.json"
