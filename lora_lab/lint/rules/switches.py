"""LL8xx: values that fit a widely copied explanation of a key instead of what the key is.

Each answers with what the key is and what was probably wanted, in place of the plain finding about its type.
"""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.foreign import is_switch_word
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
    "LL805",
    "keep-tokens-as-vocabulary",
    "warning",
    reads=("keep_tokens",),
    source="sd-scripts library/train_util.py process_caption",
    sees="raw",
)
def keep_tokens_as_vocabulary(view: View) -> Iterator[Hit]:
    """`keep_tokens` is as large as a vocabulary.

    What it does
    Looks for a number of 1000 and more.

    Why is this bad
    It does not cut a vocabulary: it is how many tags at the start of each caption are neither shuffled nor dropped. So
    large a number holds every tag in place.

    Bad
    ```json
    {"keep_tokens": 49408}
    ```

    Good
    ```json
    {"keep_tokens": 1, "shuffle_captions": true}
    ```
    """
    value = view.values.get("keep_tokens")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1000:
        message = f"keep_tokens {value} is no size of a vocabulary: it is the number of leading tags that stay in place"
        yield Hit(
            message, ("keep_tokens",), "write 0, or 1 to keep the trigger word in front", set_to("keep_tokens", 0)
        )


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
