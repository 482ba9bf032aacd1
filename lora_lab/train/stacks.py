"""The matrices of a pack's adapters one above the other, for the length of a step.

A batched product wants them in one tensor. Put together anew in each layer, that is an operation for each adapter whose
rank is not the largest, and on the way back one for each adapter: most of what a small step consists of. Here all are
copied at once before a step, and their gradients are handed out at once after it, where they can as views.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stack(NamedTuple):
    """Parameters of some adapters in one leaf tensor (K, …), and their places in it; missing ranks stay zeros."""

    whole: Tensor
    parts: Sequence[Tensor]
    parameters: Sequence[nn.Parameter]
    rank_at: int  # the dimension of a parameter that its rank is the length of


def stack_of(parameters: Sequence[nn.Parameter], rank_at: int) -> Stack:
    """Make room for parameters that differ in their ranks at most."""
    rank = max(parameter.shape[rank_at] for parameter in parameters)
    shape = list(parameters[0].shape)
    shape[rank_at] = rank
    whole = parameters[0].new_zeros((len(parameters), *shape))
    places = [whole[place].narrow(rank_at, 0, p.shape[rank_at]) for place, p in enumerate(parameters)]
    return Stack(whole, places, parameters, rank_at)


def by_name(members: Sequence[nn.Module], rank_at: Mapping[str, int]) -> dict[str, Stack]:
    """Make a stack for each of some parameters that all members have, by its name."""
    return {name: stack_of([getattr(member, name) for member in members], place) for name, place in rank_at.items()}


@torch.no_grad()
def fill(stacks: Iterable[Stack]) -> None:
    """Copy the parameters to their places, all at once, and let gradients gather there."""
    even: tuple[list[Tensor], list[Tensor]] = [], []
    uneven: tuple[list[Tensor], list[Tensor]] = [], []
    for stack in stacks:
        stack.whole.requires_grad_(any(parameter.requires_grad for parameter in stack.parameters))
        for part, parameter in zip(stack.parts, stack.parameters, strict=True):
            to, source = even if part.is_contiguous() else uneven  # one odd one would have all copied one by one
            to.append(part)
            source.append(parameter)
    for to, source in (even, uneven):
        if to:
            torch._foreach_copy_(to, source)


def hand_out(stacks: Iterable[Stack]) -> None:
    """Give each parameter its part of the gradient that has gathered, contiguous as the optimizers want it."""
    for stack in stacks:
        whole, stack.whole.grad = stack.whole.grad, None
        if whole is None:
            continue
        for grad, parameter in zip(whole, stack.parameters, strict=True):
            if parameter.requires_grad:
                parameter.grad = grad.narrow(stack.rank_at, 0, parameter.shape[stack.rank_at]).contiguous()
