"""Writes settings, given by sd-scripts' names, as a config of each dialect."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from lora_lab.config import PARAMETERS

Settings = Mapping[str, object]

_OURS: Final = {
    known.aliases["sd-scripts"]: name for name, known in PARAMETERS.items() if "sd-scripts" in known.aliases
} | {"network_train_unet_only": "unet_only", "network_train_text_encoder_only": "text_only"}
_GUI: Final = {
    "resolution": "max_resolution",
    "no_half_vae": "sdxl_no_half_vae",
    "cache_text_encoder_outputs": "sdxl_cache_text_encoder_outputs",
    "optimizer_type": "optimizer",
}
_DATASET_ARGS: Final = frozenset(
    ["resolution", "train_batch_size", "enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"]
)
_SUBSET_ARGS: Final = frozenset(
    [
        *("keep_tokens", "shuffle_caption", "caption_extension", "flip_aug", "color_aug", "random_crop"),
        *("caption_dropout_rate", "caption_tag_dropout_rate", "caption_dropout_every_n_epochs", "num_repeats"),
    ]
)


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(settings: Settings) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items() if value is not None)


def flat_toml(settings: Settings) -> str:
    """Return a `--config_file` without sections."""
    return _lines(settings)


def sectioned_toml(settings: Settings) -> str:
    """Return a `--config_file` in sections, whose names mean nothing."""
    items = list(settings.items())
    half = len(items) // 2
    return f"[model_arguments]\n{_lines(dict(items[:half]))}\n[training_arguments]\n{_lines(dict(items[half:]))}"


def command(settings: Settings, *, end: str = " \\\n") -> str:
    """Return a command line; `script` among the settings names the script."""
    words = []
    for key, value in settings.items():
        if key in ("script", "sdxl") or value is None or value is False:
            continue
        if value is True:
            words.append(f"--{key}")
        elif isinstance(value, list):
            words.append(f"--{key} " + " ".join(f'"{one}"' for one in value))
        else:
            text = str(value)
            words.append(f'--{key}="{text}"' if " " in text or "\\" in text else f"--{key}={text}")
    script = settings.get("script", "sdxl_train_network.py" if settings.get("sdxl") else "train_network.py")
    return (
        f"accelerate launch --num_cpu_threads_per_process 1 {script}{end}"
        + end.join(f"  {word}" for word in words)
        + "\n"
    )


def powershell(settings: Settings) -> str:
    """Return a command line of PowerShell."""
    return command(settings, end=" `\n")


def batch_file(settings: Settings) -> str:
    """Return a command line of Windows' cmd."""
    return command(settings, end=" ^\n")


def gui_json(settings: Settings) -> str:
    """Return a config as kohya's GUI saves it, in the words of its later versions."""
    return json.dumps({"LoRA_type": "Standard", **_gui(settings)}, indent=2, ensure_ascii=False)


def gui_json_in_quotes(settings: Settings) -> str:
    """Return a config of an old GUI: numbers in quotes, what is not set as empty text."""
    quoted = ("learning_rate", "unet_lr", "text_encoder_lr", "clip_skip", "keep_tokens", "max_token_length")
    values = {
        key: str(value) if key in quoted and value is not None else value for key, value in _gui(settings).items()
    }
    return json.dumps({"LoRA_type": "Standard", "seed": "", "noise_offset": "", **values}, indent=2)


def _gui(settings: Settings) -> dict[str, object]:
    renamed = {_GUI.get(key, key): value for key, value in settings.items() if key != "network_module"}
    for key in ("optimizer_args", "network_args"):
        if isinstance(renamed.get(key), list):
            renamed[key] = " ".join(renamed[key])  # type: ignore[arg-type]
    return renamed


def own_json(settings: Settings) -> str:
    """Return JSON in lora_lab's keys."""
    return json.dumps(ours(settings), indent=4, ensure_ascii=False)


def own_yaml(settings: Settings) -> str:
    """Return YAML in lora_lab's keys."""
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in ours(settings).items())


def own_toml(settings: Settings) -> str:
    """Return TOML in lora_lab's keys."""
    return _lines(ours(settings))


def ours(settings: Settings) -> dict[str, object]:
    """Return settings under our names; those that we have not are left as they are."""
    found = {_OURS.get(key, key): value for key, value in settings.items() if key not in ("network_module", "sdxl")}
    resolution = found.get("train_resolution")
    if isinstance(resolution, str) and len(set(resolution.split(","))) == 1:
        found["train_resolution"] = int(resolution.split(",")[0])
    return found


def easy_toml(settings: Settings) -> str:
    """Return a TOML of LoRA Easy Training Scripts' window."""
    data = {key: value for key, value in settings.items() if key in _DATASET_ARGS}
    subset = {key: value for key, value in settings.items() if key in _SUBSET_ARGS}
    rest = {key: value for key, value in settings.items() if key not in _DATASET_ARGS | _SUBSET_ARGS}
    folder = rest.pop("train_data_dir", "pictures")
    rest.pop("script", None)
    arguments = rest.pop("optimizer_args", None)
    text = f'[[subsets]]\nnum_repeats = 10\nimage_dir = "{folder}/10_cat"\n{_lines(subset)}\n'
    text += f'[train_mode]\ntrain_mode = "lora"\n\n[general_args.args]\n{_lines(rest)}\n'
    text += f"[general_args.dataset_args]\n{_lines(data)}\n"
    if isinstance(arguments, list):
        text += "[optimizer_args.args.optimizer_args]\n"
        text += "".join(f"{one.partition('=')[0]} = {_toml(one.partition('=')[2])}\n" for one in arguments)
    return text


Write = Callable[[Settings], str]

FORMS: Final[Mapping[str, tuple[str, Write, str]]] = {
    "own-json": ("json", own_json, "lora_lab"),
    "own-yaml": ("yaml", own_yaml, "lora_lab"),
    "own-toml": ("toml", own_toml, "lora_lab"),
    "easy-toml": ("toml", easy_toml, "easy"),
    "gui": ("json", gui_json, "sd-scripts"),
    "gui-quoted": ("json", gui_json_in_quotes, "sd-scripts"),
    "toml": ("toml", flat_toml, "sd-scripts"),
    "sections": ("toml", sectioned_toml, "sd-scripts"),
    "sh": ("sh", command, "sd-scripts"),
    "ps1": ("ps1", powershell, "sd-scripts"),
    "bat": ("bat", batch_file, "sd-scripts"),
}
"""Each form: the end of its files' names, what writes it, and the trainer that it is for."""
