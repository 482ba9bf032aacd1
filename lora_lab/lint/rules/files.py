"""LL1xx: the base model, the output and other files. The folders of pictures are in `folders`."""

from collections.abc import Iterator

from lora_lab.config import hub_name
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule


@rule(
    "LL101",
    "base-model-not-found",
    "error",
    reads=("base_model",),
    source="LoRA_Easy_Training_Scripts d14b240 ensure_path",
    sees="disk",
)
def base_model_not_found(view: View) -> Iterator[Hit]:
    """There is no base model where the config says.

    What it does
    Looks for the file or folder. An `owner/name` that nothing on the disk is called like is a model on a hub and not
    looked for: linting asks no network.

    Why is this bad
    Nothing can be trained.

    Bad
    ```json
    {"base_model": "models/gone.safetensors"}
    ```

    Good
    ```json
    {"base_model": "models/sd15"}
    ```
    ```files
    models/sd15/model_index.json: {}
    ```
    """
    path = view.disk.resolve(view.config.base_model)
    if not view.disk.exists(path) and not hub_name(view.config.base_model, view.disk.folder):
        yield Hit(f"no base model at {path}", ("base_model",), "give the path of a model, or its name on a hub")


@rule(
    "LL102", "base-model-is-no-model", "error", reads=("base_model",), source="diffusers model_index.json", sees="disk"
)
def base_model_is_no_model(view: View) -> Iterator[Hit]:
    """The folder of the base model does not hold one.

    What it does
    Looks into a folder for `model_index.json`, or for the folders `unet` and `vae`, which every diffusers model has.

    Why is this bad
    The model does not load.

    Bad
    ```json
    {"base_model": "models"}
    ```
    ```files
    models/sd15/model_index.json: {}
    ```

    Good
    ```json
    {"base_model": "models/sd15"}
    ```
    ```files
    models/sd15/model_index.json: {}
    ```
    """
    path = view.disk.resolve(view.config.base_model)
    if not view.disk.is_folder(path):
        return
    inside = view.disk.listing(path)
    if "model_index.json" in inside.files or {"unet", "vae"} <= set(inside.folders):
        return
    models = [name for name in inside.folders if view.disk.is_file(path / name / "model_index.json")]
    remedy = f"did you mean {path / models[0]}?" if models else "give a folder that holds model_index.json"
    yield Hit(f"{path} is no diffusers model: it has no model_index.json", ("base_model",), remedy)


@rule(
    "LL109",
    "control-character-in-path",
    "error",
    reads=(),
    source="https://github.com/uiri/toml/issues/415",
    sees="raw",
)
def control_character_in_path(view: View) -> Iterator[Hit]:
    """A path holds a tab or a line break.

    What it does
    Looks for control characters in paths: what is left of a `\\\\t` or `\\\\n` in a path with single backslashes.

    Why is this bad
    The path is another one than the file shows.

    Bad
    ```json
    {"img_folder": "data\\train"}
    ```

    Good
    ```json
    {"img_folder": "data/train"}
    ```
    """
    for key in ("base_model", "img_folder", "output_folder", "reg_img_folder", "vae", "lora_model_for_resume"):
        value = view.values.get(key)
        if isinstance(value, str) and any(ord(char) < 32 for char in value):
            meant = value.replace("\t", "/t").replace("\n", "/n").replace("\r", "/r").replace("\b", "/b")
            meant = meant.replace("\f", "/f").replace("\\", "/")
            fix = set_to(key, meant) if meant.isprintable() else None
            yield Hit(
                f"{key} holds a tab or another control character", (key,), "write each backslash twice, or /", fix
            )


