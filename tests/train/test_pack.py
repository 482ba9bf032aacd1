"""The pack: what an adapter computes does not depend on who else is there."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lora_lab.train.pack import AdapterOptions, LayerSize, Pack


def options(rank: int, alpha: float, seed: int = 1, dropout: float = 0.0) -> AdapterOptions:
    """An adapter on every layer."""
    return AdapterOptions(rank=rank, alpha=alpha, dropout=dropout, unet=True, text_encoder=True, seed=seed)


class Model(nn.Module):
    """A convolution, then a linear layer over channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(6, 8, 1)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6, h, w) → (n, h · w, 5)."""
        return self.linear(self.conv(x).flatten(2).transpose(1, 2))


def packed(*adapters: AdapterOptions) -> tuple[Model, Pack]:
    """A model with adapters whose `up` is not zero any more."""
    model = Model().requires_grad_(False)
    pack = Pack({"lora_unet_conv": (model, "conv"), "lora_te_linear": (model, "linear")})
    for key, option in enumerate(adapters):
        pack.add(key, option)
        for number, (_, weights) in enumerate(pack.weights(key)):
            torch.manual_seed(100 * option.seed + number)
            nn.init.normal_(weights.up, std=0.3)
    return model, pack


def by_hand(model: Model, pack: Pack, key: int, x: Tensor) -> Tensor:
    """y = W x + alpha / rank · up(down(x)), written with plain layers."""
    (_, conv), (_, linear) = pack.weights(key)
    base_conv, base_linear = model.conv.base, model.linear.base
    update = nn.functional.conv2d(nn.functional.conv2d(x, conv.down), conv.up)
    hidden = (base_conv(x) + conv.options.scale * update).flatten(2).transpose(1, 2)
    return base_linear(hidden) + linear.options.scale * (hidden @ linear.down.T @ linear.up.T)


MIXED = (options(2, 1.0, seed=1), options(5, 10.0, seed=2), options(3, 3.0, seed=3))


def test_one_adapter_is_the_formula() -> None:
    """A pack of one computes W x + alpha / rank · up(down(x))."""
    model, pack = packed(options(3, 6.0))
    x = torch.randn(4, 6, 2, 3)
    with pack.serving(0):
        torch.testing.assert_close(model(x), by_hand(model, pack, 0, x))


def test_mixed_ranks_each_on_its_part() -> None:
    """Three adapters of different rank and alpha each act on their own third of the batch."""
    model, pack = packed(*MIXED)
    x = torch.randn(6, 6, 2, 3)
    with pack.serving(0, 1, 2):
        together = model(x)
    alone = [by_hand(model, pack, key, part) for key, part in enumerate(x.chunk(3))]
    torch.testing.assert_close(together, torch.cat(alone))


def test_gradients_are_those_of_the_adapter_alone() -> None:
    """The gradient of each adapter in a pack is that of its own part alone."""
    model, pack = packed(*MIXED)
    x = torch.randn(6, 6, 2, 3)
    with pack.serving(0, 1, 2):
        model(x).square().sum().backward()
    together = [p.grad.clone() for key in range(3) for _, w in pack.weights(key) for p in (w.down, w.up)]
    alone = []
    for key, part in enumerate(x.chunk(3)):
        for _, weights in pack.weights(key):
            weights.zero_grad()
        with pack.serving(key):
            model(part).square().sum().backward()
        alone += [p.grad for _, w in pack.weights(key) for p in (w.down, w.up)]
    for mine, other in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5 * other.abs().max().item())


def test_some_adapters_lack_a_layer() -> None:
    """An adapter without a layer leaves its part of the batch to the base there."""
    model = Model().requires_grad_(False)
    pack = Pack({"lora_unet_conv": (model, "conv"), "lora_te_linear": (model, "linear")})
    pack.add(0, AdapterOptions(rank=2, alpha=2.0, dropout=0.0, unet=True, text_encoder=False, seed=1))
    pack.add(1, options(2, 2.0))
    for key in (0, 1):
        for _, weights in pack.weights(key):
            nn.init.normal_(weights.up)
    assert [name for name, _ in pack.weights(0)] == ["lora_unet_conv"]
    x = torch.randn(4, 6, 1, 1)
    with pack.serving(0, 1):
        together = model(x)
    with pack.serving(0):
        first = model(x[:2])
    with pack.serving(1):
        second = model(x[2:])
    torch.testing.assert_close(together, torch.cat([first, second]))
    assert not torch.allclose(first, second)


def test_untrained_adapter_changes_nothing_and_nobody_served_is_the_base() -> None:
    """A new adapter starts as the base itself; with none served, the base alone answers."""
    plain = Model()
    model, pack = Model(), None
    pack = Pack({"lora_unet_conv": (model, "conv"), "lora_te_linear": (model, "linear")})
    pack.add(0, options(4, 4.0))
    x = torch.randn(2, 6, 2, 2)
    with pack.serving(0):
        torch.testing.assert_close(model(x), plain(x))
    for _, weights in pack.weights(0):
        nn.init.normal_(weights.up)
    with pack.serving(0):
        assert not torch.allclose(model(x), plain(x))
    with pack.serving():
        torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)


def test_start_depends_on_seed_and_layer_only() -> None:
    """Down is Kaiming-uniform within 1 / √in, the same for the same seed, another for another; up is zero."""
    _, first = packed(options(4, 4.0, seed=7))
    model = Model()
    second = Pack({"lora_te_linear": (model, "linear"), "lora_unet_conv": (model, "conv")})
    second.add(0, options(4, 4.0, seed=7))
    second.add(1, options(4, 4.0, seed=8))
    mine, same, other = dict(first.weights(0)), dict(second.weights(0)), dict(second.weights(1))
    for name, weights in mine.items():
        torch.testing.assert_close(weights.down, same[name].down, rtol=0, atol=0)
        assert not torch.equal(weights.down, other[name].down)
        assert weights.down.abs().max() <= weights.down.shape[1] ** -0.5
        assert weights.down.abs().max() > 0.7 * weights.down.shape[1] ** -0.5
        assert not same[name].up.any()


def test_dropout_is_a_function_of_the_step() -> None:
    """Dropout masks repeat for the same step, differ for another, and are off outside training."""
    model, pack = packed(options(4, 4.0, dropout=0.5))
    x = torch.randn(2, 6, 4, 4)

    def answer(step: int, training: bool) -> Tensor:
        with pack.serving(0, step=step, training=training):
            return model(x)

    assert torch.equal(answer(3, True), answer(3, True))
    assert not torch.equal(answer(3, True), answer(4, True))
    torch.testing.assert_close(answer(3, False), by_hand(model, pack, 0, x))


def test_dropout_in_a_pack_is_that_of_the_adapter_alone() -> None:
    """Two adapters with different dropout get in the pack what they get alone."""
    model, pack = packed(options(2, 2.0, seed=1, dropout=0.3), options(4, 4.0, seed=2))
    x = torch.randn(4, 6, 2, 2)
    with pack.serving(0, 1, step=5, training=True):
        together = model(x)
    alone = []
    for key, part in enumerate(x.chunk(2)):
        with pack.serving(key, step=5, training=True):
            alone.append(model(part))
    torch.testing.assert_close(together, torch.cat(alone))


def test_detach_gives_the_layers_back() -> None:
    """After detaching, the model holds its own layers, the very objects."""
    model = Model()
    conv, linear = model.conv, model.linear
    pack = Pack({"lora_unet_conv": (model, "conv"), "lora_te_linear": (model, "linear")})
    assert model.conv is not conv
    pack.detach()
    assert model.conv is conv
    assert model.linear is linear


def test_removed_adapter_is_gone() -> None:
    """An adapter that left has no weights in the pack and serves nobody."""
    model, pack = packed(options(2, 2.0), options(2, 2.0, seed=2))
    pack.remove(0)
    assert not list(pack.weights(0))
    x = torch.randn(2, 6, 1, 1)
    with pack.serving(1):
        torch.testing.assert_close(model(x), by_hand(model, pack, 1, x))


def test_state_is_restored_after_an_error() -> None:
    """`serving` puts the former state back even when the pass breaks."""
    _, pack = packed(options(2, 2.0))
    with pytest.raises(RuntimeError), pack.serving(0, step=9, training=True):
        raise RuntimeError
    assert (pack.state.active, pack.state.step) == ([], 0)


class Wide(nn.Module):
    """A 3 × 3 convolution with a stride, as in a downsampling block."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 6, h, w) → (n, 8, h / 2, w / 2)."""
        return self.conv(x)


