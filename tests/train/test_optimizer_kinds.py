"""Every optimizer that the config can name: its steps are the library's, and it resumes as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lora_lab.config import OPTIMIZERS, TrainConfig
from lora_lab.failure import Failure
from lora_lab.train.optimizer import CLASSES, make_optimizer, optimizer_class, rates
from lora_lab.train.schedule import OwnRates, make_schedule
from lora_lab.train.state import load_state, save_state
from lora_lab.train.step import Member, pack_step

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]

ARGUMENTS: dict[str, dict[str, object]] = {
    "AdamW": {"weight_decay": 0.1, "betas": (0.9, 0.99)},
    "AdamW8bit": {"min_8bit_size": 0, "weight_decay": 0.1},
    "Lion": {"weight_decay": 0.01},
    "Lion8bit": {"min_8bit_size": 0},
    "SGDNesterov": {"momentum": 0.8},
    "SGDNesterov8bit": {"min_8bit_size": 0, "momentum": 0.8},
    "AdaFactor": {"relative_step": False, "scale_parameter": False},
    "Prodigy": {"decouple": True, "weight_decay": 0.01, "d_coef": 2.0, "use_bias_correction": True},
    "DAdaptAdam": {"decouple": True, "weight_decay": 0.01},
    "AdamWScheduleFree": {"warmup_steps": 2},
    "RAdamScheduleFree": {"silent_sgd_phase": False},  # else it rests for the first steps
}
"""Arguments to try an optimizer with; the others have none."""

ADAPTIVE = [name for name in OPTIMIZERS if name.startswith(("Prodigy", "DAdapt"))]
CUSTOM = ["torch.optim.RAdam", "schedulefree.AdamWScheduleFreeReference", "prodigyopt.Prodigy"]
ALL = [*OPTIMIZERS, *CUSTOM]


def settings(name: str) -> dict[str, object]:
    """Config values for an optimizer: one constant rate that suits it, and its arguments as in a file."""
    adaptive = name in ADAPTIVE or name.endswith("Prodigy")
    return {
        "optimizer_type": name,
        "learning_rate": 1.0 if adaptive else 1e-3,
        "scheduler": "constant",
        "max_grad_norm": 0.0,
        "optimizer_args": [f"{key}={value}" for key, value in ARGUMENTS.get(name, {}).items()],
    }


def test_every_name_has_a_class() -> None:
    """The names that the config knows are those that the trainer can build, and all are optimizers."""
    assert set(OPTIMIZERS) == set(CLASSES)
    assert len({optimizer_class(name) for name in OPTIMIZERS}) >= 20


def by_itself(name: str, params: list[Tensor], rate: float) -> torch.optim.Optimizer:
    """The library's class over one list of parameters, as its own examples build it."""
    implied = {"nesterov": True, "momentum": 0.9} if name.startswith("SGDNesterov") else {}
    built = optimizer_class(name)(params, lr=rate, **{**implied, **ARGUMENTS.get(name, {})})
    if hasattr(built, "train"):
        built.train()
    return built


@pytest.mark.filterwarnings("ignore:.*aged:UserWarning")  # paged memory is a GPU's
@pytest.mark.parametrize("name", ALL)
def test_steps_are_the_library_s(name: str, open_pack: Open, make_config: Make, batch_gradients: Any) -> None:
    """Three steps of the trainer move the weights as three of the library's optimizer do on the same gradients."""
    opened = open_pack(make_config(**settings(name)), up=0.05)
    (member,) = opened.members
    ours = [p for group in member.groups for p in group["params"]]
    copies = [nn.Parameter(p.detach().clone()) for p in ours]
    library = by_itself(name, copies, float(member.groups[0].get("lr", 1e-3)))
    start = [p.detach().clone() for p in ours]
    for number in range(3):
        found = batch_gradients(opened, opened.data.training[number])
        for copy, gradient in zip(copies, found, strict=True):
            copy.grad = gradient
        library.step()
    if hasattr(library, "eval"):
        library.eval()
    assert sum(not torch.equal(one, before) for one, before in zip(ours, start, strict=True)) > len(ours) // 2
    for one, other in zip(ours, copies, strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-4, atol=1e-7)


