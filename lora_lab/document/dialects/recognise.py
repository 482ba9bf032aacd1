"""Which program a file was written for, by its set of keys. The register of marks is literal: nothing is guessed."""

import re
from pathlib import Path
from typing import Final

from lora_lab.config import PARAMETERS
from lora_lab.document.command_text import has_command
from lora_lab.document.dialects.names import DIFFUSERS, EVERY_NAME, REASONS
from lora_lab.document.read import LARGEST
from lora_lab.document.tree import Form, Tree
from lora_lab.plain_files import read_file

OURS: Final = frozenset(PARAMETERS) - frozenset(EVERY_NAME)
"""Keys that only lora_lab and LoRA Easy Training Scripts have."""

THEIRS: Final = frozenset(EVERY_NAME) - frozenset(PARAMETERS) | REASONS[0][0] | REASONS[3][0] | {"sdxl"}
"""Keys that only sd-scripts and its GUI have."""

_ALL_THEIRS: Final = THEIRS.union(*(names for names, _, _ in REASONS))

_FIRST_THEIRS: Final = frozenset(
    ["adaptive_noise_scale", "multires_noise_iterations", "multires_noise_discount", "ip_noise_gamma"]
)
"""Keys that lora_lab took over from them: with nothing beside them that is ours alone, a piece of a file is theirs."""

_MARKS: Final[dict[str, frozenset[str]]] = {
    "onetrainer": frozenset(
        [
            "training_method",
            "base_model_name",
            "output_model_destination",
            "concept_file_name",
            "train_dtype",
            "timestep_distribution",
            "output_model_format",
            "layer_filter_preset",
            "dataloader_threads",
            "learning_rate_scheduler",
            "lora_weight_dtype",
        ]
    ),
    "simpletuner": frozenset(
        [
            "model_family",
            "data_backend_config",
            "lora_rank",
            "base_model_precision",
            "checkpoint_step_interval",
            "validation_resolution",
            "tracker_project_name",
            "num_train_epochs",
            "validation_guidance",
            "validation_prompt",
            "user_prompt_library",
            "push_checkpoints_to_hub",
            "disable_bucket_pruning",
            "quantize_via",
        ]
    ),
    "civitai": frozenset(
        ["targetSteps", "numRepeats", "unetLR", "networkDim", "networkAlpha", "trainBatchSize", "maxTrainEpochs"]
    ),
}
_DATA_BACKEND: Final = frozenset(
    ["crop_aspect", "instance_data_dir", "cache_dir_vae", "caption_strategy", "metadata_backend"]
)
_GUI_STATE: Final = frozenset(
    ["LoRA_type", "sdxl_no_half_vae", "expand_all_accordions", "gpu_ids", "use_shell", "LyCORIS_preset", "save_as_bool"]
)
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]+")
_NAMES: Final = frozenset(name.encode() for name in OURS.union(PARAMETERS, _ALL_THEIRS, _GUI_STATE))
_FEWEST_NAMES: Final = 2
_JSON_START = re.compile(r"[{\[]\s*(?:[\"'}/{]|$)")
_TOML_LINE = re.compile(
    r"""^[ \t]*(?:\[{1,2}[\w.-]+\]{1,2}[ \t]*(?:#.*)?$|[\w.-]+[ \t]+=[ \t]*(?:["'\[\d{]|true|false))""", re.M
)
_SHELL_VARIABLES = re.compile(r"^[ \t]*\$?(?:pretrained_model|train_data_dir|max_train_epoches|network_dim) ?= ?", re.M)


def may_be_config(path: Path) -> bool:
    """Say, without reading it as a config, whether a file that nobody named can be one that a training starts from.

    It has at least two names of settings, or starts a training script. A file that can't be read may be one.
    """
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return False
        data = read_file(path)
    except OSError:
        return True
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "ignore").encode()
    words = set(_NAME.findall(data))
    return len(words & _NAMES) >= _FEWEST_NAMES or has_command(data.decode("utf-8", "ignore"))