WIDE = "lora_unet_down_blocks_0_downsamplers_0_conv"


def wide_pack(*adapters: AdapterOptions) -> tuple[Wide, Pack]:
    """A pack on the convolution, up not zero."""
    model = Wide().requires_grad_(False)
    pack = Pack({WIDE: (model, "conv")})
    for key, option in enumerate(adapters):
        pack.add(key, option)
        for _, weights in pack.weights(key):
            torch.manual_seed(option.seed)
            nn.init.normal_(weights.up, std=0.3)
    return model, pack


def with_conv(rank: int, alpha: float, seed: int) -> AdapterOptions:
    """An adapter of that size at convolutions, of another elsewhere."""
    return replace(options(9, 1.0, seed=seed), conv=LayerSize(rank, alpha))


def test_wide_convolutions_are_the_formula() -> None:
    """Members of different rank at a 3 × 3 convolution compute W x + alpha / rank · up(down(x)), gradients too."""
    adapters = (with_conv(2, 1.0, 1), with_conv(5, 10.0, 2))
    model, pack = wide_pack(*adapters)
    x = torch.randn(6, 6, 8, 4)
    with pack.serving(0, 1):
        together = model(x)
    together.square().sum().backward()
    for key, (part, answer) in enumerate(zip(x.chunk(2), together.chunk(2), strict=True)):
        ((_, weights),) = pack.weights(key)
        down, up = (p.detach().clone().requires_grad_() for p in (weights.down, weights.up))
        assert down.shape == (adapters[key].conv.rank, 6, 3, 3)
        hidden = nn.functional.conv2d(part, down, stride=2, padding=1)
        wanted = model.conv.base(part) + weights.scale * nn.functional.conv2d(hidden, up)
        torch.testing.assert_close(answer, wanted)
        wanted.square().sum().backward()
        torch.testing.assert_close(weights.down.grad, down.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weights.up.grad, up.grad, rtol=1e-4, atol=1e-5)