@pytest.fixture
def batch_gradients(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Tensor]]:
    """Return a function that takes one step of a pack and gives the gradients of its first member's parameters."""
    from lora_lab.train import step

    def of(opened: Any, batch: Any) -> list[Tensor]:
        found: list[Tensor] = []
        real = step._move

        def note(member: Member) -> Tensor:
            found.extend(p.grad.clone() for group in member.groups for p in group["params"])
            return real(member)

        with monkeypatch.context() as patch:
            patch.setattr(step, "_move", note)
            pack_step(opened.session, opened.members, [batch])
        return found

    return of


@pytest.mark.filterwarnings("ignore:.*aged:UserWarning")
@pytest.mark.parametrize("name", ALL)
def test_resumes_exactly(name: str, open_pack: Open, make_config: Make, tmp_path: Path) -> None:
    """Two steps, a state, two more steps: bit for bit the same from the state in a fresh pack as without a stop."""
    config = make_config(**settings(name))

    def steps(opened: Any, *numbers: int) -> list[Tensor]:
        for number in numbers:
            pack_step(opened.session, opened.members, [opened.data.training[number]])
        return [p.detach().clone() for group in opened.members[0].groups for p in group["params"]]

    first = open_pack(config, up=0.05)
    steps(first, 0, 1)
    save_state(tmp_path / "x-state", first.members[0], 2, 1)
    wanted = steps(first, 2, 3)
    again = open_pack(config)
    assert load_state(tmp_path / "x-state", again.members[0]) == 2
    found = steps(again, 2, 3)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["AdamW8bit", "Lion8bit", "SGDNesterov8bit"])
def test_eight_bits(name: str, open_pack: Open, make_config: Make) -> None:
    """The optimizers of 8 bits keep their moments in bytes."""
    opened = open_pack(make_config(**settings(name)))
    pack_step(opened.session, opened.members, [opened.data.training[0]])
    states = opened.members[0].optimizer.state.values()
    assert {state["state1"].dtype for state in states} == {torch.uint8}


def test_eight_bits_where_they_do_not_run(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bitsandbytes can't take a step, one line says so when the run starts and names what can be used."""
    import bitsandbytes

    def fail(self: Any, *args: Any) -> None:
        raise RuntimeError("All input tensors need to be on the same GPU\nmore")

    monkeypatch.setattr(bitsandbytes.optim.AdamW8bit, "update_step", fail)
    groups = [{"params": [nn.Parameter(torch.zeros(3))], "lr": 1e-3, "label": "unet"}]
    with pytest.raises(Failure, match=r"does not run on cpu: All input.*GPU; .*or use AdamW instead of AdamW8bit"):
        make_optimizer(groups, make_config(optimizer_type="AdamW8bit"))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_one_rate_for_all_parts(name: str, open_pack: Open, make_config: Make) -> None:
    """The optimizers that find their rate have one for both parts: two are refused before the first step."""
    with pytest.raises(Failure, match=rf"{name} finds one rate for all parts, and here are text_encoder 0\.5, unet 1"):
        open_pack(make_config(**{**settings(name), "text_encoder_lr": 0.5}))


def test_rates_are_told(open_pack: Open, make_config: Make) -> None:
    """Prodigy's own estimate is told beside the schedule's rate: their product is what the weights move by."""
    opened = open_pack(make_config(**{**settings("Prodigy"), "scheduler": "linear"}), up=0.05)
    before = rates(opened.members[0].optimizer)
    assert before["lr/unet"] == 1.0
    assert before["effective_lr/unet"] == pytest.approx(1e-6)
    for number in range(3):
        pack_step(opened.session, opened.members, [opened.data.training[number]])
    after = rates(opened.members[0].optimizer)
    estimate = opened.members[0].optimizer.param_groups[1]["d"]
    assert after["lr/unet"] == pytest.approx(0.5)
    assert after["effective_lr/unet"] == after["effective_lr/text_encoder"] == pytest.approx(0.5 * estimate)
    assert rates(open_pack(make_config()).members[0].optimizer).keys() == {"lr/unet", "lr/text_encoder"}


def test_adafactor_with_its_own_rate(open_pack: Open, make_config: Make) -> None:
    """With relative_step AdaFactor sets the rate: those of the config, and its schedule, have no effect."""
    results = []
    for values in ({"learning_rate": 1e-3}, {"learning_rate": 1.0, "unet_lr": 2.0, "scheduler": "plateau"}):
        opened = open_pack(make_config(optimizer_type="AdaFactor", warmup_lr_ratio=0.5, **values), up=0.05)
        (member,) = opened.members
        assert isinstance(member.schedule, OwnRates)
        member.schedule.judge(1.0)
        for number in range(2):
            expected = rates(member.optimizer)["lr/unet"]
            pack_step(opened.session, opened.members, [opened.data.training[number]])
            first = next(g for g in member.optimizer.param_groups if g["label"] == "unet")
            told = member.optimizer._get_lr(first, member.optimizer.state[first["params"][0]])
            assert expected == pytest.approx(float(told))
        results.append([p.detach().clone() for group in member.groups for p in group["params"]])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_adafactor_by_itself(open_pack: Open, make_config: Make, batch_gradients: Any) -> None:
    """With relative_step a step is that of transformers' Adafactor as its documentation builds it, without a rate."""
    from transformers.optimization import Adafactor

    opened = open_pack(make_config(optimizer_type="AdaFactor", max_grad_norm=0.0), up=0.05)
    ours = [p for group in opened.members[0].groups for p in group["params"]]
    copies = [nn.Parameter(p.detach().clone()) for p in ours]
    library = Adafactor(copies, lr=None, relative_step=True)
    for copy, gradient in zip(copies, batch_gradients(opened, opened.data.training[0]), strict=True):
        copy.grad = gradient
    library.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, copies, strict=True))


