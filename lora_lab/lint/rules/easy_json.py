"""LL07x: the flat JSON as LoRA Easy Training Scripts loads it, in the versions from February to May 2023."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from lora_lab.lint.rule import EASY, Hit, View, rule
from lora_lab.lint.theirs import Theirs

_theirs = partial(rule, reads=(), sees="theirs", targets=EASY)
_LOAD = "LoRA_Easy_Training_Scripts d14b240 load_json"
_SPACE = "LoRA_Easy_Training_Scripts d14b240 create_arg_space"

_ALWAYS: Final = (
    *("base_model", "img_folder", "output_folder", "prior_loss_weight", "caption_extension", "train_resolution"),
    *("batch_size", "mixed_precision", "save_precision", "net_dim", "save_as", "clip_skip", "test_seed"),
    *("max_clip_token_length", "scheduler", "alpha", "num_workers"),
)
"""What the wrapper passes on whatever it holds."""

_LATER: Final = frozenset(
    ["optimizer_type", "lyco", "network_args", "unet_lr_scheduler", "resume", "save_last_n_epochs"]
)
"""Keys of versions from 2023-02-23 on, which leave out what is null."""

_NUMBERS: Final = ("learning_rate", "unet_lr", "text_encoder_lr", "warmup_lr_ratio", "keep_tokens")


def _flat(theirs: Theirs) -> dict[str, object]:
    """Return a flat JSON's own keys and values; nothing for another file."""
    return {one.key: one.value for one in theirs.every} if theirs.dialect == "own" else {}


@_theirs("LL070", "null-is-passed-on", "error", source=_SPACE)
def null_is_passed_on(view: View) -> Iterator[Hit]:
    """A setting that the tool always passes on is null.

    What it does
    Looks for null in the 17 keys that versions before 2023-02-23 pass on unseen. Keys of later versions tell a later
    file.

    Why is this bad
    sd-scripts gets `--clip_skip=None` and stops.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "clip_skip": null}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "clip_skip": 1}
    ```
    """
    values = _flat(view.theirs)
    if _LATER & values.keys():
        return
    for one in view.theirs.every:
        if one.key in _ALWAYS and one.value is None:
            message = f"{one.key} null is passed on as the word None, and sd-scripts stops"
            yield Hit(message, (one.key,), "write a value", span=one.value_span)


@_theirs("LL071", "empty-text-crashes-loader", "error", source=_LOAD)
def empty_text_crashes_loader(view: View) -> Iterator[Hit]:
    """A number is an empty text.

    What it does
    Looks for `""` in the numbers that the loader converts.

    Why is this bad
    The loader stops with `could not convert string to float`.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "unet_lr": ""}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "unet_lr": null}
    ```
    """
    for one in view.theirs.every:
        if view.theirs.dialect == "own" and one.key in _NUMBERS and one.value == "":
            yield Hit(f'{one.key} "" stops the loader', (one.key,), "write null", span=one.value_span)


@_theirs("LL072", "token-length-not-offered", "error", source=_SPACE)
def token_length_not_offered(view: View) -> Iterator[Hit]:
    """`max_clip_token_length` is 75, which the tool can't pass on.

    What it does
    Looks for another number than 150 and 225.

    Why is this bad
    The tool always passes the number on, and sd-scripts knows 150 and 225 only: 75 is the flag left out.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "max_clip_token_length": 75}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "max_clip_token_length": 150}
    ```
    """
    values = _flat(view.theirs)
    length = values.get("max_clip_token_length")
    if length == 75 and not _LATER & values.keys():
        message = "max_clip_token_length 75 is passed on, and sd-scripts knows 150 and 225 only"
        yield view.theirs.hit(message, ("max_token_length",), "write 150, which reads shorter captions just as well")


@_theirs("LL073", "zero-is-dropped", "warning", source="LoRA_Easy_Training_Scripts c2ffb64 Parser.create_args")
def zero_is_dropped(view: View) -> Iterator[Hit]:
    """A 0 that means something is taken for "not set".

    What it does
    Looks for 0 in settings whose default is another value, in files of versions from 2023-02-23 on.

    Why is this bad
    The tool leaves out what is 0, so the default of sd-scripts applies: a seed at random, weight 1, clipping at 1.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "optimizer_type": "AdamW", "test_seed": 0}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "optimizer_type": "AdamW", "test_seed": 23}
    ```
    """
    later = view.theirs.dialect == "easy-toml" or _LATER & _flat(view.theirs).keys()
    for name, becomes in _DROPPED.items():
        if later and view.theirs.number(name) == 0:
            message = f"{view.theirs.key(name)} 0 is left out by the tool, so it is {becomes}"
            yield view.theirs.hit(message, (name,), "choose another value")


_DROPPED: Final = {
    "prior_loss_weight": "1",
    "seed": "chosen at random",
    "max_grad_norm": "1",
    "network_alpha": "1",
    "max_data_loader_n_workers": "8",
}


@_theirs("LL074", "json-only-does-not-hold", "warning", source="LoRA_Easy_Training_Scripts d14b240 main, save_json")
def json_only_does_not_hold(view: View) -> Iterator[Hit]:
    """`save_json_only` does not do what it says.

    What it does
    Looks for `save_json_only` in files of versions before 2023-02-23.

    Why is this bad
    With `save_json_folder` the tool trains all the same; without it, nothing is saved and nothing trained; and
    `load_json_path` is not read.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "save_json_only": true, "save_json_folder": "d"}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "save_json_only": false, "save_json_folder": "d"}
    ```
    """
    values = _flat(view.theirs)
    if values.get("save_json_only") is not True or _LATER & values.keys():
        return
    does = (
        "the tool trains all the same" if values.get("save_json_folder") else "no JSON is saved and nothing is trained"
    )
    message = f"save_json_only: {does}"
    message += ", and load_json_path is not read" if values.get("load_json_path") else ""
    yield view.theirs.hit(message, ("save_json_only",), "leave it out")


