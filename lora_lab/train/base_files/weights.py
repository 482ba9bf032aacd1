"""Weights from files: tensors alone, never code; what is missing is said, never made up."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lora_lab.failure import Failure
from lora_lab.train.base_files.archives import refuse_bomb
from lora_lab.train.base_files.parts import loaded

DAMAGED = "the model folder is damaged; copy it anew"
CONVERT = "the file is damaged, or holds more than tensors: take its .safetensors version"
WHOLE = "give the file as it was published; other architectures of the same names can't be trained"

State = dict[str, Tensor]


class Inert:
    """Stands in for an object beside the tensors of a training checkpoint: it takes any arguments and does nothing."""

    def __init__(self, *ignored: object) -> None: ...

    def __setstate__(self, ignored: object) -> None: ...


_STAND_INS: Any = [
    (Inert, name)
    for name in (
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "pytorch_lightning.utilities.enums.LightningEnum",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "_codecs.encode",
    )
]
"""What Stable Diffusion's own checkpoints carry beside their tensors: the trainer's bookkeeping."""


def read_state(path: Path) -> State:
    """Return the tensors of a model file by their names. A pickle may hold nothing but tensors and inert bookkeeping.

    Raises Failure for a file that is damaged or would run code: PyTorch's `weights_only` unpickler refuses it.
    """
    if path.suffix.lower() == ".safetensors":
        return loaded(path, lambda: safetensors.torch.load_file(path), "the file is damaged; copy it anew")
    refuse_bomb(path)
    state: object = loaded(path, lambda: _unpickled(path), CONVERT)
    while isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    tensors = {} if not isinstance(state, Mapping) else state
    found = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        raise Failure(f"{path} holds no tensors", "give the file of a model")
    return found


def _unpickled(path: Path) -> object:
    with torch.serialization.safe_globals(_STAND_INS):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
        except Exception as error:
            refused = re.search(r"Unsupported (?:global|class)[^\n]*?(?:GLOBAL|:) (\S+) was not", str(error))
            if refused:
                raise Failure(f"{path} would run {refused[1]} when it is opened", CONVERT) from error
            raise


def load_pretrained(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load a model from its folder; what its files lack is a Failure, where the libraries go on with random numbers."""
    key = "dtype" if kind.__module__.startswith("transformers") else "torch_dtype"

    def load() -> Any:
        return kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **{key: dtype})

    model, told = loaded(folder, load, DAMAGED)
    wrong = [*told["missing_keys"], *told["mismatched_keys"]]
    if wrong:
        raise Failure(f"{folder} has no fitting weights for {wrong[0]}", DAMAGED)
    return model


def filled(path: Path, model: Callable[[], nn.Module], state: State, dtype: torch.dtype) -> Any:
    """Return a new model with the tensors of a file, already under its names, as copies in `dtype`.

    Raises Failure where one is missing or has another shape; what the model does not know is left out.
    """
    from accelerate import init_empty_weights  # noqa: PLC0415  # seconds; a bad file fails first

    with init_empty_weights():
        made = model()
    copies: State = {}
    for name, wanted in made.state_dict().items():
        found = state.get(name)
        if found is None:
            raise Failure(f"{path} has no weights for {name} of its {type(made).__name__}", WHOLE)
        if found.shape != wanted.shape:
            raise Failure(
                f"{path} has {name} of its {type(made).__name__} as {tuple(found.shape)}, not {tuple(wanted.shape)}",
                WHOLE,
            )
        copies[name] = found.to(dtype, copy=True)  # the file may be mapped into memory, and change under the training
    made.load_state_dict(copies, assign=True)
    return made
