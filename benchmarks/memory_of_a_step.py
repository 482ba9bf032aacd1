"""Bytes that a training step holds at its peak, counted without a GPU: the basis of `lora_lab.lint.gpu_memory`.

The real U-Nets, text encoders and VAE are built as fake tensors, which have shapes and no numbers, and adapters are put
on them by the trainer. A step runs forward, backward and through AdamW, and every tensor that is alive is counted.
What is not in the count: the slack of the allocator, the workspaces of libraries, the context of CUDA.

    python benchmarks/memory_of_a_step.py [sd1] [sd2] [sdxl] [vae]
"""

import itertools
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_lab.train.pack import AdapterOptions, Pack

MIB = 2**20
RANK = 32
CLIP_L: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
OPEN_CLIP_H: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
OPEN_CLIP_H |= {"num_hidden_layers": 23, "hidden_act": "gelu"}
OPEN_CLIP_G: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20}
OPEN_CLIP_G |= {"num_hidden_layers": 32, "hidden_act": "gelu", "projection_dim": 1280}
SD: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
SD2: dict[str, Any] = {
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}
SDXL: dict[str, Any] = {
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2, 10],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FAMILIES = {"sd1": (SD, (CLIP_L,)), "sd2": (SD2, (OPEN_CLIP_H,)), "sdxl": (SDXL, (CLIP_L, OPEN_CLIP_G))}


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


@contextmanager
def norms_as_on_cuda() -> Iterator[None]:
    """Within: norms compute in float32 under autocast, as CUDA's autocast has it and that of the CPU has not."""
    layer, group = functional.layer_norm, functional.group_norm

    def in_float32(kind: Any) -> Any:
        def norm(x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                weight, bias = (None if p is None else p.float() for p in (weight, bias))
                return kind(x.float(), shape, weight, bias, eps)

        return norm

    functional.layer_norm, functional.group_norm = in_float32(layer), in_float32(group)
    try:
        yield
    finally:
        functional.layer_norm, functional.group_norm = layer, group


def _adapted(unet: Any, encoders: list[Any]) -> dict[str, tuple[Any, str]]:
    """Return the layers that sd-scripts adapts, as the families do."""
    found: dict[str, tuple[Any, str]] = {}
    kinds = (("lora_unet", unet, "Transformer2DModel"), *((f"lora_te{n}", e, "CLIP") for n, e in enumerate(encoders)))
    for prefix, model, kind in kinds:
        for path, owner in model.named_modules():
            name = type(owner).__name__
            if not (name.startswith(kind) and (kind != "CLIP" or name.endswith(("Attention", "MLP")))):
                continue
            for inner, layer in list(owner.named_modules()):
                if isinstance(layer, torch.nn.Linear) or getattr(layer, "kernel_size", None) == (1, 1):
                    parent, _, attribute = inner.rpartition(".")
                    found[f"{prefix}.{path}.{inner}"] = (owner.get_submodule(parent), attribute)
    return found


def step(family: str, side: int, batch: int, checkpointing: bool, text: bool, dtype: torch.dtype) -> tuple[int, int]:
    """Return bytes at rest (base, adapters, AdamW's states) and the bytes at the peak of a step beyond them."""
    options, encoder_options = FAMILIES[family]
    with FakeTensorMode(), norms_as_on_cuda(), Alive() as alive:
        torch.set_default_dtype(dtype)
        unet = UNet2DConditionModel(**options).requires_grad_(False)
        encoders: list[Any] = []
        for one in encoder_options:
            kind = CLIPTextModelWithProjection if "projection_dim" in one else CLIPTextModel
            encoders.append(kind(CLIPTextConfig(**one)).requires_grad_(False))
        torch.set_default_dtype(torch.float32)
        for model in (unet, *encoders):
            model.train(checkpointing)
        if checkpointing:
            unet.enable_gradient_checkpointing()
            for encoder in encoders:
                getattr(encoder, "activation_checkpointing_enable", encoder.gradient_checkpointing_enable)(
                    {"use_reentrant": False}
                )
        pack = Pack(_adapted(unet, encoders))
        pack.add(0, AdapterOptions(rank=RANK, alpha=1, dropout=0, unet=True, text_encoder=text, seed=0))
        trained = [side for _, weights in pack.weights(0) for side in (weights.down, weights.up)]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, foreach=True)
        for turn in range(2):
            if turn:
                rest, alive.peak = alive.now, alive.now
            _learn(unet, encoders, pack, optimizer, (side // 8, batch, text, dtype))
        return rest, alive.peak - rest


def _learn(unet: Any, encoders: list[Any], pack: Pack, optimizer: Any, how: tuple[int, int, bool, torch.dtype]) -> None:
    side, batch, text, dtype = how
    noisy = torch.randn(batch, 4, side, side)
    ids = torch.ones(batch, 77, dtype=torch.int64)
    with pack.serving(0, training=True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            with torch.set_grad_enabled(text):
                states = torch.cat([e(ids, output_hidden_states=True).hidden_states[-1] for e in encoders], dim=-1)
            more = {"text_embeds": torch.randn(batch, 1280), "time_ids": torch.ones(batch, 6)}
            t = torch.ones(batch, dtype=torch.int64)
            predicted = unet(noisy.to(dtype), t, states.to(dtype), added_cond_kwargs=more).sample.float()
        ((predicted - noisy) ** 2).mean().backward()  # within: checkpointing computes the same again
    optimizer.step()
    optimizer.zero_grad()


def vae(side: int, batch: int) -> int:
    """Return the bytes at the peak of encoding pictures in float32, beyond the VAE's weights."""
    with FakeTensorMode(), torch.no_grad(), Alive() as alive:
        model = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        pixels = torch.zeros(batch, 3, side, side)
        rest, alive.peak = alive.now, alive.now
        model.encode(pixels)
        return alive.peak - rest


def main() -> None:
    """Print a line for each case."""
    wanted = sys.argv[1:] or [*FAMILIES, "vae"]
    for family in wanted:
        if family == "vae":
            for side, batch in itertools.product((512, 768, 1024), (1, 8)):
                print(f"vae {side} batch {batch}: {vae(side, batch) / MIB:8.0f} MiB")
            continue
        switches = ((torch.bfloat16, torch.float32), (False, True), (False, True))
        for dtype, text, checkpointing in itertools.product(*switches):
            for side, batch in ((512, 1), (512, 4), (1024, 1)):
                rest, peak = step(family, side, batch, checkpointing, text, dtype)
                name = f"{family} {str(dtype)[6:]} text={text:d} checkpointing={checkpointing:d}"
                print(f"{name} {side} batch {batch}: rest {rest / MIB:6.0f}, step {peak / MIB:7.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
