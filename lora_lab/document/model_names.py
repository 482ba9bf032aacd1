"""What a model is, told from the names and shapes of its tensors.

Sources: the names in sd-scripts' and diffusers' conversion scripts; ComfyUI's `model_detection`, whose marks `v_pred`
and `ztsnr` in SDXL files are the ones that NoobAI and its like carry; LyCORIS' names of its modules.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from lora_lab.document.tensor_table import Tensor

Kind = Literal["checkpoint", "diffusers", "lora", "vae", "unet", "text_encoder", "embedding", "unknown"]
Part = Literal["unet", "vae", "text_encoder"]
Tensors = Mapping[str, Tensor]

WIDTHS: Final[Mapping[int, str]] = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}
"""Width of the text features that a U-Net's cross-attention takes, by family."""

_PARTS: Final[tuple[tuple[str, Part], ...]] = (
    ("model.diffusion_model.", "unet"),
    ("first_stage_model.", "vae"),
    ("vae.", "vae"),
    ("cond_stage_model.", "text_encoder"),
    ("conditioner.embedders.", "text_encoder"),
    ("text_encoders.", "text_encoder"),
)

_TRANSFORMERS: Final = (
    ("distilled_guidance_layer.", "chroma"),
    ("txt_in.individual_token_refiner.", "hunyuan-video"),
    ("double_blocks.", "flux"),
    ("single_transformer_blocks.", "flux"),
    ("joint_blocks.", "sd3"),
    ("joint_transformer_blocks.", "auraflow"),
    ("double_layers.", "auraflow"),
    ("cap_embedder.", "lumina"),
    ("clip_txt_mapper.", "cascade"),
    ("adaln_single.", "pixart"),
    ("txt_norm.", "qwen-image"),
    ("patch_embedding.", "wan"),
    ("x_embedder.", "dit"),
)
"""Names that models with a transformer in the U-Net's place have, the more telling first."""

_LORA_TRANSFORMERS: Final = (
    ("double_blocks_", "flux"),
    ("single_transformer_blocks_", "flux"),
    ("joint_blocks_", "sd3"),
    ("unet_blocks_", "wan"),
    ("diffusion_model_blocks_", "wan"),
)

_NETWORKS: Final = (
    (".hada_w1_a", "loha"),
    (".hada_t1", "loha"),
    (".lokr_w1", "lokr"),
    (".lokr_w1_a", "lokr"),
    (".oft_blocks", "oft"),
    (".oft_diag", "oft"),
    (".on_input", "ia3"),
    (".a1.weight", "glora"),
    (".lora_down.weight", "lora"),
    (".lora_A.weight", "peft"),
    (".lora_A.default.weight", "peft"),
    (".lora.down.weight", "diffusers"),
    ("_lora.down.weight", "diffusers"),
    (".diff", "full"),
)
"""Endings of a network's tensors. `peft` and `diffusers` are LoRAs under other names than kohya's."""


def kind_of(tensors: Tensors) -> Kind:
    """Return what a file with these tensors is."""
    if network_of(tensors):
        return "lora"
    parts = {part for prefix, part in _PARTS if any(name.startswith(prefix) for name in tensors)}
    if "unet" in parts:
        return "checkpoint" if len(parts) > 1 else "unet"
    if len(parts) == 1:
        return "vae" if "vae" in parts else "text_encoder"
    return "checkpoint" if parts else _bare_kind(tensors)


def _bare_kind(tensors: Tensors) -> Kind:
    """Return what tensors without a prefix are."""
    if _is_embedding(tensors):
        return "embedding"
    if any(name.startswith(("control_model.", "controlnet_", "zero_convs.", "input_hint_block.")) for name in tensors):
        return "unknown"
    if "decoder.conv_in.weight" in tensors and "encoder.conv_in.weight" in tensors:
        return "vae"
    unet = ("input_blocks.0.0.weight", "conv_in.weight")
    if any(name in tensors for name in unet) or _named(tensors, _TRANSFORMERS):
        return "unet"
    text = ("text_model.encoder.", "encoder.block.0.", "transformer.resblocks.", "model.transformer.resblocks.")
    return "text_encoder" if any(name.startswith(text) for name in tensors) else "unknown"


def _is_embedding(tensors: Tensors) -> bool:
    """Say whether these are the vectors of a textual inversion."""
    if "emb_params" in tensors or "string_to_param" in tensors:
        return True
    return bool(tensors) and all(name in ("clip_l", "clip_g", "t5xxl") or _is_word(name, tensors) for name in tensors)


def _is_word(name: str, tensors: Tensors) -> bool:
    """Say whether a tensor is one new word's vector, as diffusers saves them: `<cat>`."""
    return name.startswith("<") and name.endswith(">") and len(tensors[name].shape) in (1, 2)


