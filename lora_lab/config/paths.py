"""Paths as they stand in a config, made absolute."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lora_lab
from lora_lab.config.parameters import PARAMETERS
from lora_lab.config.train_config import TrainConfig

SCHEME: Final = "lora_lab:"
PACKAGE: Final = Path(lora_lab.__file__).resolve().parent
QUICKSTART_GRID: Final = "quickstart/quickstart.yaml"
MODEL_FILES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Suffixes of a model in one file."""

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

_PLAIN: Final = re.compile(r"[\w@%+=:,./\\-]+")
_MEANS_SOMETHING: Final = frozenset('$`"!\n')
"""Letters that mean something to a shell between double quotes."""


def resolve_path(text: str, folder: Path) -> Path:
    """Return the absolute path that a text in a file of `folder` names.

    `lora_lab:quickstart/base` lies inside the installed package, `~` is the home folder, anything relative is relative
    to `folder`. Nothing is looked up on the disk, with one exception: a checkout holds the quickstart's grid among its
    experiments, only the installed package has a copy of it.
    """
    if text.startswith(SCHEME):
        return _inside_package(text.removeprefix(SCHEME))
    return (folder / _home(text)).absolute()


def quoted(path: Path) -> str:
    """Return a path as it is typed at a command line: in quotes where a shell would not read it as one plain word."""
    text = str(path)
    if _PLAIN.fullmatch(text):
        return text
    return shlex.quote(text) if set(text) & _MEANS_SOMETHING else f'"{text}"'


def hub_name(text: str, folder: Path) -> str | None:
    """Return the `owner/name` of a model on a hub that a text in a file of `folder` stands for, None for a path.

    What is on the disk is a path, and so is what would lie in a folder that is there: `models/sd15` beside a folder
    `models` is a misspelt path and no model of somebody called models. `./owner/name` is always a path.
    """
    if not _HUB_NAME.fullmatch(text) or text.lower().endswith(MODEL_FILES):
        return None
    return None if (folder / text).exists() or (folder / text.partition("/")[0]).exists() else text


def _home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # "~somebody" whom this machine does not know is a name like any other
        return Path(text)


def _inside_package(inner: str) -> Path:
    path = PACKAGE / inner.lstrip("/\\")
    if inner == QUICKSTART_GRID and not path.exists():
        return PACKAGE.parent / "experiments" / "quickstart.yaml"
    return path


def with_absolute_paths(config: TrainConfig, folder: Path) -> TrainConfig:
    """Return the config with every path absolute.

    A list of prompts stays as it is, and so do an empty path and the name of a model on a hub.
    """
    changed: dict[str, object] = {}
    for name, known in PARAMETERS.items():
        value = getattr(config, name) if known.path_kind else None
        on_hub = known.path_kind == "model" and isinstance(value, str) and hub_name(value, folder)
        if value and not on_hub:
            changed[name] = with_paths(name, value, lambda text: str(resolve_path(text, folder)))
    return config.model_copy(update=changed)


def with_paths(name: str, value: object, change: Callable[[str], str]) -> object:
    """Return the value of a key with every path in it changed; what is no path stays as it is."""
    parameter = PARAMETERS.get(name)
    if parameter is None or parameter.path_kind is None:
        return value
    if isinstance(value, list) and parameter.path_kind == "files":
        return [with_paths(name, one, change) for one in value]
    return change(value) if isinstance(value, str) and value else value
