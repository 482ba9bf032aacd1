"""What every family gives to the trainer."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lora_lab.train.base_files.hashes import Hashes
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.data.tokens import Text


@dataclass(frozen=True)
class Base:
    """A frozen base model in memory.

    `alphas_cumprod` is that of training, rescaled where it was asked to end in pure noise; `own_alphas_cumprod` is the
    model's own, by which loss weights go (sd-scripts prepares its SNRs before it rescales). `hash` is the SHA-256 of
    the weights, `vae_hash` that of the VAE's; the old ones are the 8 hex digits that older user interfaces go by. Text
    encoders, VAE and tokenizers may be loaded only when they are first used.
    """

    name: str
    path: Path
    unet: nn.Module
    text_encoders: Sequence[nn.Module]
    vae: nn.Module
    tokenizers: Sequence[Any]
    alphas_cumprod: Tensor  # float32 (1000,)
    own_alphas_cumprod: Tensor  # float32 (1000,)
    scaling_factor: float
    text_layers: int  # of the deepest text encoder
    prediction_type: str
    hash: str
    vae_hash: str
    old_hash: str = ""
    old_vae_hash: str = ""
    merged: str = ""  # what LoRA files were merged into the weights, as a hash; "" where none were
    text_merged: bool = False  # into those of a text encoder too

    @property
    def content(self) -> str:
        """A hash of the weights as they are, with what is merged into them."""
        return hashlib.sha256(f"{self.hash}+{self.merged}".encode()).hexdigest() if self.merged else self.hash

    @property
    def text_content(self) -> str:
        """The same of the text encoders."""
        return self.content if self.text_merged else self.hash


@dataclass(frozen=True)
class Encoded:
    """The text encoders' answer, ready for the U-Net."""

    states: Tensor  # (n, tokens, width)
    pooled: Tensor | None = None  # (n, width of the projection), where the family has one vector for a whole caption

    def part(self, places: Sequence[int]) -> "Encoded":
        """The answer for some of the batch."""
        chosen = list(places)
        return Encoded(self.states[chosen], None if self.pooled is None else self.pooled[chosen])

    @staticmethod
    def join(parts: Sequence["Encoded"]) -> "Encoded":
        """The answers for several parts of a batch as one, in their order."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Encoded(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)


class Family(Protocol):
    """One model family: how to load it, what to adapt, how to ask it."""

    name: str
    implementation: str  # what `modelspec.implementation` says of its LoRAs

    def __hash__(self) -> int:
        """Families are keys of the cache of loaded bases."""

    def base_model_version(self, v_prediction: bool) -> str:
        """Return the `ss_base_model_version` of a LoRA trained on it."""

    def architecture(self, v_prediction: bool) -> str:
        """Return the `modelspec.architecture` of a LoRA trained on it."""

    def load(self, asked: Asked) -> Base:
        """Load the parts, frozen. Raises Failure when the file or folder is not such a model."""

    def hashes(self, asked: Asked) -> tuple[Hashes, Hashes]:
        """Name the base and its VAE by their content, without loading them."""

    def layers(self, base: Base, text: bool = True) -> dict[str, tuple[nn.Module, str]]:
        """Name of each layer to adapt in the LoRA file, with its owner and attribute; text encoders first.

        Without `text` those of the U-Net alone, and no text encoder is loaded.
        """

    def convolutions(self, base: Base) -> dict[str, tuple[nn.Module, str]]:
        """The same of the layers that are adapted beside them where a LoRA has a `conv_dim`."""

    def other_names(self, base: Base, text: bool = True) -> Mapping[str, str]:
        """What other programs call these layers in kohya's format, each with its own name here; `text` as above."""

    def tokenizer_files(self, base: Base) -> tuple[Path, ...]:
        """Return what decides the ids of a caption: the files of the tokenizers."""

    def tokenize(self, base: Base, caption: Text, max_clip_token_length: int) -> Tensor:
        """Token ids of a caption, int64 (chunks, 77), or (encoders, chunks, 77) with several text encoders."""

    def encode(self, base: Base, ids: Tensor, clip_skip: int) -> Encoded:
        """Text states for ids (n, ...) as `tokenize` makes them."""

    def predict(self, base: Base, noisy: Tensor, t: Tensor, text: Encoded, sizes: Tensor) -> Tensor:
        """The U-Net's prediction, same shape as `noisy`.

        `sizes` (n, 6) are pixels: height and width of the original picture, top and left of the crop, height and width
        of what is drawn. Families without such a conditioning do not look at them.
        """