def network_of(tensors: Tensors) -> str | None:
    """Return the kind of network that a LoRA file holds, None if it is none."""
    for ending, network in _NETWORKS:
        names = [name for name in tensors if name.endswith(ending)]
        if network == "full":
            names = [name for name in names if name.startswith(("lora_", "lycoris_"))]
        if not names:
            continue
        if network == "lora" and any(name.endswith(".dora_scale") for name in tensors):
            return "dora"
        if network == "lora" and any(max(tensors[name].shape[2:], default=1) > 1 for name in names):
            return "locon"
        return network
    return None


def parts_of(tensors: Tensors, kind: Kind) -> Mapping[Part, Tensors]:
    """Return the tensors of each part of a model."""
    if kind in ("unet", "vae", "text_encoder"):
        return {kind: tensors}
    parts: dict[Part, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        for prefix, part in _PARTS:
            if name.startswith(prefix):
                parts.setdefault(part, {})[name] = tensor
                break
    return parts


def main_dtype(tensors: Tensors) -> str | None:
    """Return the number format that most of the numbers have."""
    counts: Counter[str] = Counter()
    for tensor in tensors.values():
        if tensor.dtype:
            counts[tensor.dtype] += tensor.elements
    return max(counts, key=counts.__getitem__) if counts else None


def parameters(tensors: Tensors) -> int:
    """Return how many numbers there are."""
    return sum(tensor.elements for tensor in tensors.values())


def base_family(tensors: Tensors) -> str | None:
    """Return the family of a checkpoint or U-Net: by the width of its cross-attention, then by names of its parts."""
    other = _named(tensors, _TRANSFORMERS, "model.diffusion_model.")
    if other:
        return other
    by_width = WIDTHS.get(_width(tensors, ("attn2.to_k.weight",)) or 0)
    if by_width:
        return by_width
    if any("label_emb.0" in name or name.startswith(("conditioner.", "add_embedding.")) for name in tensors):
        return "sdxl"
    if any(name.startswith("cond_stage_model.model.") for name in tensors):
        return "sd2"
    return "sd1" if any(name.startswith("cond_stage_model.transformer.") for name in tensors) else None


def lora_family(tensors: Tensors) -> str | None:
    """Return the family that a LoRA was made for, by its names and the width of its cross-attention."""
    flat = {name.replace(".", "_"): tensor for name, tensor in tensors.items()}
    for mark, family in _LORA_TRANSFORMERS:
        if any(mark in name for name in flat):
            return family
    if any(name.startswith(("lora_te2_", "text_encoder_2_")) for name in flat):
        return "sdxl"
    by_width = WIDTHS.get(_lora_width(flat, ("attn2_to_k", "attn2_to_v", "attn2_processor_to_k")) or 0)
    if by_width:
        return by_width
    if any(name.startswith(("lora_te_", "text_encoder_")) for name in flat):
        return {768: "sd1", 1024: "sd2"}.get(_lora_width(flat, ("self_attn_q_proj",)) or 0)
    return None


def latent_channels(tensors: Tensors) -> int | None:
    """Return how many channels a VAE's latents have: 4 in Stable Diffusion and SDXL, 16 in Flux and SD3."""
    return _input_side(tensors, r"(^|\.)decoder\.conv_in\.weight$")


def in_channels(tensors: Tensors) -> int | None:
    """Return how many channels a U-Net takes: 4; 9 for inpainting, 8 for editing, 5 with depth."""
    return _input_side(tensors, r"^(model\.diffusion_model\.)?(input_blocks\.0\.0|conv_in)\.weight$")


def _named(tensors: Tensors, table: tuple[tuple[str, str], ...], prefix: str = "") -> str | None:
    """Return what the first name in a table says that some tensor starts with."""
    for mark, meaning in table:
        if any(name.startswith((mark, prefix + mark)) for name in tensors):
            return meaning
    return None


def _width(tensors: Tensors, endings: tuple[str, ...]) -> int | None:
    """Return the second side of the first matrix with such a name."""
    for name, tensor in tensors.items():
        if name.endswith(endings) and len(tensor.shape) >= 2:
            return tensor.shape[1]
    return None


def _lora_width(flat: Tensors, layers: tuple[str, ...]) -> int | None:
    """Return how wide the input of a layer is that a LoRA adapts."""
    for name, tensor in flat.items():
        if any(layer in name for layer in layers) and len(tensor.shape) >= 2:
            if name.endswith(("lora_down_weight", "lora_A_weight", "lora_A_default_weight", "hada_w1_b", "_diff")):
                return tensor.shape[1]
            if name.endswith(("_lokr_w2_b", "_lokr_w2")):
                left = flat.get(name.rpartition("_lokr_")[0] + "_lokr_w1")
                return tensor.shape[1] * left.shape[1] if left and len(left.shape) >= 2 else None
    return None


def _input_side(tensors: Tensors, pattern: str) -> int | None:
    """Return the second side of the first tensor whose name fits."""
    wanted = re.compile(pattern)
    return next(_second_sides(tensors, wanted), None)


def _second_sides(tensors: Tensors, wanted: re.Pattern[str]) -> Iterator[int]:
    for name, tensor in tensors.items():
        if len(tensor.shape) >= 2 and wanted.search(name):
            yield tensor.shape[1]
