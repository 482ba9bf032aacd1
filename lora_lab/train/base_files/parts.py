"""What every way of loading a base gives, and how the libraries' many complaints become one line."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from lora_lab.failure import Failure

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_OLD_WINDOW = (0x100000, 0x10000)  # offset and length of the piece that the old hash is made of

Made = TypeVar("Made")


@dataclass(frozen=True)
class Asked:
    """What a config wants of its base: which, with whose VAE, in which precision, where, and predicting what.

    `path` and `vae` are files or folders. What the base itself says of its prediction is stronger than `v_prediction`:
    that counts for a single file, which says nothing.
    """

    path: Path
    vae: Path | None = None
    precision: str = "no"
    device: str = "cpu"
    v_prediction: bool = False
    zero_terminal_snr: bool = False


class TextPart(NamedTuple):
    """One text encoder of a family, with its tokenizer: their folders, and where the encoder is in a single file."""

    encoder: str  # folder in diffusers' layout
    tokenizer: str
    prefix: str  # in a single file; `transformer.` (CLIP's names) or `model.` (OpenCLIP's) follows
    pad_token: str
    projected: bool = False  # whether it has a projection of the whole caption too


@dataclass(frozen=True)
class Parts:
    """The models of a base, frozen and on the CPU; U-Net and text encoders in the asked precision, the VAE in float32.

    `prediction` is None where the files do not say what the U-Net predicts. `beta_start` and `beta_end` are the ends of
    the scaled-linear noise schedule.
    """

    unet: nn.Module
    text_encoders: tuple[nn.Module, ...]
    vae: nn.Module
    tokenizers: tuple[Any, ...]
    prediction: str | None = None
    beta_start: float = 0.00085
    beta_end: float = 0.012


@dataclass(frozen=True)
class Hashes:
    """What names a model: SHA-256 of its weights, and the 8 hex digits that older user interfaces knew it by."""

    full: str
    old: str


def hashes_of(path: Path, *parts: str) -> Hashes:
    """Name a file by its bytes, a folder by the weight files in its `parts`, in order of their names.

    The old hash of a file is of 64 KiB at offset 1 MiB (AUTOMATIC1111's, sd-scripts `train_util.model_hash`); a folder
    never had one and gets the first digits of the full hash.
    """
    if path.is_file():
        return Hashes(_sha256(path), _old_hash(path))
    folders = [path / part for part in parts] if parts else [path]
    full = _sha256(*(file for folder in folders for file in _weights(folder)))
    return Hashes(full, full[:8])


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def _sha256(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _old_hash(path: Path) -> str:
    offset, length = _OLD_WINDOW
    with path.open("rb") as stream:
        stream.seek(offset)
        return hashlib.sha256(stream.read(length)).hexdigest()[:8]


def loaded(path: Path, make: Callable[[], Made], remedy: str) -> Made:
    """Return what `make` makes of `path`; whatever the libraries raise becomes one line that names the path."""
    try:
        with quiet_libraries():
            return make()
    except Failure:
        raise
    except Exception as error:  # the libraries raise anything here, from OSError to KeyError
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Failure(f"{path} cannot be loaded: {line}", remedy) from error


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within: the libraries draw no progress bars over ours."""
    from diffusers.utils import logging as diffusers_logging  # noqa: PLC0415  # seconds; a bad path fails first
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    shown = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()
