"""Optimizers: groups in order, classes by name, and a clear word about what is not there."""

import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lora_lab.config import PARAMETERS, TrainConfig
from lora_lab.failure import Failure
from lora_lab.train.adapters.lora import LoraWeights
from lora_lab.train.optimizer import (
    CLASSES,
    ParamGroup,
    clip_gradients,
    make_optimizer,
    optimizer_class,
    optimizer_name,
    param_groups,
)
from lora_lab.train.pack import AdapterOptions

Make = Callable[..., TrainConfig]


def layers(*names: str) -> list[tuple[str, LoraWeights]]:
    """Adapters of rank 2 at layers of these names."""
    options = AdapterOptions(rank=2, alpha=1.0, dropout=0.0, unet=True, text_encoder=True, seed=0)
    return [(name, LoraWeights(nn.Linear(3, 4), name, options)) for name in names]


def test_text_encoder_comes_first(make_config: Make) -> None:
    """Whatever the order of the layers, the first group is the text encoder's; each has its own learning rate."""
    found = layers("lora_unet_a", "lora_te_b", "lora_unet_c")
    text, unet = param_groups(found, make_config(learning_rate=1e-4, text_encoder_lr=5e-5))
    assert (text["label"], text["lr"]) == ("text_encoder", 5e-5)
    assert (unet["label"], unet["lr"]) == ("unet", 1e-4)
    assert [id(p) for p in text["params"]] == [id(found[1][1].down), id(found[1][1].up)]
    assert len(unet["params"]) == 4
    (_, unet) = param_groups(found, make_config(learning_rate=1e-4, unet_lr=3e-4))
    assert unet["lr"] == 3e-4


def test_no_empty_group(make_config: Make) -> None:
    """A part that is not trained has no group."""
    (only,) = param_groups(layers("lora_unet_a"), make_config())
    assert only["label"] == "unet"


def test_8bit_adam(make_config: Make) -> None:
    """`use_8bit_adam` is the older name of AdamW8bit and wins over optimizer_type."""
    assert optimizer_name(make_config(use_8bit_adam=True)) == "AdamW8bit"
    assert optimizer_name(make_config(optimizer_type="Lion")) == "Lion"


@pytest.mark.parametrize(
    ("name", "package"), [("AdamW8bit", "bitsandbytes"), ("Lion", "lion-pytorch"), ("Prodigy", "prodigyopt")]
)
def test_missing_package(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimizer whose package is not installed is a Failure that names the package to install."""
    module = CLASSES[name][0]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(
        Failure, match=f"optimizer_type {name}: the package {package} is not installed; pip install {package}"
    ):
        optimizer_class(name)


def test_class_of_an_installed_package(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package there, the name gives its class, built with the config's learning rate and arguments."""

    class Lion(torch.optim.SGD):
        """Stands for the package's class."""

    module = types.ModuleType("lion_pytorch")
    module.Lion = Lion  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lion_pytorch", module)
    config = make_config(optimizer_type="Lion", optimizer_args=["momentum=0.5"])
    built = make_optimizer(param_groups(layers("lora_unet_a"), config), config)
    assert isinstance(built, Lion)
    assert built.defaults["momentum"] == 0.5
    assert built.defaults["lr"] == 1e-3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AdamX", "AdamX is unknown: no installed package has a module AdamX"),
        ("os.system", "is unknown: no installed package has a module os"),
        ("my_module.Thing", "is unknown: no installed package has a module my_module"),
        ("torch.optim.AdamX", r"torch\.optim has no AdamX"),
        ("torch.optim.lr_scheduler", "is no optimizer"),
        ("torch.optim.nothing_here.Adam", "No module named"),
        ("torch.optim.lr_scheduler.StepLR", "is no optimizer"),
    ],
)
def test_unknown_name(name: str, message: str) -> None:
    """A name that is neither listed nor a class of an installed package is refused, and nothing is imported for it."""
    before = set(sys.modules)
    with pytest.raises(Failure, match=message):
        optimizer_class(name)
    assert set(sys.modules) == before


