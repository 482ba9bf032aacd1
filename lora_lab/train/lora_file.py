"""LoRA files in kohya's format: tensor names, precision, hashes; written whole or not at all.

The format is that of sd-scripts' `networks/lora.py` (save_weights) and `library/train_util.py`
(precalculate_safetensors_hashes).
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lora_lab.failure import Failure
from lora_lab.train.adapters import KINDS, AdapterWeights, LayerSize, kind_of_file
from lora_lab.train.adapters.base import DORA_SCALE
from lora_lab.train.base_files.archives import refuse_bomb
from lora_lab.train.lora_names import in_kohyas_names
from lora_lab.whole_files import write_whole

CORES = ("lora_mid.weight", "hada_t1", "lokr_t2")
"""Names of tensors that Tucker's decomposition alone has."""

ALPHA_ROUNDING = 2**-8  # what a file in bf16 keeps of alpha
SAVE_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def state_dict(layers: Iterable[tuple[str, AdapterWeights]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Every layer's tensors, under LyCORIS' and kohya's names, and its 0-d `alpha`, on the CPU in `dtype`."""
    state: dict[str, Tensor] = {}
    for name, weights in layers:
        state[f"{name}.alpha"] = torch.tensor(weights.alpha_in_file, dtype=dtype)
        for part, tensor in weights.in_file().items():
            state[f"{name}.{part}"] = tensor.detach().to("cpu", dtype).contiguous()
    return state


def save_lora(path: Path, state: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a LoRA in the format that the file's ending names; .safetensors alone carries metadata."""
    if path.suffix == ".safetensors":
        content = in_order(safetensors.torch.save(state, with_hashes(state, metadata)))
    else:
        stream = io.BytesIO()  # not the file itself: of a full disk torch's writer makes a RuntimeError
        torch.save(state, stream)
        content = stream.getvalue()
    try:
        write_whole(path, content)
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror or error}", "free some space or choose another folder"
        ) from error


def in_order(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which the library writes in another order each time.

    So equal LoRAs are equal files. Offsets in the header count from its end, and its length stays a multiple of 8.
    """
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = dict(sorted(header.pop("__metadata__").items()))
    text = json.dumps({"__metadata__": metadata, **header}, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def with_hashes(state: dict[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Add `sshs_model_hash` and `sshs_legacy_hash`, which user interfaces identify a LoRA by.

    The first is the SHA-256 of all bytes after the header; the second the first 8 hex digits of the SHA-256 of 64 KiB
    at offset 1 MiB of a file that carries the ss_ metadata alone.
    """
    bare = safetensors.torch.save(state, {key: text for key, text in metadata.items() if key.startswith("ss_")})
    body = bare[8 + int.from_bytes(bare[:8], "little") :]
    hashes = {
        "sshs_model_hash": hashlib.sha256(body).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(bare[0x100000:0x110000]).hexdigest()[:8],
    }
    return {**metadata, **hashes}


def read_lora(path: Path, key: str = "lora_model_for_resume") -> dict[str, Tensor]:
    """Tensors of a LoRA file, .safetensors or a pickle that holds tensors alone; code in it never runs.

    They have kohya's names, whatever the file's are; `key` is the setting that names the file.
    Raises Failure when the file is missing, damaged or no LoRA.
    """
    if not path.is_file():
        raise Failure(f"{key} {path} does not exist", "correct the path, or set it to null")
    refuse_bomb(path)
    try:
        state: object
        metadata: Mapping[str, str] = {}
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no mapping
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise anything for a file that is not theirs
        raise Failure(f"{path} is not a LoRA file that can be read", "give a file that a trainer wrote") from error
    if isinstance(state, Mapping) and all(isinstance(tensor, Tensor) for tensor in state.values()):
        named = in_kohyas_names(state, metadata)
        if kind_of_file(named) is not None:
            return named
    raise Failure(
        f"{path} holds no tensors of a LoRA, LoHa or LoKr", "give a file of kohya, LyCORIS, diffusers or PEFT"
    )


def by_layer(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a file by layer, and in it by the rest of their names."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name, _, part = str(key).partition(".")
        found.setdefault(name, {})[part] = tensor
    return found


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, LayerSize]:
    """Rank and alpha of each layer in a LoRA file; a missing alpha is the rank, as in sd-scripts."""
    kind = kind_of_file(state)
    if kind is None:
        return {}
    layers = by_layer(state)
    ranks = {name: KINDS[kind].rank_in(tensors) for name, tensors in layers.items()}
    return {
        name: LayerSize(rank, float(layers[name].get("alpha", torch.tensor(float(rank)))))
        for name, rank in ranks.items()
        if rank is not None
    }


@torch.no_grad()
def load_into(layers: Iterable[tuple[str, AdapterWeights]], state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a LoRA's tensors into an adapter.

    Raises Failure when its layers are not the adapter's, or its kind, rank or alpha is not the config's: a rank cannot
    change, and another alpha would change the LoRA's strength unnoticed.
    """
    layers, found = list(layers), by_layer(state)
    unused = found.keys() - {name for name, _ in layers}
    if unused:
        remedy = "train the same parts as it (unet_only, text_only)"
        if any(weights.options.blocks for _, weights in layers):
            remedy += ", or set dim_from_weights to true: blocks of weight 0 stay as they are in the file then"
        raise Failure(f"{path} also has {min(unused)}", remedy)
    for name, weights in layers:
        if name not in found:
            remedy = "train the same parts as it (unet_only, text_only), or set dim_from_weights to true"
            raise Failure(f"{path} has no tensors for {name}", remedy)
        _refuse_another(name, weights, found[name], path)
        for part, tensor in weights.in_file().items():
            tensor.copy_(found[name][part].reshape(tensor.shape))


def _refuse_another(name: str, weights: AdapterWeights, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise Failure where a layer's tensors in a file are not what an adapter has there."""
    kind, wanted = kind_of_file({f"{name}.{part}": tensor for part, tensor in tensors.items()}), weights.in_file()
    if kind is None:
        raise Failure(f"{path} has no tensors for {name}", "train the same parts as it (unet_only, text_only)")
    if kind != weights.KIND:
        raise Failure(f"{path} is a {kind}, the config's network_type is {weights.KIND}", f"set network_type to {kind}")
    if (DORA_SCALE in tensors) != (DORA_SCALE in wanted):
        said = "has a DoRA's magnitudes" if DORA_SCALE in tensors else "has no DoRA's magnitudes"
        raise Failure(f"{path} {said}", f"set use_dora to {str(DORA_SCALE in tensors).lower()}")
    if any(part in tensors for part in CORES) != any(part in wanted for part in CORES):
        remedy = f"set use_tucker to {str(not weights.tucker).lower()}"
        raise Failure(f"{path} has {'no ' if weights.tucker else ''}cores of Tucker's decomposition", remedy)
    wide = len(weights.shape) == 4 and weights.shape[2:] != (1, 1)
    rank_key, alpha_key = ("conv_dim", "conv_alpha") if wide else ("net_dim", "alpha")
    rank = KINDS[kind].rank_in(tensors)
    if rank != weights.rank and (kind != "lokr" or tensors.keys() - {"alpha"} != wanted.keys()):
        raise Failure(f"{path} has rank {rank}, the config {rank_key} {weights.rank}", f"set {rank_key} to {rank}")
    alpha = float(tensors.get("alpha", torch.tensor(float(rank or 1))))
    if weights.alpha_in_file == weights.alpha and abs(alpha - weights.alpha) > ALPHA_ROUNDING * abs(alpha):
        raise Failure(f"{path} has alpha {alpha:g}, the config {weights.alpha:g}", f"set {alpha_key} to {alpha:g}")
    for part, tensor in wanted.items():
        if part not in tensors or tensors[part].numel() != tensor.numel():
            remedy = "give the lokr_factor that it was trained with" if kind == "lokr" else "it is of another family"
            raise Failure(f"{path} has another width at {name}", remedy)
