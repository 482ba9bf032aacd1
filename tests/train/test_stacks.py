"""The matrices of a pack in one tensor for a step: the gradients are those that each would have alone."""

import pytest
import torch
from torch import nn

from lora_lab.train.pack import AdapterOptions, Pack
from lora_lab.train.stacks import fill, hand_out, stack_of


def test_what_is_put_together_and_handed_out() -> None:
    """Ranks are filled up with zeros; each parameter gets its own part of the gradient, in its own layout."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(3, rank)) for rank in (2, 4, 4)]
    parameters[2].requires_grad_(requires_grad=False)
    stack = stack_of(parameters, 1)
    fill([stack])
    assert stack.whole.shape == (3, 3, 4)
    for place, parameter in enumerate(parameters):
        rank = parameter.shape[1]
        assert torch.equal(stack.whole[place, :, :rank], parameter)
        assert not stack.whole[place, :, rank:].any()
    factors = torch.arange(36.0).view(3, 3, 4)
    (stack.whole * factors).sum().backward()
    hand_out([stack])
    assert torch.equal(parameters[0].grad, factors[0, :, :2])
    assert parameters[0].grad.is_contiguous()
    assert torch.equal(parameters[1].grad, factors[1])
    assert parameters[2].grad is None
    assert stack.whole.grad is None


@pytest.fixture
def pack() -> Pack:
    """Three adapters of one layer, of which the first two have other ranks and nothing that is zero."""
    torch.manual_seed(0)
    owner = nn.Module()
    owner.linear = nn.Linear(5, 7)
    packed = Pack({"lora_unet_x": (owner, "linear")})
    packed.owner = owner
    for key, rank in enumerate((2, 4, 4)):
        packed.add(key, AdapterOptions(rank=rank, alpha=1.0, dropout=0.0, unet=True, text_encoder=False, seed=key))
        for _, weights in packed.weights(key):
            nn.init.normal_(weights.up)
    return packed


def gradients(pack: Pack, *keys: int) -> list[torch.Tensor]:
    """Return the gradients of some adapters, and take them away."""
    parameters = [p for key in keys for _, weights in pack.weights(key) for p in weights.parameters()]
    found = [p.grad for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return found


def test_a_step_gives_the_same_gradients(pack: Pack) -> None:
    """Over two passes of one step, and again after the weights moved, stacked gradients are those of autograd."""
    x = torch.randn(3, 4, 5)
    for _ in range(2):
        found = []
        for together in (pack.stacked(0, 1, 2), pack.serving()):
            with together:
                for factor in (1.0, 2.0):
                    with pack.serving(0, 1, 2, training=True):
                        (pack.owner.linear(x) ** 2 * factor).sum().backward()
            found.append(gradients(pack, 0, 1, 2))
        for stacked, plain in zip(*found, strict=True):
            torch.testing.assert_close(stacked, plain)
        with torch.no_grad():
            for key in range(3):
                for _, weights in pack.weights(key):
                    weights.down.mul_(-1.5)


def test_outside_a_step_the_weights_are_those_of_now(pack: Pack) -> None:
    """What was put together for a step is not used after it, also where the step broke."""
    x = torch.randn(3, 4, 5)

    def breaks() -> None:
        with pack.stacked(0, 1, 2), pack.serving(0, 1, 2, training=True):
            pack.owner.linear(x).sum().backward()
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        breaks()
    assert gradients(pack, 0, 1, 2) == [None] * 6
    with torch.no_grad():
        for key in range(3):
            for _, weights in pack.weights(key):
                weights.up.zero_()
        with pack.serving(0, 1, 2):
            assert torch.equal(pack.owner.linear(x), pack.owner.linear.base(x))


def test_one_that_leaves(pack: Pack) -> None:
    """After an adapter left, the others' matrices are put together anew."""
    x = torch.randn(2, 4, 5)
    with pack.stacked(0, 1, 2):
        pass
    pack.remove(1)
    with pack.stacked(0, 2), pack.serving(0, 2, training=True):
        pack.owner.linear(x).sum().backward()
    assert all(gradient is not None for gradient in gradients(pack, 0, 2))
