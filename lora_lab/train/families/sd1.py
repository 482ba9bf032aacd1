"""Stable Diffusion 1.x from a diffusers folder: CLIP ViT-L text encoder, U-Net, VAE."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.failure import Failure
from lora_lab.train.data.tokens import chunk_ids, join_states
from lora_lab.train.families.base import Base, Encoded
from lora_lab.train.noise import alphas_cumprod

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PARTS = ("unet", "text_encoder", "vae", "tokenizer", "scheduler")
TEXT_TARGETS = ("CLIPAttention", "CLIPSdpaAttention", "CLIPFlashAttention2", "CLIPMLP")


class SD1:
    """The family of Stable Diffusion 1.x and its fine-tunes."""

    name = "sd1"
    base_model_version = "sd_v1"
    architecture = "stable-diffusion-v1/lora"

    def load(self, path: Path, vae: Path | None, precision: str, device: str) -> Base:
        """Load U-Net, text encoder, VAE and tokenizer of a diffusers folder, offline, frozen.

        U-Net and text encoder are held in the precision of training, the VAE in float32, which no picture overflows.
        Raises Failure when a part is missing, damaged or of another family.
        """
        from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: PLC0415  # seconds; a bad folder fails first
        from transformers import CLIPTextModel, CLIPTokenizer  # noqa: PLC0415

        schedule = read_schedule(path)
        dtype = DTYPES[precision]
        unet = _load_model(UNet2DConditionModel, path / "unet", dtype)
        text_encoder = _load_model(CLIPTextModel, path / "text_encoder", dtype)
        encoder = _load_model(AutoencoderKL, vae_folder(path, vae), torch.float32)
        if text_encoder.config.hidden_size != unet.config.cross_attention_dim:
            raise Failure(
                f"{path / 'text_encoder'} gives states of width {text_encoder.config.hidden_size}, "
                f"the U-Net wants {unet.config.cross_attention_dim}",
                "the folder mixes two models; copy it anew",
            )
        tokenizer = _load(CLIPTokenizer, path / "tokenizer")
        if tokenizer.model_max_length != 77 or len(tokenizer) != text_encoder.config.vocab_size:
            raise Failure(
                f"{path / 'tokenizer'} does not fit its text encoder", "the folder is incomplete; copy it anew"
            )
        for model in (unet, text_encoder, encoder):
            model.requires_grad_(False).eval().to(device)
        return Base(
            name=path.name,
            path=path,
            unet=unet,
            text_encoder=text_encoder,
            vae=encoder,
            tokenizer=tokenizer,
            alphas_cumprod=alphas_cumprod(schedule["beta_start"], schedule["beta_end"]).to(device),
            scaling_factor=encoder.config.scaling_factor,
            text_layers=text_encoder.config.num_hidden_layers,
            prediction_type=schedule.get("prediction_type", "epsilon"),
            hash=hash_weights(path / "unet", path / "text_encoder"),
            vae_hash=hash_weights(vae_folder(path, vae)),
        )

    def layers(self, base: Base) -> dict[str, tuple[nn.Module, str]]:
        """Return what sd-scripts' networks.lora adapts.

        Every Linear of the text encoder's attention and MLP, every Linear and 1 × 1 convolution of the U-Net's
        transformer blocks.
        """
        text = _targets(base.text_encoder, TEXT_TARGETS, "lora_te_text_model")
        return {**text, **_targets(base.unet, ("Transformer2DModel",), "lora_unet")}

    def tokenize(self, base: Base, caption: str, max_clip_token_length: int) -> Tensor:
        """Token ids of a caption in chunks of 75, int64 (chunks, 77)."""
        return chunk_ids(base.tokenizer, caption, max_clip_token_length)

    def encode(self, base: Base, ids: Tensor, clip_skip: int) -> Encoded:
        """Text states for ids (n, chunks, 77): layer −clip_skip, then the final layer norm, chunks joined."""
        count, chunks, _ = ids.shape
        answer = base.text_encoder(ids.flatten(0, 1), output_hidden_states=True)
        inner: Any = getattr(base.text_encoder, "text_model", base.text_encoder)
        states = inner.final_layer_norm(answer.hidden_states[-clip_skip])
        return Encoded(torch.stack([join_states(part) for part in states.unflatten(0, (count, chunks))]))

    def predict(self, base: Base, noisy: Tensor, t: Tensor, text: Encoded) -> Tensor:
        """Return the U-Net's prediction, float32, same shape as `noisy`."""
        answer = base.unet(noisy.to(next(base.unet.parameters()).dtype), t, text.states)
        return answer.sample.float()