def test_blocks_without_conv_dim_are_left_alone() -> None:
    """Without a size for convolutions no layer of a ResNet or sampling block is adapted, narrow or wide."""
    _, pack = wide_pack(options(2, 1.0), with_conv(2, 1.0, 1))
    assert [len(list(pack.weights(key))) for key in (0, 1)] == [0, 1]
    narrow = "lora_unet_mid_block_resnets_0_time_emb_proj"
    assert options(2, 1.0).size_at(narrow, nn.Linear(2, 2)) is None
    assert with_conv(3, 1.0, 1).size_at(narrow, nn.Linear(2, 2)) == (9, 1.0)
    assert with_conv(3, 1.0, 1).size_at(WIDE, nn.Conv2d(2, 2, 3)) == (3, 1.0)
    own = replace(options(2, 1.0), sizes={narrow: LayerSize(4, 2.0)})
    assert own.size_at(narrow, nn.Linear(2, 2)) == (4, 2.0)
    assert own.size_at(WIDE, nn.Conv2d(2, 2, 3)) is None


def update_of(model: Model, pack: Pack, x: Tensor, step: int) -> Tensor:
    """What the first adapter adds at the linear layer, (n, places, 5)."""
    with pack.serving():
        plain = model(x)
    with pack.serving(0, step=step, training=True):
        return model(x) - plain


def test_rank_dropout() -> None:
    """Each rank is there for a whole picture or not at all; the mean over many steps is that without dropout."""
    rate, rank = 0.25, 4
    model = Model().requires_grad_(False)
    pack = Pack({"lora_te_linear": (model, "linear")})
    pack.add(0, replace(options(rank, float(rank)), rank_dropout=rate))
    ((_, weights),) = pack.weights(0)
    with torch.no_grad():
        weights.up.zero_()
        weights.up[:rank, :rank] = torch.eye(rank)  # output i is rank i
    x = torch.randn(3, 6, 2, 2)
    with pack.serving(0):
        whole = model(x)
    with pack.serving():
        whole = whole - model(x)
    total = torch.zeros(3, rank)
    for step in range(400):
        update = update_of(model, pack, x, step)
        share = (update[..., :rank] / whole[..., :rank]).mean(1)
        torch.testing.assert_close(update[..., :rank], whole[..., :rank] * share[:, None], rtol=1e-3, atol=1e-5)
        assert all(min(abs(value), abs(value - 1 / (1 - rate))) < 1e-2 for value in share.flatten().tolist())
        total += share
    torch.testing.assert_close(total / 400, torch.ones(3, rank), rtol=0, atol=0.1)
    assert torch.equal(update_of(model, pack, x, 7), update_of(model, pack, x, 7))


def test_module_dropout() -> None:
    """A layer's update is whole or not there, at the rate asked for, and only while training."""
    model, pack = packed(replace(options(3, 6.0), module_dropout=0.3))
    layer = model.linear
    hidden = torch.randn(2, 4, 8)
    with pack.serving(0):
        whole = layer(hidden)
    bare, gone = layer.base(hidden), 0
    assert not torch.allclose(whole, bare)
    for step in range(300):
        with pack.serving(0, step=step, training=True):
            found = layer(hidden)
        gone += torch.equal(found, bare)
        assert torch.equal(found, bare) or torch.allclose(found, whole)
    assert 60 < gone < 120
