"""What a LoRA file tells in its header: kind, ranks, alpha, what it adapts."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from lora_lab.config.blocks import block_of
from lora_lab.document.model_names import network_of
from lora_lab.document.tensor_table import Tensor

KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("lora", "locon", "dora", "peft", "diffusers"), "lora"),
    "loha": "loha",
    "lokr": "lokr",
}
"""The networks that are read here, each with its `network_type`."""

_RANKED: Final = (
    ".lora_down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    "lora.down.weight",
    ".lora_linear_layer.down.weight",
    ".hada_w1_b",
    ".lokr_w2_b",
    ".lokr_w1_b",
)
"""Endings of tensors whose first side is the rank."""

_BESIDE: Final = re.compile(
    r"[_.](resnets|downsamplers|upsamplers)[_.]|_(in_layers_2|out_layers_3|emb_layers_1|skip_connection|\d_op|\d_conv)\."
)
_WIDE: Final = re.compile(r"[_.](conv|conv1|conv2|in_layers_2|out_layers_3|\d_op)\.[^.]*(\.[^.]*){0,2}$")


class LoraFacts(NamedTuple):
    """What a LoRA's header tells; alpha and clip_skip come from its texts."""

    network: str
    """lora, locon (a LoRA with convolutions), dora, loha, lokr, oft, ia3, glora, full, peft, diffusers."""

    ranks: frozenset[int]
    """Of layers that see one place at a time; of a LoKr of those whose matrices are not whole."""

    alpha: float | None
    clip_skip: int | None
    unet: bool
    text_encoder: bool
    conv_ranks: frozenset[int] = frozenset()
    dora: bool = False
    convolutions: bool = False
    """Whether the U-Net's ResNet, down- and upsampling blocks are adapted."""

    whole_from: int = 0
    """The lowest rank at which all of a LoKr's whole matrices are whole, 0 where none is."""

    blocks: frozenset[int] = frozenset()
    """Of the U-Net, those with layers adapted that see one place at a time, where the file's names tell."""

    @property
    def kind(self) -> str | None:
        """Return the `network_type` that the file is of, None for what is not read here."""
        return KINDS.get(self.network) if self.ranks or self.conv_ranks or self.whole_from else None


def lora_facts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> LoraFacts | None:
    """Return what a LoRA is like, None if it is none."""
    network = network_of(tensors)
    if network is None:
        return None
    ranked = {name: one for name, one in tensors.items() if name.endswith(_RANKED) and one.shape}
    wide = {name for name, one in ranked.items() if max(one.shape[2:], default=1) > 1 or _WIDE.search(name)}
    ranks = _ranks(one for name, one in ranked.items() if name not in wide)
    skip = _positive(metadata.get("ss_clip_skip"))
    return LoraFacts(
        network,
        ranks,
        _alpha(network, ranks, tensors, metadata),
        int(skip) if skip and skip <= 23 else None,
        any(name.startswith(("lora_unet", "unet.", "lycoris_", "diffusion_model.")) for name in tensors),
        any(name.startswith(("lora_te", "text_encoder")) for name in tensors),
        _ranks(ranked[name] for name in wide),
        any(name.endswith(".dora_scale") or ".lora_magnitude_vector" in name for name in tensors),
        any(_BESIDE.search(name) for name in tensors) or bool(wide),
        _whole_from(tensors),
        frozenset(_blocks(name for name in ranked if name not in wide)),
    )


def _blocks(names: Iterable[str]) -> Iterator[int]:
    for name in names:
        with contextlib.suppress(ValueError):
            yield block_of(name)


def _ranks(tensors: Iterable[Tensor]) -> frozenset[int]:
    return frozenset(tensor.shape[0] for tensor in tensors)


def _whole_from(tensors: Mapping[str, Tensor]) -> int:
    """Return the rank from which LyCORIS makes the file's whole matrices whole: half their larger side."""
    sides = [max(one.shape[:2]) for name, one in tensors.items() if name.endswith(".lokr_w2") and len(one.shape) > 1]
    return -(-max(sides) // 2) if sides else 0


def _alpha(
    network: str, ranks: frozenset[int], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> float | None:
    """Return the alpha that the file's texts tell; PEFT's, without any, acts as if it were the rank."""
    if network not in ("peft", "diffusers"):
        return _positive(metadata.get("ss_network_alpha"))
    try:
        told = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return None
    alphas = {told.get(f"{part}.lora_alpha") for part in ("unet", "text_encoder", "text_encoder_2")} - {None}
    if len(alphas) == 1:
        return _positive(str(alphas.pop()))
    silent = not alphas and not any(name.endswith(".alpha") for name in tensors)
    return float(min(ranks)) if silent and len(ranks) == 1 else None


def _positive(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value and 0 < value < float("inf") else None
