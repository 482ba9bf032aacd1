"""Numbers from main memory to where the base lies."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of main memory to a device; a GPU does not have to finish first what it was told so far.

    CUDA has read ordinary (pageable) memory when the call returns, so the tensor may be freed or changed at once.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")