def test_adafactor_with_a_rate_given(open_pack: Open, make_config: Make) -> None:
    """Without relative_step it is an optimizer like any: both parts have their rates, and the schedule moves them."""
    config = make_config(
        optimizer_type="AdaFactor",
        optimizer_args=["relative_step=False", "warmup_init=False"],
        unet_lr=2e-3,
        scheduler="linear",
    )
    (member,) = open_pack(config).members
    assert rates(member.optimizer) == {"lr/text_encoder": 1e-3, "lr/unet": 2e-3}
    member.optimizer.step()
    member.schedule.advance()
    assert rates(member.optimizer)["lr/unet"] == pytest.approx(2e-3 * 5 / 6)


def test_adafactor_refuses_to_warm_up_at_a_given_rate(open_pack: Open, make_config: Make) -> None:
    """`warmup_init` without relative_step is refused, where sd-scripts silently turns relative_step on."""
    config = make_config(optimizer_type="AdaFactor", optimizer_args=["relative_step=False", "warmup_init=True"])
    with pytest.raises(Failure, match=r"AdaFactor refuses its arguments: .*warmup_init"):
        open_pack(config)


def test_nothing_is_printed(make_config: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """What the libraries print when they are built does not get between the lines of the progress."""
    groups = [{"params": [nn.Parameter(torch.zeros(3))], "lr": 1.0, "label": "unet"}]
    for name in ("Prodigy", "DAdaptAdam", "AdamW8bit"):
        args = ["weight_decay=0.1"] if name == "AdamW8bit" else ["weight_decay=0.1", "decouple=True"]
        config = make_config(optimizer_type=name, learning_rate=1.0, optimizer_args=args)
        make_schedule(make_optimizer(groups, config), config, 4, 0)
    assert capfd.readouterr() == ("", "")


def test_pack_keeps_optimizers_apart(open_pack: Open, make_config: Make) -> None:
    """Members of a pack with different optimizers move as each does alone."""
    configs = [make_config(**settings(name), test_seed=seed) for seed, name in enumerate(("Prodigy", "Lion", "AdamW"))]

    def moved(opened: Any) -> list[list[Tensor]]:
        for number in range(2):
            pack_step(opened.session, opened.members, [opened.data.training[number]])
        return [[p.detach().clone() for g in member.groups for p in g["params"]] for member in opened.members]

    packed = moved(open_pack(*configs))
    for config, together in zip(configs, packed, strict=True):
        (alone,) = moved(open_pack(config))
        near = [torch.isclose(a, b, rtol=1e-3, atol=1e-5).float().mean() for a, b in zip(alone, together, strict=True)]
        assert min(near) > 0.9  # Lion takes the sign, so that a gradient that is all rounding may go either way
