"""SDXL and its fine-tunes (Pony, Illustrious, NoobAI): two text encoders, and a U-Net that is told sizes and crop."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.failure import Failure
from lora_lab.train.base_files.parts import Asked, TextPart
from lora_lab.train.convolutions import convolution_layers
from lora_lab.train.data.tokens import Text, chunk_ids, join_states
from lora_lab.train.families.base import Base, Encoded
from lora_lab.train.families.stability_names import stability_names
from lora_lab.train.families.stable_diffusion import TEXT_TARGETS, StableDiffusion, targets

_PENULTIMATE = -2


class SDXL(StableDiffusion):
    """The family of Stable Diffusion XL base 1.0.

    CLIP ViT-L and OpenCLIP ViT-bigG, states of 768 + 1280 = 2048 beside each other, and bigG's projection of the whole
    caption (Podell et al. 2023, arXiv:2307.01952).
    """

    name = "sdxl"
    pad_token = "<|endoftext|>"
    implementation = "https://github.com/Stability-AI/generative-models"

    @property
    def texts(self) -> tuple[TextPart, ...]:
        """CLIP, whose captions are padded with the end token; OpenCLIP, with "!", which is token 0."""
        return (
            TextPart("text_encoder", "tokenizer", "conditioner.embedders.0.", self.pad_token),
            TextPart("text_encoder_2", "tokenizer_2", "conditioner.embedders.1.", "!", projected=True),
        )

    def base_model_version(self, v_prediction: bool) -> str:
        """Return the `ss_base_model_version`, which is the same for v-prediction (modelspec tells)."""
        return "sdxl_base_v1-0"

    def architecture(self, v_prediction: bool) -> str:
        """Return the `modelspec.architecture`, which is the same for v-prediction."""
        return "stable-diffusion-xl-v1-base/lora"

    def load(self, asked: Asked) -> Base:
        """Load as every family; also raises Failure for a U-Net that wants to be told something else than sizes."""
        base = super().load(asked)
        unet: Any = base.unet
        told, sizes = unet.config.projection_class_embeddings_input_dim, 6 * (unet.config.addition_time_embed_dim or 0)
        encoders: Any = base.text_encoders
        deaf = "text" not in asked.later and told != encoders[1].config.projection_dim + sizes
        if unet.config.addition_embed_type != "text_time" or deaf:
            raise Failure(
                f"base_model {asked.path} has a U-Net that does not listen to its second text encoder",
                "give SDXL's base model or a fine-tune of it, not its refiner or a distilled one",
            )
        return base

    def layers(self, base: Base, text: bool = True) -> dict[str, tuple[nn.Module, str]]:
        """Return what sd-scripts' networks.lora adapts: 72 + 192 layers of the text encoders, 722 of the U-Net."""
        own = [
            targets(encoder, TEXT_TARGETS, f"lora_te{number}_text_model")
            for number, encoder in enumerate(base.text_encoders if text else (), 1)
        ]
        unet = targets(base.unet, ("Transformer2DModel",), "lora_unet", stability_names(base.unet))
        return {name: place for part in (*own, unet) for name, place in part.items()}

    def convolutions(self, base: Base) -> dict[str, tuple[nn.Module, str]]:
        """Return what is adapted beside that with `conv_dim`: 66 layers."""
        return convolution_layers(base.unet, stability_names(base.unet))

    def other_names(self, base: Base, text: bool = True) -> Mapping[str, str]:
        """Return the paths of diffusers' U-Net, and the text encoder without its number, each with the name here."""
        plain = (*targets(base.unet, ("Transformer2DModel",), "lora_unet"), *convolution_layers(base.unet))
        own = {**self.layers(base, text), **self.convolutions(base)}
        unet = dict(zip(plain, (name for name in own if name.startswith("lora_unet")), strict=True))
        return unet | {name.replace("lora_te1", "lora_te", 1): name for name in own if name.startswith("lora_te1")}

    def tokenize(self, base: Base, caption: Text, max_clip_token_length: int) -> Tensor:
        """Token ids of a caption in chunks of 75, int64 (2, chunks, 77): one row for each text encoder."""
        return torch.stack([chunk_ids(one, caption, max_clip_token_length) for one in base.tokenizers])

    def encode(self, base: Base, ids: Tensor, clip_skip: int) -> Encoded:
        """Text states for ids (n, 2, chunks, 77), and the pooled caption.

        The states are those of the last layer but one, without the final layer norm, whatever `clip_skip` says: so the
        U-Net was trained. The pooled caption is the projection of OpenCLIP's last layer, after its norm, at the first
        end token of the first chunk. Source: sd-scripts `strategy_sdxl.SdxlTextEncodingStrategy`.
        """
        count, _, chunks, _ = ids.shape
        first, second = (
            encoder(ids[:, place].flatten(0, 1), output_hidden_states=True)
            for place, encoder in enumerate(base.text_encoders)
        )
        states = torch.cat([answer.hidden_states[_PENULTIMATE] for answer in (first, second)], dim=-1)
        last = second.last_hidden_state.unflatten(0, (count, chunks))[:, 0]
        ends = (ids[:, 1, 0] == base.tokenizers[1].eos_token_id).int().argmax(dim=-1)
        encoder: Any = base.text_encoders[1]
        pooled = encoder.text_projection(last[torch.arange(count, device=last.device), ends])
        return Encoded(join_states(states.unflatten(0, (count, chunks))), pooled)

    def predict(self, base: Base, noisy: Tensor, t: Tensor, text: Encoded, sizes: Tensor | None = None) -> Tensor:
        """Return the U-Net's prediction, float32, same shape as `noisy`; `sizes` (n, 6) are those of `Family`."""
        assert sizes is not None
        told = {"text_embeds": text.pooled, "time_ids": sizes}
        answer = base.unet(noisy.to(next(base.unet.parameters()).dtype), t, text.states, added_cond_kwargs=told)
        return answer.sample.float()