def form_of(suffix: str, text: str) -> Form:
    """Return the format that a file is in, by the end of its name, else by its text."""
    known: dict[str, Form] = {".json": "json", ".jsonc": "json", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
    if suffix.lower() in known:
        return known[suffix.lower()]
    if _JSON_START.match(text, _after_comments(text)):
        return "json"
    if has_command(text) or "#@param" in text or suffix.lower() in (".sh", ".bat", ".cmd", ".ps1"):
        return "command"
    if _SHELL_VARIABLES.search(text) and re.search(r"^[ \t]*\$|^\w+=", text, re.M):
        return "command"
    if _TOML_LINE.search(text):
        return "toml"
    return "yaml" if re.search(r"^[\w-]+:(?:[ \t]|$)", text, re.M) and not text.lstrip().startswith("{") else "json"


def _after_comments(text: str) -> int:
    """Return the offset of the first character that is no blank and in no comment of JSON's."""
    at = 0
    while True:
        while text[at : at + 1].isspace():
            at += 1
        close = "\n" if text.startswith("//", at) else "*/" if text.startswith("/*", at) else ""
        end = text.find(close, at + 2) if close else -1
        if end == -1:
            return at
        at = end + len(close)


def recognise(tree: Tree) -> str:
    """Return the name of the dialect that a file is in; "own" also where nothing tells."""
    if tree.form == "command":
        return _command(tree)
    if tree.form == "toml":
        return _toml(tree)
    if tree.form == "yaml":
        names = tree.sections or frozenset(re.findall(r"^([\w-]+):", tree.text, re.M))  # what broken YAML shows
        return "ai-toolkit" if {"job", "config"} <= names else _by_keys(tree, "sd-scripts")
    return _by_keys(tree, "kohya-gui")


def recognise_json_keys(keys: frozenset[str]) -> str:
    """Return the dialect of a JSON object with these keys."""
    bare = frozenset(key.removeprefix("--") for key in keys)
    if "compute_environment" in keys:
        return "own"  # accelerate's own settings: no training config of anybody's
    best = max(_MARKS, key=lambda name: len(bare & _MARKS[name]))
    if len(bare & _MARKS[best]) >= 2 and not bare & OURS:
        return best
    if not keys & OURS:
        return "kohya-gui" if keys & (_ALL_THEIRS | _FIRST_THEIRS) else "own"
    return "kohya-gui" if len(keys & THEIRS) > len(keys & OURS) else "own"


def _by_keys(tree: Tree, foreign: str) -> str:
    found = recognise_json_keys(tree.keys)
    return foreign if found == "kohya-gui" else found


def _toml(tree: Tree) -> str:
    """Return the dialect of a TOML file."""
    sections, keys = tree.sections, tree.keys
    if {"subsets", "general_args", "train_mode"} & sections or "[general_args." in tree.text:
        piped = {"num_ar_buckets", "enable_ar_bucket", "llm_adapter_lr"} & keys
        return "diffusion-pipe" if piped else "easy-toml"
    if len(keys & _GUI_STATE) >= 2:
        return "kohya-gui"
    if "datasets" in sections:
        return "mixed" if sections - {"datasets", "general"} else "dataset"
    if sections == {"general"} and not keys & {"network_dim", "learning_rate", "pretrained_model_name_or_path"}:
        return "dataset"
    return "own" if len(keys & OURS) > len(keys & THEIRS) else "sd-scripts" if keys & frozenset(EVERY_NAME) else "own"


def _command(tree: Tree) -> str:
    """Return the dialect of a command line, or of what else is written like one."""
    if "#@param" in tree.text:
        return "colab"
    if not tree.keys and len(_SHELL_VARIABLES.findall(tree.text)) >= 2:
        return "lora-scripts"
    name = tree.program
    if name.endswith("train_network") or name in (
        "train_db",
        "fine_tune",
        "sdxl_train",
        "flux_train",
        "train_textual_inversion",
    ):
        return "sd-scripts-command"
    if name and (tree.keys & DIFFUSERS or name.startswith(("train_dreambooth", "train_text_to_image"))):
        return "diffusers-command"
    return "sd-scripts-command"
