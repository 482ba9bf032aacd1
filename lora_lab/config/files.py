"""Where things are read from and written to, and how the config file itself is handled."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic, same

Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]*[^/\\.\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*$")]
"""No folders, no control characters, and not dots alone."""


class Files(Topic):
    """Inputs, outputs and their names."""

    title: ClassVar[str] = "Files and folders"

    base_model: Annotated[
        Text,
        About(
            row=1,
            meaning=(
                "The model that the LoRA is trained on; it stays frozen, only the LoRA's own tensors learn and "
                "are saved."
            ),
            typical="A model of the family that the LoRA will be used with: a LoRA fits its own family only.",
            pitfalls=(
                Pitfall(
                    "`v2` and `v_parameterization` must say what this model is; a wrong family does not load.",
                    "sd-scripts library/model_util.py",
                ),
                Pitfall(
                    (
                        "The LoRA fits models of this family only: the layers of SD 1.x, SD 2.x and SDXL differ "
                        "in number and width."
                    ),
                    "sd-scripts networks/lora.py, names and shapes of the modules",
                ),
            ),
            misread="Often explained as the model that gets fine-tuned; its own weights never change.",
            path_kind="model",
            names=same("pretrained_model_name_or_path"),
        ),
    ]
    img_folder: Annotated[
        Text,
        About(
            row=2,
            meaning=(
                "The parent folder of the training pictures: each sub-folder `N_name` holds pictures that are "
                "shown N times an epoch."
            ),
            typical=(
                "At least one `N_name` sub-folder; choose each N so that every concept sees a similar number of "
                "pictures per epoch."
            ),
            pitfalls=(
                Pitfall(
                    (
                        "Pictures directly in this folder are not used: sd-scripts then finds no data and still "
                        "ends with exit code 0."
                    ),
                    "sd-scripts train_network.py train",
                ),
                Pitfall(
                    "Folders inside an `N_name` folder are not searched.",
                    "sd-scripts library/train_util.py DreamBoothDataset",
                ),
            ),
            misread=(
                "Often explained as the folder with the pictures; it is the parent of the `N_name` folders that "
                "hold them."
            ),
            path_kind="folder",
            names=same("train_data_dir"),
            unless="dataset_config",
        ),
    ] = ""
    dataset_config: Annotated[
        Text | None,
        About(
            row=135,
            meaning=(
                "A file in TOML or JSON that names the folders of pictures one by one, as sd-scripts has it: several "
                "data sets, each with its own resolution and batch size, and settings for each folder."
            ),
            typical="null; a file where folders need different repeats, captions, masks or resolutions.",
            pitfalls=(
                Pitfall(
                    "What the file says wins over this config: `[[datasets.subsets]]`, then `[[datasets]]`, then "
                    "`[general]`, then this.",
                    "sd-scripts library/config_util.py generate_params_by_fallbacks",
                ),
                Pitfall(
                    "`img_folder` and `reg_img_folder` are not looked at beside it.",
                    "sd-scripts train_network.py train",
                ),
                Pitfall(
                    "The number in a folder's name like 10_cat is not read: write `num_repeats`.",
                    "sd-scripts docs/config_README-en.md",
                ),
                Pitfall("Relative paths in it start from its own folder.", "lora_lab/document/data_sets.py"),
            ),
            path_kind="file",
            since="2023-03",
            names=same("dataset_config"),
        ),
    ] = None
    output_folder: Annotated[
        Text,
        About(
            row=3,
            meaning=(
                "The folder that receives the LoRA files, sample pictures, state folders and reports; it is made "
                "if it is not there."
            ),
            typical="One folder per experiment; a sweep gives every run a folder of its own.",
            pitfalls=(
                Pitfall(
                    "The same folder and `change_output_name` as an older run replace that run's files.",
                    "sd-scripts train_network.py save_model",
                ),
            ),
            path_kind="output_folder",
            names=same("output_dir"),
        ),
    ]
    change_output_name: Annotated[
        FileName | None,
        About(
            row=4,
            meaning=(
                "Base name of the files that are written: `NAME.safetensors`, and `NAME-000001.safetensors` for "
                "an epoch."
            ),
            typical="A name of its own for every run; without one the files are called `last` and `epoch-000001`.",
            pitfalls=(
                Pitfall(
                    "Two runs without a name in one folder overwrite each other's `last.safetensors`.",
                    "sd-scripts library/train_util.py DEFAULT_LAST_OUTPUT_NAME",
                ),
                Pitfall(
                    (
                        "The name is also written into the file's metadata, as title and `ss_output_name`: user "
                        "interfaces show that one."
                    ),
                    "sd-scripts library/sai_model_spec.py",
                ),
            ),
            misread="Often explained as a switch that says whether to rename the output; it is the name.",
            type_text="text without / or \\",
            names=same("output_name"),
        ),
    ] = None
    save_json_folder: Annotated[
        Text | None,
        About(
            row=5,
            meaning="Folder into which a copy of the complete config of the run is written.",
            typical="null: the LoRA file's metadata and the tracked run hold the config already.",
            pitfalls=(
                Pitfall(
                    "Every setting is in that file, paths of your machine included: look it over before you share it.",
                    "LoRA_Easy_Training_Scripts d14b240 save_json",
                ),
            ),
            misread="Often explained as where the training's results go; only the settings are written there.",
            path_kind="output_folder",
        ),
    ] = None
    load_json_path: Annotated[
        Text | None,
        About(
            row=6,
            meaning="Another config file whose values are laid over this one.",
            typical="null: a sweep's `base:` with overrides says the same where it can be seen.",
            pitfalls=(
                Pitfall(
                    "It loads settings, never weights: nothing is resumed by it.",
                    "LoRA_Easy_Training_Scripts d14b240 load_json",
                ),
            ),
            misread=(
                "Often explained as continuing from a checkpoint; for that use `lora_model_for_resume` or "
                "`load_previous_save_state`."
            ),
            path_kind="file",
        ),
    ] = None
    json_load_skip_list: Annotated[
        list[str] | None,
        About(
            row=7,
            meaning="Keys that are not taken from the file named by `load_json_path`.",
            typical="null.",
            pitfalls=(
                Pitfall(
                    "It does nothing without `load_json_path`.",
                    "LoRA_Easy_Training_Scripts d14b240 load_json",
                ),
            ),
        ),
    ] = None
    multi_run_folder: Annotated[
        Text | None,
        About(
            row=8,
            meaning=(
                "The folder into which a sweep writes its runs as `run1/`, `run2/`, and so on, never over older ones."
            ),
            typical="null outside sweeps; a sweep chooses a folder by itself.",
            pitfalls=(
                Pitfall(
                    (
                        "In LoRA_Easy_Training_Scripts the key meant the opposite: a queue of config files to "
                        "train, with every other setting ignored."
                    ),
                    "LoRA_Easy_Training_Scripts d14b240 main",
                ),
            ),
            misread=(
                "Two readings are about: an input queue of configs (the old tool) and an output folder of runs; "
                "here it is the output folder."
            ),
            path_kind="output_folder",
        ),
    ] = None
    save_json_only: Annotated[
        bool,
        About(
            row=9,
            meaning="Write the config to `save_json_folder` and do not train.",
            typical="false: `lora-lab lint` checks a file without training.",
            pitfalls=(
                Pitfall(
                    "Without `save_json_folder` it neither saves nor trains.",
                    "LoRA_Easy_Training_Scripts d14b240 main",
                ),
                Pitfall(
                    "LoRA_Easy_Training_Scripts of February 2023 trained all the same when `save_json_folder` was set.",
                    "LoRA_Easy_Training_Scripts d14b240 save_json",
                ),
            ),
            misread="Often explained as leaving out the checkpoints; it leaves out the training.",
        ),
    ] = False
    save_as: Annotated[
        Literal["safetensors", "ckpt", "pt", "bin"],
        About(
            row=49,
            meaning="File format of the LoRA.",
            typical="safetensors: it loads everywhere, can't run code, and is the only one with metadata.",
            pitfalls=(
                Pitfall(
                    (
                        "ckpt, pt and bin are pickles: no metadata, no `training_comment`, and others should not "
                        "load them untested."
                    ),
                    "sd-scripts networks/lora.py save_weights",
                ),
            ),
            names=same("save_model_as"),
        ),
    ] = "safetensors"
    save_precision: Annotated[
        Literal["float", "fp16", "bf16"],
        About(
            row=48,
            meaning=(
                "Number format of the saved tensors, the alphas included; training itself keeps the LoRA in 32 bits."
            ),
            typical="fp16: half the size of float, without visible loss.",
            pitfalls=(
                Pitfall(
                    "bf16 keeps 8 bits of mantissa and fails to load in older tools.",
                    "LoRA_Easy_Training_Scripts d14b240 (comment)",
                ),
                Pitfall(
                    "fp16 can round very small weights to zero, which a large alpha makes likelier.",
                    "kohya-ss/sd-webui-additional-networks #49",
                ),
                Pitfall(
                    "float makes the file twice as large and no better to use.",
                    "sd-scripts networks/lora.py save_weights",
                ),
            ),
            misread="Often given as a number (16, 32); it is a word. `fp32` is written `float`.",
            names=same("save_precision"),
        ),
    ] = "fp16"
    no_meta: Annotated[
        bool,
        About(
            row=60,
            meaning="Leave the training settings out of the LoRA file's header; what loaders need stays.",
            typical="false: without them nobody, you included, can tell how the file was made.",
            pitfalls=(
                Pitfall("`training_comment` is lost with it.", "sd-scripts train_network.py save_model"),
                Pitfall(
                    "sd-scripts of today still writes six keys of its own and modelspec.",
                    "sd-scripts train_network.py save_model",
                ),
            ),
            misread="Often explained as hiding labels from the training; it changes the header of the file only.",
            names={"sd-scripts": "no_metadata", "kohya_gui": "no_metadata"},
        ),
    ] = False
    training_comment: Annotated[
        str | None,
        About(
            row=38,
            meaning="A note that is stored in the LoRA file as `ss_training_comment`.",
            typical="The trigger words and where the pictures come from.",
            pitfalls=(
                Pitfall(
                    "It is lost with `no_meta` and in every format except safetensors.",
                    "sd-scripts networks/lora.py save_weights",
                ),
            ),
            misread="Often explained as an addition to the file name; it is stored inside the file.",
            names=same("training_comment"),
        ),
    ] = None
    log_dir: Annotated[
        Text | None,
        About(
            row=61,
            meaning=(
                "Folder for TensorBoard logs, each run in a sub-folder with its time in the name; MLflow tracking "
                "is separate."
            ),
            typical="null: runs are compared in MLflow.",
            pitfalls=(
                Pitfall(
                    "Nothing is ever deleted there: long series of runs fill the disk.",
                    "sd-scripts library/train_util.py prepare_accelerator",
                ),
            ),
            misread="Often said to overwrite older logs; the time in the name prevents that.",
            path_kind="output_folder",
            names=same("logging_dir"),
        ),
    ] = None
