"""LoHa, LoKr and DoRA: the mathematics of LyCORIS and peft, in packs of mixed kinds."""

import itertools
import math
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from lycoris.functional import factorization as their_factorization
from lycoris.modules import get_module, make_module
from lycoris.modules.lokr import LokrModule
from torch import Tensor, nn

from lora_lab.config import factorization
from lora_lab.train.adapters import AdapterOptions, LayerSize
from lora_lab.train.lora_file import by_layer, state_dict
from lora_lab.train.pack import Pack

PLAIN = AdapterOptions(
    rank=3, alpha=1.5, dropout=0.0, unet=True, text_encoder=True, seed=1, conv=LayerSize(2, 3.0)
)  # fmt: skip
NAMES = {"linear": "lora_te_linear", "narrow": "lora_unet_narrow", "wide": "lora_unet_mid_resnets_0_wide"}
KINDS = {
    "lora": PLAIN,
    "loha": replace(PLAIN, kind="loha", seed=2),
    "lokr": replace(PLAIN, kind="lokr", rank=2, seed=3),
    "lokr, both products": replace(PLAIN, kind="lokr", rank=1, conv=LayerSize(1, 2.0), decompose_both=True, seed=4),
    "lokr, factor": replace(PLAIN, kind="lokr", factor=4, seed=5),
    "lokr, whole": replace(PLAIN, kind="lokr", rank=100_000, alpha=1.0, conv=LayerSize(100_000, 1.0), seed=6),
}
KINDS |= {f"{name}, tucker": replace(KINDS[name], tucker=True, seed=7) for name in ("lora", "loha", "lokr")}
KINDS["loha, tucker, other ranks"] = replace(KINDS["loha, tucker"], conv=LayerSize(3, 1.0), seed=8)
KINDS["lora, tucker, other ranks"] = replace(KINDS["lora, tucker"], conv=LayerSize(5, 1.0), seed=9)
KINDS |= {f"{name}, dora": replace(option, dora=True, seed=option.seed + 10) for name, option in KINDS.items()}


class Model(nn.Module):
    """A layer of each sort, side by side, so that each has inputs of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(12, 20)
        self.narrow = nn.Conv2d(12, 16, 1, bias=False)
        self.wide = nn.Conv2d(12, 20, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(n, 12, h, w) → the three layers' outputs."""
        return [self.linear(x.movedim(1, -1)), self.narrow(x), self.wide(x)]


def packed(*adapters: AdapterOptions) -> tuple[Model, Pack]:
    """A model with adapters none of whose tensors is as it began."""
    model = Model().requires_grad_(False)
    pack = Pack({name: (model, attribute) for attribute, name in NAMES.items()})
    for key, option in enumerate(adapters):
        pack.add(key, option)
        torch.manual_seed(option.seed)
        for _, weights in pack.weights(key):
            for tensor in weights.trained():
                with torch.no_grad():
                    tensor.add_(torch.randn_like(tensor) * 0.2)
    return model, pack


def answers(model: Model, pack: Pack, x: Tensor, *keys: int, **how: Any) -> list[Tensor]:
    """What the model says with adapters served."""
    with pack.serving(*keys, **how):
        return model(x)


@pytest.mark.parametrize("name", KINDS)
def test_starts_as_the_base(name: str) -> None:
    """A new adapter of every kind changes nothing, and every tensor of it but those behind a zero gets a gradient."""
    model = Model().requires_grad_(False)
    pack = Pack({layer: (model, attribute) for attribute, layer in NAMES.items()})
    pack.add(0, KINDS[name])
    x = torch.randn(2, 12, 4, 6)
    found = answers(model, pack, x, 0)
    torch.testing.assert_close(found, answers(model, pack, x), rtol=0, atol=0)
    sum(one.square().sum() for one in found).backward()
    for _, weights in pack.weights(0):
        assert any(p.grad is not None and p.grad.any() for p in weights.factors().values())


def their_module(option: AdapterOptions, state: dict[str, Tensor], layer: str, base: nn.Module) -> Any:
    """LyCORIS' module of a layer's tensors; where 4.1 mistakes a LoKr's core for another rank, made by its sizes."""
    if not (option.tucker and option.kind == "lokr"):
        return make_module(*get_module(state, layer), layer, base)
    size = option.conv if "wide" in layer and option.conv else LayerSize(option.rank, option.alpha)
    made = LokrModule(
        layer, base, 1.0, size.rank, size.alpha, use_tucker=True, weight_decompose=option.dora, factor=option.factor
    )
    made.load_state_dict(by_layer(state)[layer])
    return made


