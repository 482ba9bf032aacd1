"""Which kernels compute the attention of a U-Net: the same numbers but for rounding, at a different price."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.train.base_files.narrow import attention

MOST_BYTES = 1 << 29
"""Of one layer's attention scores that may be held: beyond that, memory is worth more than time."""

CACHED_BYTES = 1 << 24
"""Of scores that are made and used at a time: a processor's cache still has them when they are used."""


class ByShape:
    """For bfloat16 on a CPU: two plain products and a softmax, unless their scores are too large.

    PyTorch's own attention, which holds no scores, takes a third more of a whole step there (benchmarks/RESULTS.md);
    in float32 it is the quicker one. A pack's pictures are gone through some at a time: the scores of eight would leave
    the cache, and a pack would be slower than its runs in turn.
    """

    def __init__(self) -> None:
        self._frugal = attention().AttnProcessor2_0()

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Compute the attention of a layer; arguments as diffusers gives them to every processor."""
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        each = attn.heads * hidden_states.shape[1] * seen.shape[1] * hidden_states.element_size()  # bytes a picture
        given = args or any(value is not None for value in kwargs.values())
        if given or _is_special(attn) or each * len(hidden_states) > MOST_BYTES:
            return self._frugal(attn, hidden_states, encoder_hidden_states, *args, **kwargs)
        at_once = max(1, CACHED_BYTES // each)
        parts = (whole.split(at_once) for whole in (attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen)))
        found = [_attended(attn, *part) for part in zip(*parts, strict=True)]
        out, dropout = attn.to_out
        return dropout(out(found[0] if len(found) == 1 else torch.cat(found))) / attn.rescale_output_factor


def _is_special(attn: Any) -> bool:
    """Whether a layer does what no layer of Stable Diffusion's U-Nets does."""
    norms = attn.group_norm, attn.spatial_norm, attn.norm_cross
    return attn.residual_connection or any(norm is not None for norm in norms)


def _attended(attn: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What some pictures' heads see, (n, places, width)."""
    query, key, value = (attn.head_to_batch_dim(part) for part in (query, key, value))
    return attn.batch_to_head_dim(torch.bmm(attn.get_attention_scores(query, key), value))


def choose(unet: Any, config: TrainConfig, device: torch.device, warn: Callable[[str], None]) -> None:
    """Give a U-Net the kernels for a config, also where an earlier run of the process chose others."""
    in_use = any("XFormers" in type(processor).__name__ for processor in unet.attn_processors.values())
    if config.xformers and not in_use:
        try:
            _try_xformers(device, PRECISIONS[config.mixed_precision])
            unet.enable_xformers_memory_efficient_attention()
            return
        except (ValueError, ImportError, NotImplementedError, RuntimeError, AttributeError):
            warn("xformers does not run on this machine; PyTorch's own attention is used, which gives the same result")
    elif config.xformers:
        return
    elif in_use:
        unet.disable_xformers_memory_efficient_attention()
    slow_in_bf16 = device.type == "cpu" and config.mixed_precision == "bf16"
    unet.set_attn_processor(ByShape() if slow_in_bf16 else attention().AttnProcessor2_0())


PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
HEAD_WIDTHS = (40, 64, 80, 160)  # of SD 1.x, SD 2.x and SDXL (64); the widest is what kernels lack first


def _try_xformers(device: torch.device, dtype: torch.dtype) -> None:
    """Run xformers' attention forwards and backwards: it says that it is there where its kernels are not.

    Raises ImportError, NotImplementedError or RuntimeError where it does not run.
    """
    kernel: Any = importlib.import_module("xformers.ops").memory_efficient_attention
    for width in HEAD_WIDTHS:
        query = torch.zeros(1, 16, 2, width, device=device, dtype=dtype, requires_grad=True)
        kernel(query, query, query).sum().backward()