@_theirs("LL075", "skip-list-skips-itself-not", "warning", source=_LOAD)
def skip_list_skips_itself_not(view: View) -> Iterator[Hit]:
    """`json_load_skip_list` does not name itself.

    What it does
    Looks for a list without its own name, where a file is loaded.

    Why is this bad
    The loaded file's list replaces it in the middle of loading, so the keys after it are not protected any more.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c",
     "json_load_skip_list": ["img_folder"], "load_json_path": "x.json"}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c",
     "json_load_skip_list": ["img_folder", "json_load_skip_list"], "load_json_path": "x.json"}
    ```
    """
    values = _flat(view.theirs)
    names = values.get("json_load_skip_list")
    if isinstance(names, list) and names and "json_load_skip_list" not in names and values.get("load_json_path"):
        message = "json_load_skip_list lacks its own name: the loaded file's list takes its place half way"
        yield view.theirs.hit(message, ("json_load_skip_list",), 'add "json_load_skip_list"')


@_theirs("LL076", "queue-hides-the-rest", "warning", source="LoRA_Easy_Training_Scripts d14b240 main")
def queue_hides_the_rest(view: View) -> Iterator[Hit]:
    """`multi_run_folder` is set, and so are settings of a run.

    What it does
    Looks for `multi_run_folder` beside a base model.

    Why is this bad
    The tool trains each JSON of that folder instead, and nothing else of this file counts.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "multi_run_folder": "queue"}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "multi_run_folder": null}
    ```
    """
    values = _flat(view.theirs)
    if values.get("multi_run_folder") and values.get("base_model"):
        message = "the tool trains the JSON files of multi_run_folder, and ignores all else that this file says"
        yield view.theirs.hit(message, ("multi_run_folder",), "set it to null to train this file")


@_theirs("LL077", "key-of-another-version", "warning", source="LoRA_Easy_Training_Scripts c2ffb64 ArgsList.py")
def key_of_another_version(view: View) -> Iterator[Hit]:
    """A key of an older version stands among those of a later one.

    What it does
    Looks for `load_previous_save_state`, `use_8bit_adam`, `use_lion` and `locon` beside `optimizer_type` and other keys
    of later versions.

    Why is this bad
    The later version does not know the key: `load_previous_save_state` is called `resume` there, and the run starts
    from nothing.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "optimizer_type": "AdamW",
     "load_previous_save_state": "c/last-state"}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "optimizer_type": "AdamW", "resume": "c/last-state"}
    ```
    """
    values = _flat(view.theirs)
    if not _LATER & values.keys():
        return
    for one in view.theirs.every:
        meant = {"load_previous_save_state": "resume", "save_at_n_epochs": "save_every_n_epochs"}.get(one.key)
        if meant and one.value and meant not in values:
            yield Hit(
                f"{one.key} is called {meant} in this version: it is dropped",
                (one.key,),
                f"write {meant}",
                span=one.key_span,
            )


@_theirs(
    "LL078", "accumulation-is-dropped", "warning", source="LoRA_Easy_Training_Scripts d14b240 create_optional_args"
)
def accumulation_is_dropped(view: View) -> Iterator[Hit]:
    """Gradients are to be accumulated, and the tool passes that on with `gradient_checkpointing` only.

    What it does
    Looks for `gradient_acc_steps` above 1 without it, in files of versions before 2023-02-23.

    Why is this bad
    The batch stays as small as `batch_size` says.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "gradient_acc_steps": 4}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c",
     "gradient_acc_steps": 4, "gradient_checkpointing": true}
    ```
    """
    values = _flat(view.theirs)
    steps = values.get("gradient_acc_steps")
    if isinstance(steps, int) and steps > 1 and not values.get("gradient_checkpointing") and not _LATER & values.keys():
        message = f"gradient_acc_steps {steps} is passed on with gradient_checkpointing only: it has no effect"
        yield view.theirs.hit(message, ("gradient_accumulation_steps",), "turn gradient_checkpointing on")


@_theirs("LL079", "vae-not-a-pt-file", "error", source="LoRA_Easy_Training_Scripts c2ffb64 main.ensure_file_paths")
def vae_not_a_pt_file(view: View) -> Iterator[Hit]:
    """The VAE is no `.pt` file.

    What it does
    Looks at the end of `vae` in files of versions from 2023-02-23 on.

    Why is this bad
    These versions refuse any other file.

    Bad
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "optimizer_type": "AdamW", "vae": "v.safetensors"}
    ```

    Good
    ```json
    {"base_model": "a", "img_folder": "b", "output_folder": "c", "optimizer_type": "AdamW", "vae": "v.pt"}
    ```
    """
    values = _flat(view.theirs)
    vae = values.get("vae")
    if isinstance(vae, str) and vae and not vae.endswith(".pt") and _LATER & values.keys():
        yield view.theirs.hit(
            "the tool takes a VAE as a .pt file only, and stops", ("vae",), "leave it out, or convert it"
        )
