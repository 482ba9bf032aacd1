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
from lora_lab.train.pack import LayerSize, LoraWeights
from lora_lab.whole_files import write_whole

ALPHA_ROUNDING = 2**-8  # what a file in bf16 keeps of alpha
SAVE_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def state_dict(layers: Iterable[tuple[str, LoraWeights]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Every layer's `lora_down.weight`, `lora_up.weight` and 0-d `alpha`, on the CPU in `dtype`."""
    state: dict[str, Tensor] = {}
    for name, weights in layers:
        state[f"{name}.alpha"] = torch.tensor(weights.alpha, dtype=dtype)
        state[f"{name}.lora_down.weight"] = weights.down.detach().to("cpu", dtype).contiguous()
        state[f"{name}.lora_up.weight"] = weights.up.detach().to("cpu", dtype).contiguous()
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


def read_lora(path: Path) -> dict[str, Tensor]:
    """Tensors of a LoRA file, .safetensors or a pickle that holds tensors alone; code in it never runs.

    Raises Failure when the file is missing, damaged or no LoRA.
    """
    if not path.is_file():
        raise Failure(f"lora_model_for_resume {path} does not exist", "correct the path, or set it to null")
    try:
        state: object
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise anything for a file that is not theirs
        raise Failure(f"{path} is not a LoRA file that can be read", "give a file that a trainer wrote") from error
    if not isinstance(state, Mapping) or not any(str(key).endswith(".lora_down.weight") for key in state):
        raise Failure(f"{path} holds no lora_down tensors", "give a LoRA in kohya's format")
    return dict(state)


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, LayerSize]:
    """Rank and alpha of each layer in a LoRA file; a missing alpha is the rank, as in sd-scripts."""
    ranks = {key.partition(".")[0]: len(t) for key, t in state.items() if key.endswith(".lora_down.weight")}
    return {
        name: LayerSize(rank, float(state.get(f"{name}.alpha", torch.tensor(float(rank)))))
        for name, rank in ranks.items()
    }


@torch.no_grad()
def load_into(layers: Iterable[tuple[str, LoraWeights]], state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a LoRA's tensors into an adapter.

    Raises Failure when its layers are not the adapter's, or its rank or alpha is not the config's: a rank cannot
    change, and another alpha would change the LoRA's strength unnoticed.
    """
    layers = list(layers)
    unused = {str(key).partition(".")[0] for key in state} - {name for name, _ in layers}
    if unused:
        raise Failure(f"{path} also has {min(unused)}", "train the same parts as it (unet_only, text_only)")
    for name, weights in layers:
        try:
            down, up = state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"]
        except KeyError as error:
            raise Failure(
                f"{path} has no tensors for {name}", "train the same parts as it (unet_only, text_only)"
            ) from error
        rank = down.shape[0]
        alpha = float(state.get(f"{name}.alpha", torch.tensor(float(rank))))
        wide = down.ndim == 4 and down.shape[2:] != (1, 1)
        rank_key, alpha_key = ("conv_dim", "conv_alpha") if wide else ("net_dim", "alpha")
        if rank != weights.rank:
            raise Failure(f"{path} has rank {rank}, the config {rank_key} {weights.rank}", f"set {rank_key} to {rank}")
        if abs(alpha - weights.alpha) > ALPHA_ROUNDING * abs(alpha):
            raise Failure(f"{path} has alpha {alpha:g}, the config {weights.alpha:g}", f"set {alpha_key} to {alpha:g}")
        if down.numel() != weights.down.numel() or up.numel() != weights.up.numel():
            raise Failure(f"{path} has another width at {name}", "it belongs to another model family")
        weights.down.copy_(down.reshape(weights.down.shape))
        weights.up.copy_(up.reshape(weights.up.shape))