@pytest.mark.parametrize("name", KINDS)
def test_lycoris_reads_it_and_says_the_same(name: str) -> None:
    """LyCORIS makes its own modules of the file's tensors; they answer as the pack does, layer by layer."""
    model, pack = packed(KINDS[name])
    layers, bare = list(pack.weights(0)), Model()
    state = state_dict(layers, torch.float32)
    assert {key.partition(".")[0] for key in state} == set(NAMES.values())
    x = torch.randn(2, 12, 4, 6)
    for attribute, layer in NAMES.items():
        with torch.no_grad():
            theirs = their_module(KINDS[name], state, layer, getattr(bare, attribute))
        theirs.apply_to()
    for own, other in zip(answers(model, pack, x, 0), bare(x), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
    assert all((a - b).abs().max() > 0.05 for a, b in zip(bare(x), Model()(x), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_merged_by_hand(name: str) -> None:
    """W + ΔW, made from the file's tensors and its alpha by the formula of each kind, predicts what the pack does."""
    model, pack = packed(KINDS[name])
    tensors, bare = by_layer(state_dict(pack.weights(0), torch.float64)), Model()
    for attribute, layer in NAMES.items():
        weight, own = getattr(bare, attribute).weight, tensors[layer]
        merged = weight.double() + by_formula(own).reshape(weight.shape)
        if "dora_scale" in own:
            rows = merged.flatten(1)
            merged = (rows / rows.norm(dim=1, keepdim=True)).view_as(merged) * own["dora_scale"]
        weight.data.copy_(merged)
    x = torch.randn(2, 12, 4, 6)
    torch.testing.assert_close(answers(model, pack, x, 0), bare(x), rtol=1e-5, atol=1e-5)


def with_core(core: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """What a kernel between two matrices (rank, out) and (rank, in) is as one, a row for each output."""
    whole = torch.tensordot(outputs.flatten(1), torch.tensordot(inputs.flatten(1), core, ([0], [1])), ([0], [1]))
    return whole.flatten(1)  # (out, in · height · width)


def by_formula(own: dict[str, Tensor]) -> Tensor:
    """ΔW of one layer as a matrix."""
    flat, alpha = {name: tensor.flatten(1) for name, tensor in own.items() if tensor.ndim > 1}, float(own["alpha"])
    if "lora_up.weight" in own:
        scale = alpha / len(own["lora_down.weight"])
        if "lora_mid.weight" in own:
            return with_core(own["lora_mid.weight"], flat["lora_up.weight"].mT, own["lora_down.weight"]) * scale
        return flat["lora_up.weight"] @ flat["lora_down.weight"] * scale
    if "hada_w1_a" in own:
        one, two = (
            with_core(own[f"hada_t{n}"], own[f"hada_w{n}_a"], own[f"hada_w{n}_b"])
            if f"hada_t{n}" in own
            else own[f"hada_w{n}_a"] @ own[f"hada_w{n}_b"]
            for n in (1, 2)
        )
        return one * two * alpha / len(own["hada_w1_b"])
    product = next((own[name] for name in ("lokr_w2_b", "lokr_w1_b") if name in own), None)
    one = own["lokr_w1"] if "lokr_w1" in own else own["lokr_w1_a"] @ own["lokr_w1_b"]
    if "lokr_t2" in own:
        two = with_core(own["lokr_t2"], own["lokr_w2_a"], own["lokr_w2_b"])
    else:
        two = flat["lokr_w2"] if "lokr_w2" in own else own["lokr_w2_a"] @ own["lokr_w2_b"]
    return torch.kron(one, two) * (1 if product is None else alpha / len(product))


def test_mixed_kinds_each_on_its_part() -> None:
    """All kinds in one pack, two of each: outputs and gradients are those of each alone."""
    options = [replace(option, seed=option.seed + more) for option in KINDS.values() for more in (0, 100)]
    model, pack = packed(*options)
    x, keys = torch.randn(2 * len(options), 12, 4, 6), range(len(options))
    together = answers(model, pack, x, *keys)
    sum(one.square().sum() for one in together).backward()
    gradients = {(key, name, kind): p.grad for key in keys for name, w in pack.weights(key)
                 for kind, p in w.named_parameters()}  # fmt: skip
    for key, part in enumerate(x.chunk(len(options))):
        for _, weights in pack.weights(key):
            weights.zero_grad()
        alone = answers(model, pack, part, key)
        for mine, other in zip(alone, together, strict=True):
            torch.testing.assert_close(mine, other.chunk(len(options))[key], rtol=1e-4, atol=1e-5)
        sum(one.square().sum() for one in alone).backward()
        for name, weights in pack.weights(key):
            for kind, tensor in weights.named_parameters():
                torch.testing.assert_close(gradients[key, name, kind], tensor.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in KINDS if "dora" not in name])
def test_gradients(name: str) -> None:
    """The gradients are those of the same formula written out with plain tensors."""
    model, pack = packed(KINDS[name])
    x, bare = torch.randn(2, 12, 4, 6), Model()
    sum(one.square().sum() for one in answers(model, pack, x, 0)).backward()
    for attribute, layer in NAMES.items():
        weights, base = dict(pack.weights(0))[layer], getattr(bare, attribute)
        own = {part: tensor.detach().double().requires_grad_() for part, tensor in weights.in_file().items()}
        merged = base.weight + by_formula({**own, "alpha": torch.tensor(weights.alpha)}).view_as(base.weight)
        torch.func.functional_call(base.double(), {"weight": merged}, x.double().movedim(1, -1)
                                   if attribute == "linear" else x.double()).square().sum().backward()  # fmt: skip
        for part, tensor in weights.in_file().items():
            torch.testing.assert_close(tensor.grad.double(), own[part].grad, rtol=1e-3, atol=1e-3)


def test_peft_says_the_same() -> None:
    """peft's own layers, given the file's tensors, predict what the pack does: LoRA, DoRA, LoHa and LoKr.

    A factor above the square root of a width peft does not turn round as LyCORIS does, so the factor is small here.
    """
    shared: dict[str, Any] = {"target_modules": ["linear"], "r": 3}
    cases = {
        "lora": peft.LoraConfig(**shared, lora_alpha=1.5),
        "lora, dora": peft.LoraConfig(**shared, lora_alpha=1.5, use_dora=True),
        "loha": peft.LoHaConfig(**shared, alpha=1.5),
        "lokr": peft.LoKrConfig(**{**shared, "r": 2}, alpha=1.5),
        "lokr, factor 2": peft.LoKrConfig(**shared, alpha=1.5, decompose_factor=2),
        "lokr, both products": peft.LoKrConfig(**{**shared, "r": 1}, alpha=1.5, decompose_both=True),
    }
    kinds = KINDS | {"lokr, factor 2": replace(PLAIN, kind="lokr", factor=2)}
    x = torch.randn(2, 12, 4, 6)
    for name, config in cases.items():
        model, pack = packed(kinds[name])
        own = by_layer(state_dict(pack.weights(0), torch.float32))["lora_te_linear"]
        theirs = peft.get_peft_model(Model(), config)
        used = set()
        for path, tensor in theirs.named_parameters():
            part = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight", "lora_magnitude_vector": "dora_scale"}
            key = next((part.get(word, word) for word in path.split(".") if word.startswith(("lo", "hada"))), None)
            if key:
                tensor.data.copy_(own[key].reshape(tensor.shape))
                used.add(key)
        assert used == own.keys() - {"alpha"}
        with torch.no_grad():
            torch.testing.assert_close(theirs(x)[0], answers(model, pack, x, 0)[0], rtol=1e-5, atol=1e-5)


def test_factorization() -> None:
    """Every width and factor is split as LyCORIS splits it; 320 and 1280 as its documentation's table has them."""
    for width, factor in itertools.product([*range(1, 400), 640, 768, 1280, 2048], [-1, *range(1, 18), 100, 5000]):
        assert factorization(width, factor) == tuple(their_factorization(width, factor)), (width, factor)
    assert factorization(1024, 8) == (8, 128)


def test_alpha_of_whole_matrices() -> None:
    """Where both of LoKr's matrices are whole no alpha counts, and the file's is one that fp16 can hold."""
    _, pack = packed(KINDS["lokr, whole"])
    for _, weights in pack.weights(0):
        assert (weights.scale, weights.alpha_in_file) == (1.0, 1.0)
    assert all(tensor.isfinite().all() for tensor in state_dict(pack.weights(0), torch.float16).values())


@pytest.mark.parametrize("name", ["loha", "lokr", "loha, dora", "lokr, factor, dora"])
def test_rank_dropout_leaves_rows_out(name: str) -> None:
    """Each row of ΔW is there for a whole picture or not at all, and the mean is that without dropout."""
    model, pack = packed(replace(KINDS[name], rank_dropout=0.25, dora=False))
    x = torch.randn(3, 12, 4, 6)
    base, whole = answers(model, pack, x), answers(model, pack, x, 0)
    for place, outputs in ((0, -1), (1, 1), (2, 1)):
        full, shares = (whole[place] - base[place]).movedim(outputs, -1), []
        for step in range(100):
            found = answers(model, pack, x, 0, step=step, training=True)[place] - base[place]
            share = (found.movedim(outputs, -1) / full).flatten(1, 2).median(1).values  # (n, out)
            torch.testing.assert_close(found.movedim(outputs, -1), full * share[:, None, None], rtol=1e-2, atol=1e-3)
            assert all(min(abs(v), abs(v - 4 / 3)) < 1e-2 for v in share.flatten().tolist())
            shares.append(share)
        assert torch.stack(shares).mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_module_dropout_leaves_the_base(name: str) -> None:
    """A layer whose adapter is left out of a step answers as the base, DoRA's length included."""
    model, pack = packed(replace(KINDS[name], module_dropout=0.5))
    x = torch.randn(2, 12, 4, 6)
    base, whole = answers(model, pack, x), answers(model, pack, x, 0)
    steps = [answers(model, pack, x, 0, step=step, training=True) for step in range(60)]
    for place in range(3):
        left_out = [torch.allclose(step[place], base[place]) for step in steps]
        there = [torch.allclose(step[place], whole[place], rtol=1e-4, atol=1e-5) for step in steps]
        assert all(a != b for a, b in zip(left_out, there, strict=True))
        assert 15 < sum(left_out) < 45


def test_a_row_of_zeros_has_a_direction() -> None:
    """DoRA on a layer with a row of zeros gives numbers, forwards and backwards."""
    model = Model().requires_grad_(False)
    model.linear.weight[3] = 0
    pack = Pack({"lora_te_linear": (model, "linear")})
    pack.add(0, replace(PLAIN, dora=True))
    with pack.serving(0):
        out = model(torch.randn(1, 12, 2, 2))[0]
    out.sum().backward()
    assert out.isfinite().all()
    assert all(math.isfinite(p.grad.sum()) for _, w in pack.weights(0) for p in w.trained())


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("ranks", [(3,), (3, 3), (3, 5)], ids=str)
def test_added_where_it_is_made(ranks: tuple[int, ...], mixed: bool) -> None:
    """What a LoRA adds to a layer's output is ΔW x, whichever way it is computed: alone, packed, in mixed precision."""
    model, pack = packed(
        *(replace(PLAIN, rank=rank, alpha=0.7 * rank, seed=rank + 7 * n) for n, rank in enumerate(ranks))
    )
    if mixed:
        for attribute in NAMES:
            getattr(model, attribute).base.to(torch.bfloat16)
    x = torch.randn(2 * len(ranks), 12, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        with pack.serving():
            bare = model(x)
        with pack.serving(*range(len(ranks)), training=True):
            found = model(x)
    for number, attribute in enumerate(NAMES):
        for key, (part, base, given) in enumerate(
            zip(found[number].chunk(len(ranks)), bare[number].chunk(len(ranks)), x.chunk(len(ranks)), strict=True)
        ):
            (delta,) = [w.delta() for name, w in pack.weights(key) if name == NAMES[attribute]]
            layer = getattr(Model(), attribute)
            layer.weight, layer.bias = nn.Parameter(delta), None
            own = layer(given.movedim(1, -1) if attribute == "linear" else given)
            tolerance = {"rtol": 0.03, "atol": 0.05} if mixed else {"rtol": 1e-4, "atol": 1e-5}
            torch.testing.assert_close((part - base).float(), own, **tolerance)
