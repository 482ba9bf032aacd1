"""Paths as they stand in a config, made absolute."""

from pathlib import Path
from typing import Final

import lora_lab
from lora_lab.config.parameters import PARAMETERS
from lora_lab.config.train_config import TrainConfig

SCHEME: Final = "lora_lab:"
PACKAGE: Final = Path(lora_lab.__file__).resolve().parent
QUICKSTART_GRID: Final = "quickstart/quickstart.yaml"


def resolve_path(text: str, folder: Path) -> Path:
    """Return the absolute path that a text in a file of `folder` names.

    `lora_lab:quickstart/base` lies inside the installed package, `~` is the home folder, anything relative is relative
    to `folder`. Nothing is looked up on the disk, with one exception: a checkout holds the quickstart's grid among its
    experiments, only the installed package has a copy of it.
    """
    if text.startswith(SCHEME):
        return _inside_package(text.removeprefix(SCHEME))
    return (folder / _home(text)).absolute()


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
    """Return the config with every path absolute; a list of prompts stays as it is, and so does an empty path."""
    texts = {name: getattr(config, name) for name, known in PARAMETERS.items() if known.path_kind}
    absolute = {name: str(resolve_path(text, folder)) for name, text in texts.items() if isinstance(text, str) and text}
    return config.model_copy(update=absolute)
