"""The packaged base model: small, of the SD 1.x architecture, with CLIP's own tokenizer."""

import hashlib
import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

import lora_lab

BASE = Path(lora_lab.__file__).parent / "quickstart" / "base"


def test_weights_are_small_and_fp16() -> None:
    """All weights together stay below 16 MB, and every tensor is fp16."""
    files = sorted(BASE.rglob("*.safetensors"))
    assert [file.parent.name for file in files] == ["text_encoder", "unet", "vae"]
    assert sum(file.stat().st_size for file in files) <= 16_000_000
    for file in files:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        header.pop("__metadata__", None)
        assert {tensor["dtype"] for tensor in header.values()} == {"F16"}


def test_tokenizer_is_clips() -> None:
    """The rebuilt vocabulary and merges have the hashes of openai/clip-vit-large-patch14, 49,408 tokens."""
    assert hashlib.sha256((BASE / "tokenizer" / "vocab.json").read_bytes()).hexdigest().startswith("5047b556")
    assert hashlib.sha256((BASE / "tokenizer" / "merges.txt").read_bytes()).hexdigest().startswith("9fd691f7")
    tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer", local_files_only=True)
    assert len(tokenizer) == 49408
    assert tokenizer.model_max_length == 77
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_plain_diffusers_draws_with_it() -> None:
    """`from_pretrained` without further arguments gives a pipeline whose parts fit, and it draws a picture."""
    pipeline = StableDiffusionPipeline.from_pretrained(BASE, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    draws = torch.Generator().manual_seed(0)
    (picture,) = pipeline("a red circle", width=64, height=64, num_inference_steps=2, generator=draws).images
    assert picture.size == (64, 64)


def test_licence_travels_with_the_table() -> None:
    """CLIP's BPE table is MIT: its licence and copyright lie beside it."""
    text = (BASE / "tokenizer" / "LICENSE").read_text()
    assert "MIT License" in text
    assert "OpenAI" in text
