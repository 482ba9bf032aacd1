"""What every family gives to the trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Base:
    """A frozen base model in memory. `hash` is the SHA-256 of its weight files, `vae_hash` that of the VAE's."""

    name: str
    path: Path
    unet: nn.Module
    text_encoder: nn.Module
    vae: nn.Module
    tokenizer: Any
    alphas_cumprod: Tensor  # float32 (1000,)
    scaling_factor: float
    text_layers: int
    prediction_type: str
    hash: str
    vae_hash: str


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
    base_model_version: str  # `ss_base_model_version` of a LoRA trained on it
    architecture: str  # `modelspec.architecture`

    def __hash__(self) -> int:
        """Families are keys of the cache of loaded bases."""

    def load(self, path: Path, vae: Path | None, precision: str, device: str) -> Base:
        """Load the parts, frozen. Raises Failure when the folder is not such a model."""

    def layers(self, base: Base) -> dict[str, tuple[nn.Module, str]]:
        """Name of each layer to adapt in the LoRA file, with its owner and attribute; text encoder first."""

    def tokenize(self, base: Base, caption: str, max_clip_token_length: int) -> Tensor:
        """Token ids of a caption, int64 (chunks, 77)."""

    def encode(self, base: Base, ids: Tensor, clip_skip: int) -> Encoded:
        """Text states for ids (n, chunks, 77)."""

    def predict(self, base: Base, noisy: Tensor, t: Tensor, text: Encoded) -> Tensor:
        """The U-Net's prediction, same shape as `noisy`."""
