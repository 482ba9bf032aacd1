"""LL8xx: keys that are no switches, given as true or false.

These values fit a widely copied explanation of a key instead of what the key is. Each is answered with what the key is
and what was probably wanted, in place of the plain finding about its type.
"""

from collections.abc import Iterator

from lora_lab.lint.finding import Edit, Fix, removed, set_to
from lora_lab.lint.rule import Hit, View, rule


@rule(
    "LL801",
    "clip-skip-as-switch",
    "error",
    reads=("clip_skip",),
    source="sd-scripts library/strategy_sd.py encode_tokens",
    sees="raw",
)
def clip_skip_as_switch(view: View) -> Iterator[Hit]:
    """`clip_skip` is given as true or false.

    What it does
    Looks for a switch where the number of a layer stands.

    Why is this bad
    It does not skip clipped pictures. It says which layer of the text encoder gives the caption's features, counted
    from the end: 1 is the last, nothing is skipped.

    Bad
    ```json
    {"clip_skip": true}
    ```

    Good
    ```json
    {"clip_skip": 1}
    ```
    """
    value = view.values.get("clip_skip")
    if isinstance(value, bool):
        message = "clip_skip is no switch about clipped pictures: it is the text encoder's layer, counted from the end"
        yield Hit(message, ("clip_skip",), "write 1 (the last layer), or 2 for anime models", set_to("clip_skip", 1))


@rule("LL806", "vae-as-switch", "error", reads=("vae",), source="LoRA_Easy_Training_Scripts README", sees="raw")
def vae_as_switch(view: View) -> Iterator[Hit]:
    """`vae` is given as true or false.

    What it does
    Looks for a switch where a path stands.

    Why is this bad
    It does not train the model as a VAE: it is the path of another VAE that encodes the pictures.

    Bad
    ```json
    {"vae": true}
    ```

    Good
    ```json
    {"vae": null}
    ```
    """
    if isinstance(view.values.get("vae"), bool):
        message = "vae is no switch: it is the path of another VAE that encodes the pictures"
        yield Hit(message, ("vae",), "write null: the base model's own VAE is right almost always", removed("vae"))


@rule(
    "LL807",
    "output-name-as-switch",
    "error",
    reads=("change_output_name",),
    source="sd-scripts train_network.py save_model",
    sees="raw",
)
def output_name_as_switch(view: View) -> Iterator[Hit]:
    """`change_output_name` is given as true or false.

    What it does
    Looks for a switch where a name stands.

    Why is this bad
    It is not whether to rename the result, but its name.

    Bad
    ```json
    {"change_output_name": true}
    ```

    Good
    ```json
    {"change_output_name": "my_cat"}
    ```
    """
    if isinstance(view.values.get("change_output_name"), bool):
        message = "change_output_name is no switch: it is the name of the result"
        remedy = 'write a name such as "my_cat", or null for "last"'
        yield Hit(message, ("change_output_name",), remedy, removed("change_output_name"))


@rule(
    "LL808",
    "resume-as-switch",
    "error",
    reads=("load_previous_save_state",),
    source="accelerate load_state",
    sees="raw",
)
def resume_as_switch(view: View) -> Iterator[Hit]:
    """`load_previous_save_state` is given as true or false.

    What it does
    Looks for a switch where the path of a folder stands.

    Why is this bad
    Which state to go on from can't be known: there may be one for each epoch.

    Bad
    ```json
    {"load_previous_save_state": true}
    ```

    Good
    ```json
    {"load_previous_save_state": "out/my_cat-000004-state"}
    ```
    """
    value = view.values.get("load_previous_save_state")
    if isinstance(value, bool):
        message = "load_previous_save_state is no switch: it is the path of a folder that save_state wrote"
        remedy = "write that folder's path (its name ends in -state)" if value else "write null"
        fix = None if value else removed("load_previous_save_state")
        yield Hit(message, ("load_previous_save_state",), remedy, fix)


@rule(
    "LL809",
    "mixed-precision-as-switch",
    "error",
    reads=("mixed_precision",),
    source="sd-scripts library/train_util.py",
    sees="raw",
)
def mixed_precision_as_switch(view: View) -> Iterator[Hit]:
    """`mixed_precision` is given as true or false.

    What it does
    Looks for a switch, or a number of bits, where one of three words stands.

    Why is this bad
    There are two kinds of mixed precision, and which one is right depends on the card.

    Bad
    ```json
    {"mixed_precision": true}
    ```

    Good
    ```json
    {"mixed_precision": "bf16"}
    ```
    """
    value = view.values.get("mixed_precision")
    if value is False:
        message = "mixed_precision is one of three words; off is no"
        yield Hit(message, ("mixed_precision",), 'write "no"', set_to("mixed_precision", "no", safe=True))
    elif value is True or (isinstance(value, int | float) and not isinstance(value, bool)):
        message = "mixed_precision is no switch: there are fp16 and bf16"
        remedy = 'write "bf16" on NVIDIA cards from Ampere (RTX 30) on, "fp16" on older ones, "no" on a CPU'
        yield Hit(message, ("mixed_precision",), remedy, set_to("mixed_precision", "bf16"))


@rule(
    "LL814",
    "accumulation-as-switch",
    "error",
    reads=("gradient_acc_steps",),
    source="sd-scripts train_network.py",
    sees="raw",
)
def accumulation_as_switch(view: View) -> Iterator[Hit]:
    """`gradient_acc_steps` is given as true or false.

    What it does
    Looks for a switch where a number of batches stands.

    Why is this bad
    It does not save memory by itself: it is how many batches one step learns from. Memory is saved by
    `gradient_checkpointing`, which is a switch.

    Bad
    ```json
    {"gradient_acc_steps": true}
    ```

    Good
    ```json
    {"gradient_checkpointing": true}
    ```
    """
    value = view.values.get("gradient_acc_steps")
    if isinstance(value, bool):
        message = "gradient_acc_steps is a number of batches; the switch that saves memory is gradient_checkpointing"
        edits = (Edit("gradient_acc_steps", "remove"), Edit("gradient_checkpointing", "set", True))
        fix = Fix(edits, safe=False) if value else removed("gradient_acc_steps")
        yield Hit(message, ("gradient_acc_steps",), "write 1, or use gradient_checkpointing", fix)


@rule("LL816", "path-as-switch", "error", reads=(), source="LoRA_Easy_Training_Scripts d14b240", sees="raw")
def path_as_switch(view: View) -> Iterator[Hit]:
    """The path of a file or folder is given as true or false.

    What it does
    Looks at `lora_model_for_resume`, `load_json_path`, `save_json_folder`, `multi_run_folder`, `reg_img_folder` and
    `log_dir`.

    Why is this bad
    Where the thing is can't be known.

    Bad
    ```json
    {"lora_model_for_resume": true}
    ```

    Good
    ```json
    {"lora_model_for_resume": "out/my_cat.safetensors"}
    ```
    """
    what = {
        "lora_model_for_resume": "the LoRA file whose weights the run starts from",
        "load_json_path": "the config file that this one starts from; it resumes nothing",
        "save_json_folder": "the folder for a copy of the config",
        "multi_run_folder": "the folder into which a sweep writes its runs",
        "reg_img_folder": "the folder of regularisation pictures",
        "log_dir": "the folder for TensorBoard logs",
    }
    for key, meaning in what.items():
        value = view.values.get(key)
        if isinstance(value, bool):
            fix = None if value else removed(key)
            yield Hit(f"{key} is no switch: it is the path of {meaning}", (key,), "write the path, or null", fix)
