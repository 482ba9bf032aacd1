"""torch.compile for the blocks of a U-Net that occur many times, where a config asks for it.

Only the transformer blocks are compiled, each kind once and used wherever it occurs ("regional compilation" in the
documentation of PyTorch and diffusers): that takes a fraction of the time that the whole U-Net would need.
"""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from lora_lab.config import TrainConfig

MOST_SHAPES = 64
"""Of one block: each width of the U-Net, each shape of a pack, with and without gradients is compiled by itself.

PyTorch's own limit is 8, after which a block runs uncompiled and says so in a log only.
"""

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that tells PyTorch where compiled code lies; it also goes to the processes that compile."""


def choose(unet: nn.Module, config: TrainConfig, device: torch.device, warn: Callable[[str], None]) -> None:
    """Have a U-Net's blocks compiled or not, also where an earlier run of the process chose otherwise."""
    blocks = list(repeated(unet))
    if not config.torch_compile:
        for block in blocks:
            block._compiled_call_impl = None
    elif not any(block._compiled_call_impl for block in blocks):
        missing = what_is_missing(device)
        if missing:
            warn(f"torch_compile does not work on this machine, so nothing is compiled: {missing}")
            return
        for block in blocks:
            block.compile()


def repeated(unet: Any) -> Iterator[nn.Module]:
    """Yield the blocks that diffusers says are worth compiling by themselves."""
    return (module for module in unet.modules() if type(module).__name__ in unet._repeated_blocks)


def what_is_missing(device: torch.device) -> str:
    """Compile something small and run it, forwards and backwards; "" where that works."""
    try:
        _set_up()
        value = torch.ones(8, device=device, requires_grad=True)
        torch.compile(_something)(value).backward()
    except Exception as error:
        return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ""


def _something(x: torch.Tensor) -> torch.Tensor:
    return (x * x).sin().sum()


@functools.cache
def _set_up() -> None:
    """Set the compiler up, once a process.

    By default it keeps pickles, code and headers for later processes in folders whose names anyone on the machine can
    guess. Here all of it lies in a folder of the process' own, and goes with it.
    """
    folder = os.environ[FOLDER] = tempfile.mkdtemp(prefix="lora-lab-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    usual, tempfile.tempdir = tempfile.tempdir, folder
    try:
        import torch._inductor.codecache  # noqa: PLC0415 -- finds the place of its headers when it is imported
    finally:
        tempfile.tempdir = usual
    import torch._dynamo  # noqa: PLC0415 -- takes a second, and few runs ask for it
    import torch._functorch.config  # noqa: PLC0415
    import torch._inductor.config  # noqa: PLC0415

    dynamo: Any = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, MOST_SHAPES)
    inductor: Any = torch._inductor.config
    inductor.fallback_random = True  # dropout draws the numbers that it draws uncompiled
    inductor.fx_graph_cache = False
    autograd: Any = torch._functorch.config
    autograd.enable_autograd_cache = False
