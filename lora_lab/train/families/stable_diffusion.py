"""What the Stable Diffusion families have in common: CLIP text encoders, a U-Net, a VAE; file, folder or hub."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.train import noise
from lora_lab.train.base_files.folder import load_folder
from lora_lab.train.base_files.hashes import Hashes, hashes_of
from lora_lab.train.base_files.parts import Asked, TextPart
from lora_lab.train.base_files.single_file import LAYOUTS, TOKENIZER, load_file
from lora_lab.train.base_files.vae import vae_folder
from lora_lab.train.convolutions import convolution_layers
from lora_lab.train.data.tokens import Text, chunk_ids, join_states
from lora_lab.train.families.base import Base, Encoded
from lora_lab.train.families.sniff import check_header

TEXT_TARGETS = ("CLIPAttention", "CLIPSdpaAttention", "CLIPFlashAttention2", "CLIPMLP")


class StableDiffusion:
    """A family of one text encoder. `layout` is the folder of the configs that a single file is read by."""

    name: str
    pad_token: str
    implementation = "diffusers"

    def __init__(self, layout: Path | None = None) -> None:
        self.layout = layout or LAYOUTS / self.name

    @property
    def texts(self) -> tuple[TextPart, ...]:
        """The text encoders, in the order of their ids."""
        return (TextPart("text_encoder", "tokenizer", "cond_stage_model.", self.pad_token),)

    def load(self, asked: Asked) -> Base:
        """Load U-Net, text encoders, VAE and tokenizers of a file or folder, offline, frozen.

        U-Net and text encoders are held in the precision of training, the VAE in float32, which no picture overflows.
        Raises Failure when a part is missing, damaged or of another family.
        """
        path = asked.path
        header = check_header(path, self.name)
        load_parts = load_file if path.is_file() else load_folder
        with ThreadPoolExecutor(1) as beside:
            named = beside.submit(self.hashes, asked)
            parts = load_parts(asked, self.layout, self.texts)
            if "text" not in asked.later:
                _ = parts.text_encoders[0], parts.tokenizers[0]
            if "vae" not in asked.later:
                _ = parts.vae.training
            hashes, vae_hashes = named.result()
        own = noise.alphas_cumprod(parts.beta_start, parts.beta_end)
        assumed = "v_prediction" if asked.v_prediction else "epsilon"
        return Base(
            name=path.name,
            path=path,
            unet=parts.unet,
            text_encoders=parts.text_encoders,
            vae=parts.vae,
            tokenizers=parts.tokenizers,
            alphas_cumprod=(noise.zero_terminal(own) if asked.zero_terminal_snr else own).to(asked.device),
            own_alphas_cumprod=own.to(asked.device),
            scaling_factor=parts.scaling_factor,
            text_layers=parts.text_layers,
            prediction_type=parts.prediction or header.prediction or assumed,
            hash=hashes.full,
            vae_hash=vae_hashes.full,
            old_hash=hashes.old,
            old_vae_hash=vae_hashes.old,
        )

    def hashes(self, asked: Asked) -> tuple[Hashes, Hashes]:
        """Name the base and its VAE by their content: seconds where a file was never read before, else none."""
        base = hashes_of(asked.path, "unet", *(text.encoder for text in self.texts))
        return base, _vae_hashes(asked, base)

    def tokenizer_files(self, base: Base) -> tuple[Path, ...]:
        """Return what decides the ids of a caption: the files of the tokenizers."""
        folders = [base.path / text.tokenizer for text in self.texts] if base.path.is_dir() else [TOKENIZER]
        return tuple(file for folder in folders for file in sorted(folder.glob("*")) if file.is_file())

    def layers(self, base: Base, text: bool = True) -> dict[str, tuple[nn.Module, str]]:
        """Return what sd-scripts' networks.lora adapts.

        Every Linear of the text encoder's attention and MLP, every Linear and 1 × 1 convolution of the U-Net's
        transformer blocks.
        """
        first = targets(base.text_encoders[0], TEXT_TARGETS, "lora_te_text_model") if text else {}
        return {**first, **targets(base.unet, ("Transformer2DModel",), "lora_unet")}

    def convolutions(self, base: Base) -> dict[str, tuple[nn.Module, str]]:
        """Return what sd-scripts' networks.lora adapts beside that with `conv_dim`."""
        return convolution_layers(base.unet)

    def other_names(self, base: Base, text: bool = True) -> Mapping[str, str]:
        """Return nothing: all programs have the same names."""
        return {}

    def tokenize(self, base: Base, caption: Text, max_clip_token_length: int) -> Tensor:
        """Token ids of a caption in chunks of 75, int64 (chunks, 77)."""
        return chunk_ids(base.tokenizers[0], caption, max_clip_token_length)

    def encode(self, base: Base, ids: Tensor, clip_skip: int) -> Encoded:
        """Text states for ids (n, chunks, 77): layer −clip_skip, then the final layer norm, chunks joined."""
        count, chunks, _ = ids.shape
        (encoder,) = base.text_encoders
        answer = encoder(ids.flatten(0, 1), output_hidden_states=True)
        inner: Any = getattr(encoder, "text_model", encoder)
        states = inner.final_layer_norm(answer.hidden_states[-clip_skip])
        return Encoded(torch.stack([join_states(part) for part in states.unflatten(0, (count, chunks))]))

    def predict(self, base: Base, noisy: Tensor, t: Tensor, text: Encoded, sizes: Tensor | None = None) -> Tensor:
        """Return the U-Net's prediction, float32, same shape as `noisy`; it knows nothing of sizes."""
        answer = base.unet(noisy.to(next(base.unet.parameters()).dtype), t, text.states)
        return answer.sample.float()


def _vae_hashes(asked: Asked, base: Hashes) -> Hashes:
    """Name the VAE: by its own file, by its folder's weights, or by the file of the model that it lies in."""
    if asked.vae is None and asked.path.is_file():
        return base
    path = asked.vae or asked.path
    return hashes_of(path if path.is_file() else vae_folder(path))


def targets(
    model: nn.Module, kinds: tuple[str, ...], prefix: str, rename: Callable[[str], str] = str
) -> dict[str, tuple[nn.Module, str]]:
    """Return every Linear and 1 × 1 convolution inside modules of some kinds, by its name in a LoRA file.

    The name is that of the layer's path, or of what `rename` makes of it.
    """
    found: dict[str, tuple[nn.Module, str]] = {}
    for path, owner in model.named_modules():
        if type(owner).__name__ not in kinds:
            continue
        for inner, layer in owner.named_modules():
            pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
            if isinstance(layer, nn.Linear) or pointwise:
                where = f"{path}.{inner}".removeprefix("text_model.")
                parent, _, attribute = inner.rpartition(".")
                found[f"{prefix}.{rename(where)}".replace(".", "_")] = (owner.get_submodule(parent), attribute)
    return found
