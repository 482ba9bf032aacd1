"""What every way of loading a base gives, and how the libraries' many complaints become one line."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from lora_lab.failure import Failure

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Made = TypeVar("Made")


@dataclass(frozen=True)
class Asked:
    """What a config wants of its base: which, with whose VAE, in which precision, where, and predicting what.

    `path` and `vae` are files or folders. What the base itself says of its prediction is stronger than `v_prediction`:
    that counts for a single file, which says nothing. `later` names parts ("vae", "text") that wait for their first
    use; what is wrong with their files is found then.
    """

    path: Path
    vae: Path | None = None
    precision: str = "no"
    device: str = "cpu"
    v_prediction: bool = False
    zero_terminal_snr: bool = False
    later: frozenset[str] = field(default=frozenset(), compare=False)


class TextPart(NamedTuple):
    """One text encoder of a family, with its tokenizer: their folders, and where the encoder is in a single file."""

    encoder: str  # folder in diffusers' layout
    tokenizer: str
    prefix: str  # in a single file; `transformer.` (CLIP's names) or `model.` (OpenCLIP's) follows
    pad_token: str
    projected: bool = False  # whether it has a projection of the whole caption too


@dataclass(frozen=True)
class Parts:
    """The models of a base, frozen, on their device; U-Net and text encoders in the asked precision, VAE in float32.

    `text_layers` are those of the deepest text encoder, `scaling_factor` is the VAE's. `prediction` is None where the
    files do not say what the U-Net predicts. `beta_start` and `beta_end` are the ends of the scaled-linear noise
    schedule.
    """

    unet: nn.Module
    text_encoders: Sequence[nn.Module]
    vae: nn.Module
    tokenizers: Sequence[Any]
    text_layers: int
    scaling_factor: float
    prediction: str | None = None
    beta_start: float = 0.00085
    beta_end: float = 0.012


def frozen(model: Any, device: str) -> Any:
    """Return a model that learns nothing, on its device."""
    return model.requires_grad_(False).eval().to(device)


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
    """Within: the libraries, where they are in use, draw no progress bars over ours."""
    used = (name for name in ("diffusers", "transformers") if name in sys.modules)
    logs: list[Any] = [importlib.import_module(f"{name}.utils.logging") for name in used]
    shown = [log for log in logs if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()
