"""LL8xx: more values that fit a widely copied explanation of a key instead of what the key is; see `switches`."""

from collections.abc import Iterator

from lora_lab.lint.finding import Edit, Fix, removed, set_to
from lora_lab.lint.foreign import is_switch_word
from lora_lab.lint.rule import Hit, View, rule


@rule(
    "LL810",
    "tag-report-as-path",
    "error",
    reads=("tag_occurrence_txt_file",),
    source="LoRA_Easy_Training_Scripts d14b240 get_occurrence_of_tags",
    sees="raw",
)
def tag_report_as_path(view: View) -> Iterator[Hit]:
    """`tag_occurrence_txt_file` is given as a path.

    What it does
    Looks for a text where a switch stands.

    Why is this bad
    No file weights the loss by tags. The switch asks for a report of the tags, written into `output_folder`.

    Bad
    ```json
    {"tag_occurrence_txt_file": "tags.txt"}
    ```

    Good
    ```json
    {"tag_occurrence_txt_file": true}
    ```
    """
    value = view.values.get("tag_occurrence_txt_file")
    if isinstance(value, str) and value and not is_switch_word(value):
        message = "tag_occurrence_txt_file is no input: it is a switch for a report of the tags in output_folder"
        yield Hit(message, ("tag_occurrence_txt_file",), "write true or false", set_to("tag_occurrence_txt_file", True))


@rule(
    "LL811",
    "save-precision-as-bits",
    "error",
    reads=("save_precision",),
    source="sd-scripts library/train_util.py",
    sees="raw",
)
def save_precision_as_bits(view: View) -> Iterator[Hit]:
    """`save_precision` is given as a number of bits.

    What it does
    Looks for 16 or 32 where a word stands.

    Why is this bad
    16 bits can be fp16 or bf16, which are not the same.

    Bad
    ```json
    {"save_precision": 16}
    ```

    Good
    ```json
    {"save_precision": "fp16"}
    ```
    """
    value = view.values.get("save_precision")
    if isinstance(value, bool) or value not in (16, 32, "16", "32"):
        return
    word = "fp16" if str(value).startswith("16") else "float"
    yield Hit(
        "save_precision is a word, not a number of bits",
        ("save_precision",),
        f'write "{word}"',
        set_to("save_precision", word, safe=True),
    )


@rule(
    "LL812",
    "bucket-steps-as-factor",
    "error",
    reads=("bucket_reso_steps",),
    source="sd-scripts library/model_util.py make_bucket_resolutions",
    sees="raw",
)
def bucket_steps_as_factor(view: View) -> Iterator[Hit]:
    """`bucket_reso_steps` is given as a number of steps.

    What it does
    Looks for a number below 8.

    Why is this bad
    The resolution does not double that many times: it is the grid of the bucket sizes, in pixels.

    Bad
    ```json
    {"bucket_reso_steps": 2}
    ```

    Good
    ```json
    {"bucket_reso_steps": 64}
    ```
    """
    value = view.values.get("bucket_reso_steps")
    if isinstance(value, int) and not isinstance(value, bool) and value < 8:
        message = (
            f"bucket_reso_steps {value}: it is the grid of bucket sizes in pixels, not a number of steps or doublings"
        )
        yield Hit(message, ("bucket_reso_steps",), "write 64", set_to("bucket_reso_steps", 64))


@rule("LL813", "save-state-as-path", "error", reads=("save_state",), source="sd-scripts train_network.py", sees="raw")
def save_state_as_path(view: View) -> Iterator[Hit]:
    """`save_state` is given as a path.

    What it does
    Looks for a text where a switch stands.

    Why is this bad
    States go into `output_folder`; the folder to go on from is `load_previous_save_state`.

    Bad
    ```json
    {"save_state": "out/state"}
    ```

    Good
    ```json
    {"save_state": true}
    ```
    """
    value = view.values.get("save_state")
    if isinstance(value, str) and value and not is_switch_word(value):
        message = "save_state is a switch: states go into output_folder"
        remedy = "write true; to go on from a state, name its folder in load_previous_save_state"
        yield Hit(message, ("save_state",), remedy, set_to("save_state", True))


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


@rule(
    "LL815",
    "token-length-of-clip",
    "error",
    reads=("max_clip_token_length",),
    source="sd-scripts library/strategy_base.py _get_input_ids",
    sees="raw",
)
def token_length_of_clip(view: View) -> Iterator[Hit]:
    """`max_clip_token_length` is 77, which counts CLIP's start and end marks.

    What it does
    Looks for 77, 152, 154, 227, 231 and 255.

    Why is this bad
    The setting counts what is left for the caption: 75 for each pass.

    Bad
    ```json
    {"max_clip_token_length": 77}
    ```

    Good
    ```json
    {"max_clip_token_length": 75}
    ```
    """
    meant = {77: 75, 152: 150, 154: 150, 227: 225, 231: 225, 255: 225}
    value = view.values.get("max_clip_token_length")
    if isinstance(value, int) and not isinstance(value, bool) and value in meant:
        message = f"max_clip_token_length {value}: it counts the caption's tokens, without CLIP's start and end marks"
        fix = set_to("max_clip_token_length", meant[value])
        yield Hit(message, ("max_clip_token_length",), f"write {meant[value]}", fix)


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


@rule(
    "LL817",
    "clip-skip-zero",
    "error",
    reads=("clip_skip",),
    source="sd-scripts library/strategy_sd.py encode_tokens",
    sees="raw",
)
def clip_skip_zero(view: View) -> Iterator[Hit]:
    """`clip_skip` is 0, to skip nothing.

    What it does
    Looks for 0.

    Why is this bad
    The layers are counted from 1, the last one. 0 means the first one's input in sd-scripts, which bypasses the text
    encoder.

    Bad
    ```json
    {"clip_skip": 0}
    ```

    Good
    ```json
    {"clip_skip": 1}
    ```
    """
    value = view.values.get("clip_skip")
    if value in (0, "0") and not isinstance(value, bool):
        message = "clip_skip 0 does not mean that nothing is skipped: the last layer is 1"
        yield Hit(message, ("clip_skip",), "write 1", set_to("clip_skip", 1))


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