@rule(
    "LL110",
    "output-overwritten",
    "warning",
    reads=("output_folder", "change_output_name", "save_as", "load_previous_save_state"),
    source="sd-scripts train_network.py save_model",
    sees="disk",
)
def output_overwritten(view: View) -> Iterator[Hit]:
    """The result of an earlier run will be replaced.

    What it does
    Looks for a LoRA of the name that this run will save.

    Why is this bad
    The older file is gone, and nothing says so.

    Bad
    ```json
    {"output_folder": "out", "change_output_name": "cat"}
    ```
    ```files
    out/cat.safetensors
    ```

    Good
    ```json
    {"output_folder": "out", "change_output_name": "cat2"}
    ```
    ```files
    out/cat.safetensors
    ```
    """
    if "load_previous_save_state" in view.given:
        return  # going on with a run replaces its own file, as meant
    name = f"{view.config.change_output_name or 'last'}.{view.config.save_as}"
    path = view.disk.resolve(view.config.output_folder) / name
    if view.disk.is_file(path):
        message = f"{path} exists and will be replaced"
        yield Hit(
            message, ("change_output_name", "output_folder"), "choose another change_output_name or output_folder"
        )


@rule(
    "LL111",
    "output-folder-is-file",
    "error",
    reads=("output_folder",),
    source="LoRA_Easy_Training_Scripts d14b240 ensure_path",
    sees="disk",
)
def output_folder_is_file(view: View) -> Iterator[Hit]:
    """The output folder's name is that of a file.

    What it does
    Looks at what stands there. A folder that is missing is made.

    Why is this bad
    Nothing could be saved.

    Bad
    ```json
    {"output_folder": "out.txt"}
    ```
    ```files
    out.txt: notes
    ```

    Good
    ```json
    {"output_folder": "out"}
    ```
    """
    path = view.disk.resolve(view.config.output_folder)
    if view.disk.is_file(path):
        yield Hit(f"{path} is a file", ("output_folder",), "name a folder")


@rule(
    "LL112",
    "input-file-not-found",
    "error",
    reads=("lora_model_for_resume", "vae"),
    source="LoRA_Easy_Training_Scripts d14b240 ensure_path",
    sees="disk",
)
def input_file_not_found(view: View) -> Iterator[Hit]:
    """A LoRA to start from, a VAE or a state folder is not there.

    What it does
    Looks for what `lora_model_for_resume`, `vae` and `load_previous_save_state` name.

    Why is this bad
    The run can't start.

    Bad
    ```json
    {"lora_model_for_resume": "old.safetensors"}
    ```

    Good
    ```json
    {"lora_model_for_resume": "old.safetensors"}
    ```
    ```files
    old.safetensors
    ```
    """
    wanted = {
        "lora_model_for_resume": ("file", "give the path of a LoRA file"),
        "vae": ("file or folder", "give the path of a VAE, or null for the base model's own"),
        "load_previous_save_state": ("folder", "give a folder that save_state wrote (its name ends in -state)"),
    }
    for key, (what, remedy) in wanted.items():
        text = view.values.get(key)
        if not isinstance(text, str) or not text:
            continue
        path = view.disk.resolve(text)
        found = view.disk.is_folder(path) if what == "folder" else view.disk.exists(path)
        if not found or (what == "file" and view.disk.is_folder(path)):
            yield Hit(f"{key}: no {what} at {path}", (key,), remedy)


@rule(
    "LL113",
    "sample-prompts-not-found",
    "error",
    reads=("sample_prompts",),
    source="sd-scripts library/train_util.py sample_images_common",
    sees="disk",
)
def sample_prompts_not_found(view: View) -> Iterator[Hit]:
    """The file of prompts for sample pictures is not there.

    What it does
    Looks for the file that `sample_prompts` names. A text that reads like a prompt is recognised.

    Why is this bad
    No sample picture can be drawn.

    Bad
    ```json
    {"sample_prompts": "a photo of a cat"}
    ```

    Good
    ```json
    {"sample_prompts": ["a photo of a cat"]}
    ```
    """
    prompts = view.config.sample_prompts
    if not isinstance(prompts, str) or view.disk.is_file(view.disk.resolve(prompts)):
        return
    if " " in prompts and not prompts.lower().endswith((".txt", ".json", ".toml")):
        message = "sample_prompts is a file's path, and this reads like a prompt"
        yield Hit(message, ("sample_prompts",), "put it into a list: [...]", set_to("sample_prompts", [prompts]))
    else:
        yield Hit(
            f"no prompts at {view.disk.resolve(prompts)}", ("sample_prompts",), "give a text file, one prompt a line"
        )
