"""What every family gives to the trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from lora_lab.train.base_files.parts import Asked


@dataclass(frozen=True)
class Base:
    """A frozen base model in memory.

    `alphas_cumprod` is that of training, rescaled where it was asked to end in pure noise; `own_alphas_cumprod` is the
    model's own, by which loss weights go (sd-scripts prepares its SNRs before it rescales). `hash` is the SHA-256 of
    the weights, `vae_hash` that of the VAE's; the old ones are the 8 hex digits that older user interfaces go by.
    """

    name: str
    path: Path
    unet: nn.Module
    text_encoder: nn.Module
    vae: nn.Module
    tokenizer: Any
    alphas_cumprod: Tensor  # float32 (1000,)
    own_alphas_cumprod: Tensor  # float32 (1000,)
    scaling_factor: float
    text_layers: int
    prediction_type: str
    hash: str
    vae_hash: str
    old_hash: str = ""
    old_vae_hash: str = ""


@dataclass(frozen=True)
class Encoded:
    """The text encoder's answer, ready for the U-Net."""

    states: Tensor  # (n, tokens, width)

    def part(self, places: Sequence[int]) -> "Encoded":
        """The answer for some of the batch."""
        return Encoded(self.states[list(places)])


class Family(Protocol):
    """One model family: how to load it, what to adapt, how to ask it."""

    name: str

    def __hash__(self) -> int:
        """Families are keys of the cache of loaded bases."""

    def base_model_version(self, v_prediction: bool) -> str:
        """Return the `ss_base_model_version` of a LoRA trained on it."""

    def architecture(self, v_prediction: bool) -> str:
        """Return the `modelspec.architecture` of a LoRA trained on it."""

    def load(self, asked: Asked) -> Base:
        """Load the parts, frozen. Raises Failure when the file or folder is not such a model."""

    def layers(self, base: Base) -> dict[str, tuple[nn.Module, str]]:
        """Name of each layer to adapt in the LoRA file, with its owner and attribute; text encoder first."""

    def tokenize(self, base: Base, caption: str, max_clip_token_length: int) -> Tensor:
        """Token ids of a caption, int64 (chunks, 77)."""

    def encode(self, base: Base, ids: Tensor, clip_skip: int) -> Encoded:
        """Text states for ids (n, chunks, 77)."""

    def predict(self, base: Base, noisy: Tensor, t: Tensor, text: Encoded) -> Tensor:
        """The U-Net's prediction, same shape as `noisy`."""
