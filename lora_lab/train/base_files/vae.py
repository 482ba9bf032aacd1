"""The VAE of a base, or another one: inside a model, a folder of its own, or one file."""

from pathlib import Path
from typing import Any

import torch

from lora_lab.failure import Failure
from lora_lab.train.base_files.narrow import converters, vae_class
from lora_lab.train.base_files.weights import State, filled, load_pretrained, read_state

PREFIX = "first_stage_model."
"""What the names of the VAE's tensors begin with in the file of a whole model."""

_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_REMEDY = "give a VAE of the base's family, as a file or as a folder of diffusers"


def load_vae(path: Path, layout: Path) -> Any:
    """Load a VAE in float32, which no picture overflows; `layout` is the folder of its family's configs.

    Raises Failure when there is none, or it is another family's.
    """
    if path.is_file():
        return vae_of(path, read_state(path), layout)
    return load_pretrained(vae_class(), vae_folder(path), torch.float32)


def vae_folder(path: Path) -> Path:
    """Return the folder with a VAE's weights: the given one or, where that is a whole model, its `vae`."""
    return path / "vae" if (path / "vae").is_dir() else path


def vae_of(path: Path, state: State, layout: Path) -> Any:
    """Make the VAE of the tensors of a file: of a whole model, of a VAE alone, under LDM's names or diffusers'."""
    inside = {name: tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    own = inside or {name: tensor for name, tensor in state.items() if name.startswith(_PARTS)}
    if not own:
        raise Failure(f"{path} holds no VAE", _REMEDY)

    kind = vae_class()
    config = kind.load_config(layout / "vae", local_files_only=True)
    named = any(".mid_block." in name for name in own)
    renamed = own if named else converters().convert_ldm_vae_checkpoint(own, config)
    return filled(path, lambda: kind.from_config(config), renamed, torch.float32)