def vae_folder(path: Path, vae: Path | None) -> Path:
    """Return the folder of the VAE: the base's own, or the one that the config names."""
    if vae is None:
        return path / "vae"
    return vae / "vae" if (vae / "vae").is_dir() else vae


def read_schedule(path: Path) -> dict[str, Any]:
    """Check that a folder looks like SD 1.x in diffusers' layout and return its noise schedule's settings."""
    if path.is_file():
        raise Failure(f"base_model {path} is a single file", "give a diffusers folder; single files come later")
    if not path.is_dir():
        raise Failure(f"base_model {path} does not exist", "give the path of a diffusers folder")
    missing = [part for part in ("model_index.json", *PARTS) if not (path / part).exists()]
    if missing:
        raise Failure(
            f"base_model {path} is not a diffusers folder: it has no {', '.join(missing)}",
            "give the folder that holds model_index.json, unet, text_encoder, vae, tokenizer and scheduler",
        )
    index = read_json(path / "model_index.json")
    if "text_encoder_2" in index or (path / "text_encoder_2").exists():
        raise Failure(f"base_model {path} is an SDXL model", "only SD 1.x can be trained so far")
    if read_json(path / "unet" / "config.json").get("cross_attention_dim") == 1024:
        raise Failure(f"base_model {path} is an SD 2.x model", "only SD 1.x can be trained so far")
    schedule = read_json(path / "scheduler" / "scheduler_config.json")
    if schedule.get("beta_schedule", "scaled_linear") != "scaled_linear" or schedule.get("trained_betas"):
        raise Failure(f"base_model {path} has a noise schedule of its own", "only scaled_linear can be trained so far")
    return {"beta_start": 0.00085, "beta_end": 0.012, **schedule}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a model's JSON file. Raises Failure when there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{path} cannot be read: {error}", "the model folder is damaged; copy it anew") from error
    if not isinstance(value, dict):
        raise Failure(f"{path} is not a JSON object", "the model folder is damaged; copy it anew")
    return value


def hash_weights(*folders: Path) -> str:
    """SHA-256 over the weight files of some folders, in order of their names."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _load_model(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load a model; what its files lack is a Failure, where the libraries would go on with random numbers."""
    key = "dtype" if kind.__module__.startswith("transformers") else "torch_dtype"
    model, told = _load(kind, folder, output_loading_info=True, **{key: dtype})
    wrong = [*told["missing_keys"], *told["mismatched_keys"]]
    if wrong:
        raise Failure(f"{folder} has no fitting weights for {wrong[0]}", "the model folder is damaged; copy it anew")
    return model


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        with _no_bars():
            return kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # the libraries raise anything here, from OSError to KeyError
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Failure(f"{folder} cannot be loaded: {line}", "the model folder is damaged; copy it anew") from error


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Within: the libraries draw no progress bars over ours."""
    from diffusers.utils import logging as diffusers_logging  # noqa: PLC0415  # as above
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    shown = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()


def _targets(model: nn.Module, kinds: tuple[str, ...], prefix: str) -> dict[str, tuple[nn.Module, str]]:
    found: dict[str, tuple[nn.Module, str]] = {}
    for path, owner in model.named_modules():
        if type(owner).__name__ not in kinds:
            continue
        for inner, layer in owner.named_modules():
            pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
            if isinstance(layer, nn.Linear) or pointwise:
                where = f"{path}.{inner}".removeprefix("text_model.")
                parent, _, attribute = inner.rpartition(".")
                found[f"{prefix}.{where}".replace(".", "_")] = (owner.get_submodule(parent), attribute)
    return found
