"""LL8xx: keys that are switches, given as something else.

These values fit a widely copied explanation of a key instead of what the key is. Each is answered with what the key is
and what was probably wanted, in place of the plain finding about its type.
"""

from collections.abc import Iterator

from lora_lab.lint.finding import set_to
from lora_lab.lint.foreign import is_switch_word
from lora_lab.lint.rule import Hit, View, rule


@rule(
    "LL802",
    "buckets-as-lengths",
    "error",
    reads=("buckets",),
    source="sd-scripts library/train_util.py make_buckets",
    sees="raw",
)
def buckets_as_lengths(view: View) -> Iterator[Hit]:
    """`buckets` is given as a list or a number.

    What it does
    Looks for lengths or sizes where a switch stands.

    Why is this bad
    Buckets are no token lengths: they are groups of pictures of similar shape, and their sizes are worked out from the
    resolution.

    Bad
    ```json
    {"buckets": [256, 512, 768]}
    ```

    Good
    ```json
    {"buckets": true, "min_bucket_resolution": 256, "max_bucket_resolution": 768}
    ```
    """
    value = view.values.get("buckets")
    if isinstance(value, list | dict) or (isinstance(value, int | float) and value not in (0, 1)):
        message = "buckets is a switch for groups of picture shapes, not a list of lengths"
        remedy = "write true; the sizes follow from train_resolution, min_ and max_bucket_resolution"
        yield Hit(message, ("buckets",), remedy, set_to("buckets", True))


@rule(
    "LL803",
    "xformers-as-transforms",
    "error",
    reads=("xformers",),
    source="sd-scripts library/train_util.py replace_unet_modules",
    sees="raw",
)
def xformers_as_transforms(view: View) -> Iterator[Hit]:
    """`xformers` is given as a list or a name.

    What it does
    Looks for transformations where a switch stands. The words of the kohya GUI (xformers, sdpa, none) are understood.

    Why is this bad
    xformers is a package with attention kernels and does nothing to pictures; for that there are `flip_aug`,
    `color_aug` and `random_crop`.

    Bad
    ```json
    {"xformers": ["flip", "color"]}
    ```

    Good
    ```json
    {"xformers": false, "flip_aug": true}
    ```
    """
    value = view.values.get("xformers")
    if isinstance(value, str) and value.lower() in {"xformers", "sdpa", "none"}:
        right = value.lower() == "xformers"
        message = f'xformers is a switch here, and "{value}" is how the kohya GUI writes it'
        yield Hit(message, ("xformers",), f"write {str(right).lower()}", set_to("xformers", right))
    elif isinstance(value, list | dict) or (isinstance(value, str) and value and not is_switch_word(value)):
        message = "xformers is a switch for an attention kernel, not a list of picture transformations"
        remedy = "write false; pictures are changed by flip_aug, color_aug and random_crop"
        yield Hit(message, ("xformers",), remedy, set_to("xformers", False))


@rule(
    "LL804",
    "v-parameterization-as-norm",
    "error",
    reads=("v_parameterization",),
    source="sd-scripts train_network.py",
    sees="raw",
)
def v_parameterization_as_norm(view: View) -> Iterator[Hit]:
    """`v_parameterization` is given as the name of a normalisation.

    What it does
    Looks for a word such as "spectral" where a switch stands.

    Why is this bad
    It has nothing to do with normalisation: it says that the base model predicts velocity (v) instead of noise.

    Bad
    ```json
    {"v_parameterization": "spectral"}
    ```

    Good
    ```json
    {"v_parameterization": false}
    ```
    """
    value = view.values.get("v_parameterization")
    if isinstance(value, str) and value and not is_switch_word(value):
        message = "v_parameterization is no kind of normalisation: it says that the base model predicts velocity (v)"
        remedy = "write false, or true for a v-prediction base such as SD 2.x at 768"
        yield Hit(message, ("v_parameterization",), remedy, set_to("v_parameterization", False))


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
