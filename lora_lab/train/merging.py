"""LoRA files that become a part of the base: W + multiplier · ΔW at every layer that they adapt.

The same as if the merged model had been given as the base, up to the precision that the base is held in. peft and
LyCORIS can merge what they have loaded themselves; neither reads all the kinds and spellings that are read here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lora_lab.config import TrainConfig
from lora_lab.config.merged import with_multipliers
from lora_lab.failure import Failure
from lora_lab.train.adapters import KINDS, kind_of_file
from lora_lab.train.adapters.base import DORA_SCALE
from lora_lab.train.families.base import Base, Family
from lora_lab.train.lora_file import by_layer, read_lora
from lora_lab.train.lora_names import with_own_names


class Merged(NamedTuple):
    """A file to merge, the hash of its bytes, and how strong."""

    path: Path
    digest: str
    multiplier: float


def files_of(config: TrainConfig) -> tuple[Merged, ...]:
    """What a config wants to be merged. Raises Failure where a file is missing, or lacks its multiplier."""
    try:
        wanted = with_multipliers(config.base_weights, config.base_weights_multiplier)
    except ValueError as error:
        raise Failure(str(error), "give each file its number, or one number for all") from error
    found = []
    for name, multiplier in wanted:
        path = Path(name)
        if not path.is_file():
            raise Failure(f"base_weights {path} does not exist", "correct the path, or take it out")
        found.append(Merged(path, hashlib.sha256(path.read_bytes()).hexdigest(), multiplier))
    return tuple(found)


def merge(base: Base, family: Family, files: Sequence[Merged]) -> Base:
    """Change a base's weights in place, one file after the other; return it with a name for what it is now.

    Raises Failure for a file that is no LoRA, or of another family; the base is of no use then.
    """
    if not files:
        return base
    layers = {**family.layers(base), **family.convolutions(base)}
    touched: set[str] = set()
    names = family.other_names(base)
    for file in files:
        touched |= _merge_one(layers, names, file, base)
    told = "\n".join(f"{file.digest} {file.multiplier!r}" for file in files)
    merged = hashlib.sha256(told.encode()).hexdigest()
    return replace(base, merged=merged, text_merged=any(name.startswith("lora_te") for name in touched))


@torch.no_grad()
def _merge_one(
    layers: Mapping[str, tuple[nn.Module, str]], names: Mapping[str, str], file: Merged, base: Base
) -> set[str]:
    """Merge one file; return the names of its layers."""
    found = by_layer(with_own_names(read_lora(file.path, "base_weights"), names))
    strange = sorted(found.keys() - layers.keys())
    if strange:
        raise Failure(
            f"base_weights {file.path} has a layer {strange[0]}, which {base.path} lacks", "give a LoRA for this base"
        )
    for name, tensors in found.items():
        owner, attribute = layers[name]
        weight: Tensor = getattr(owner, attribute).weight
        try:
            change = change_of(weight.float(), {part: tensor.to(weight.device) for part, tensor in tensors.items()})
        except (RuntimeError, ValueError) as error:  # widths that do not multiply, or a sum of other widths
            raise Failure(
                f"base_weights {file.path} does not fit {base.path} at {name}", "give a LoRA for this base"
            ) from error
        weight.copy_(weight.float() + file.multiplier * change)
    return set(found)


def change_of(weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """What a layer's tensors in a file make of its weight, less the weight itself; float32 of its shape.

    With a DoRA's magnitudes, for rows or (older LyCORIS) for columns, the whole change is what a multiplier scales, as
    in ComfyUI. Raises ValueError for tensors of no kind that is known here.
    """
    kind = kind_of_file({f"layer.{part}": tensor for part, tensor in tensors.items()})
    known = {"alpha", DORA_SCALE, *(KINDS[kind].FILE_NAMES.values() if kind else ())}
    if kind is None or tensors.keys() - known:
        raise ValueError(f"unknown tensors {sorted(tensors.keys() - known)}")
    update = KINDS[kind].delta_in({part: tensor.float() for part, tensor in tensors.items()}).reshape(weight.shape)
    if DORA_SCALE not in tensors:
        return update
    magnitude, turned = tensors[DORA_SCALE].float(), weight + update
    over = [axis for axis in range(weight.ndim) if magnitude.shape[axis] == 1]
    lengths = torch.linalg.vector_norm(turned, dim=over, keepdim=True)
    if magnitude.shape != lengths.shape:
        raise ValueError("magnitudes of another width")
    return turned * (magnitude / lengths.clamp_min(torch.finfo(torch.float32).eps)) - weight