def test_only_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside the config runs neither under a name of its own nor in the place of an installed package."""
    for name in ("evil_optimizer", "prodigyopt"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "prodigyopt", raising=False)
    with pytest.raises(Failure, match="no installed package has a module evil_optimizer"):
        optimizer_class("evil_optimizer.Adam")
    with pytest.raises(Failure, match=r"would come from .*prodigyopt\.py, which is not the installed package"):
        optimizer_class("prodigyopt.prodigy.Prodigy")


def test_class_of_torch(make_config: Make) -> None:
    """`torch.optim.X` is that class, by name and by kind."""
    config = make_config(optimizer_type="torch.optim.RMSprop", optimizer_args=["alpha=0.9"])
    built = make_optimizer(param_groups(layers("lora_unet_a"), config), config)
    assert isinstance(built, torch.optim.RMSprop)
    assert type(built).__name__ == "RMSprop"
    assert built.defaults["alpha"] == 0.9


def test_arguments(make_config: Make) -> None:
    """optimizer_args reach the class, tuples too; SGDNesterov means momentum 0.9 unless the arguments say otherwise."""
    config = make_config(optimizer_args=["weight_decay=0.05", "betas=0.8,0.99"])
    adam = make_optimizer(param_groups(layers("lora_unet_a"), config), config)
    assert (adam.defaults["weight_decay"], adam.defaults["betas"]) == (0.05, (0.8, 0.99))
    config = make_config(optimizer_type="SGDNesterov")
    nesterov = make_optimizer(param_groups(layers("lora_unet_a"), config), config)
    assert (nesterov.defaults["nesterov"], nesterov.defaults["momentum"]) == (True, 0.9)
    config = make_config(optimizer_type="SGDNesterov", optimizer_args=["momentum=0.5"])
    assert make_optimizer(param_groups(layers("lora_unet_a"), config), config).defaults["momentum"] == 0.5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["weight_decoy=0.1"], "AdamW has no argument 'weight_decoy'; it takes: .*weight_decay"),
        (["betas=2.0,3.0"], "AdamW refuses its arguments"),
        (["eps=-1.0"], "AdamW refuses its arguments"),
        (["lr=0.1"], "AdamW refuses its arguments"),
    ],
)
def test_bad_arguments(args: list[str], message: str, make_config: Make) -> None:
    """An argument that the class does not take, or not with this value, is a Failure that says so."""
    config = make_config(optimizer_args=args)
    with pytest.raises(Failure, match=message):
        make_optimizer(param_groups(layers("lora_unet_a"), config), config)


@pytest.mark.parametrize(
    ("changes", "fused", "foreach"),
    [
        ({}, True, None),
        ({"optimizer_type": "SGDNesterov"}, True, None),
        ({"optimizer_type": "torch.optim.NAdam"}, None, True),
        ({"optimizer_args": ["foreach=True"]}, None, True),
        ({"optimizer_args": ["fused=False"]}, False, None),
    ],
    ids=["AdamW", "SGD", "without a fused kernel", "asked for", "refused"],
)
def test_tensors_are_moved_at_once(
    changes: dict[str, object], fused: bool | None, foreach: bool | None, make_config: Make
) -> None:
    """torch's optimizers run no Python for each tensor, unless optimizer_args say so; all move alike."""
    config = make_config(**changes)
    groups = param_groups(layers("lora_unet_a"), config)
    params = groups[0]["params"]
    before = [p.detach().clone().requires_grad_() for p in params]
    optimizer = make_optimizer(groups, config)
    assert optimizer.defaults.get("fused") is fused
    assert optimizer.defaults["foreach"] is foreach
    known = inspect.signature(type(optimizer)).parameters.keys() - {"fused", "foreach"}
    plain = type(optimizer)(before, **{key: optimizer.defaults[key] for key in known - {"params"}}, foreach=False)
    for p, q in zip(params, before, strict=True):
        p.grad = torch.linspace(-1, 1, p.numel()).view_as(p)
        q.grad = p.grad.clone()
    for one in (optimizer, plain, optimizer, plain):
        one.step()
    torch.testing.assert_close(params, before)


def test_names_are_those_of_the_config() -> None:
    """Every listed class has a module, a name and a package, and the config's default is among them."""
    assert PARAMETERS["optimizer_type"].default in CLASSES
    assert all(len(entry) == 3 and all(entry) for entry in CLASSES.values())


def groups_with_gradients(*gradients: float) -> list[ParamGroup]:
    """One group of one parameter for each gradient."""
    groups: list[dict[str, Any]] = []
    for value in gradients:
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.tensor([value])
        groups.append({"params": [parameter]})
    return groups


@pytest.mark.parametrize(
    ("limit", "expected"), [(1.0, [0.6, 0.8]), (2.5, [1.5, 2.0]), (10.0, [3.0, 4.0]), (0.0, [3.0, 4.0])]
)
def test_gradients_are_clipped_together(limit: float, expected: list[float]) -> None:
    """The norm over all groups is brought to the limit and told as it was; 0 leaves the gradients alone."""
    groups = groups_with_gradients(3.0, 4.0)
    assert clip_gradients(groups, limit).item() == pytest.approx(5.0)
    assert [group["params"][0].grad.item() for group in groups] == pytest.approx(expected, rel=1e-5)
