"""Learning-rate schedules against formulas written down here."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lora_lab.config import TrainConfig
from lora_lab.train.schedule import Schedule, make_schedule

Make = Callable[..., TrainConfig]
TOTAL, WARM, BASE = 60, 6, 1e-3


def optimizer() -> torch.optim.Optimizer:
    """Two groups, the second at half the learning rate of the first."""
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    built = torch.optim.SGD([{"params": [first], "lr": BASE}, {"params": [second], "lr": BASE / 2}], lr=BASE)
    for parameter in (first, second):
        parameter.grad = torch.zeros(1)
    return built


def advance(schedule: Schedule, own: torch.optim.Optimizer) -> None:
    """One step of training."""
    own.step()
    schedule.advance()


def curve(config: TrainConfig, warmup: int, total: int = TOTAL) -> list[float]:
    """The learning rate of the first group at each step, as a share of its own; the second's must be half of it."""
    own = optimizer()
    schedule = make_schedule(own, config, total, warmup)
    rates = []
    for _ in range(total):
        first, second = (group["lr"] for group in own.param_groups)
        assert second == pytest.approx(first / 2)
        rates.append(first / BASE)
        advance(schedule, own)
    return rates


def after(shape: Callable[[float], float], warmup: int) -> list[float]:
    """A linear climb from 0, then `shape` of the share of the rest that is done."""
    return [n / warmup if n < warmup else shape((n - warmup) / (TOTAL - warmup)) for n in range(TOTAL)]


SHAPES: dict[str, tuple[dict[str, object], Callable[[float], float]]] = {
    "linear": ({"scheduler": "linear"}, lambda done: 1 - done),
    "cosine": ({"scheduler": "cosine"}, lambda done: (1 + math.cos(math.pi * done)) / 2),
    "three cycles": (
        {"scheduler": "cosine_with_restarts", "cosine_restarts": 3},
        lambda done: (1 + math.cos(math.pi * (3 * done % 1))) / 2,
    ),
    "polynomial": (
        {"scheduler": "polynomial", "scheduler_power": 2.0},
        lambda done: (1e-7 + (BASE - 1e-7) * (1 - done) ** 2) / BASE,
    ),
    "constant_with_warmup": ({"scheduler": "constant_with_warmup"}, lambda done: 1.0),
}


@pytest.mark.parametrize("warmup", [0, WARM])
@pytest.mark.parametrize(("values", "shape"), SHAPES.values(), ids=SHAPES.keys())
def test_curves(values: dict[str, object], shape: Callable[[float], float], warmup: int, make_config: Make) -> None:
    """Each curve is its formula, after a linear warm-up from 0."""
    wanted = after(shape, warmup)
    if "cosine_restarts" in values:  # floating point decides on which side of a jump a point that lies on it falls
        found = curve(make_config(learning_rate=BASE, **values), warmup)
        assert sum(abs(a - b) > 1e-6 for a, b in zip(found, wanted, strict=True)) <= 2
        assert sum(b - a > 0.5 for a, b in itertools.pairwise(found)) == 2
        return
    assert curve(make_config(learning_rate=BASE, **values), warmup) == pytest.approx(wanted, abs=1e-9)


def test_one_cycle_is_plain_cosine(make_config: Make) -> None:
    """cosine_with_restarts with one cycle never jumps."""
    once = curve(make_config(scheduler="cosine_with_restarts", cosine_restarts=1), 0)
    assert once == pytest.approx(curve(make_config(scheduler="cosine"), 0), abs=1e-9)


def test_constant(make_config: Make) -> None:
    """Constant is constant."""
    assert curve(make_config(scheduler="constant"), 0) == [1.0] * TOTAL


def test_step(make_config: Make) -> None:
    """Step takes a tenth of the learning rate after each third of the steps."""
    rates = curve(make_config(scheduler="step"), 0)
    assert rates == pytest.approx([1.0] * 20 + [0.1] * 20 + [0.01] * 20)
    assert curve(make_config(scheduler="step"), 0, total=2) == pytest.approx([1.0, 0.1])


def test_step_warms_up(make_config: Make) -> None:
    """A warm-up of 4 steps before the falls climbs in fifths, its first step not at 0."""
    assert curve(make_config(scheduler="step"), 4)[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def plateau(make_config: Make, warmup: int = 0) -> tuple[Schedule, torch.optim.Optimizer]:
    """A plateau schedule with its optimizer."""
    own = optimizer()
    return make_schedule(own, make_config(scheduler="plateau"), TOTAL, warmup), own


def rates(own: torch.optim.Optimizer) -> list[float]:
    """The learning rates as shares of the first group's."""
    return [group["lr"] / BASE for group in own.param_groups]


def test_plateau_halves(make_config: Make) -> None:
    """While the loss falls the learning rate stays; after more than two judgements without a fall it is halved."""
    schedule, own = plateau(make_config)
    seen = []
    for loss in (5.0, 4.0, 3.0, 3.0, 3.1, 3.0, 2.0, 2.5, 2.5, 2.5, 2.5):
        advance(schedule, own)
        schedule.judge(loss)
        seen.append(rates(own)[0])
    assert seen == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(own) == [0.25, 0.125]


def test_plateau_warms_up(make_config: Make) -> None:
    """A warm-up climbs to the full learning rate, and judgements during it do not count."""
    schedule, own = plateau(make_config, warmup=4)
    seen = []
    for _ in range(6):
        seen.append(rates(own)[0])
        schedule.judge(1.0)
        advance(schedule, own)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize(
    "values",
    [{"scheduler": "cosine"}, {"scheduler": "step"}, {"scheduler": "plateau"}, {"scheduler": "constant"}],
    ids=str,
)
def test_position_survives(values: dict[str, object], make_config: Make) -> None:
    """A schedule that is put where another was goes on exactly as that one does."""
    own = optimizer()
    first = make_schedule(own, make_config(**values), TOTAL, WARM)
    for number in range(25):
        advance(first, own)
        if number % 4 == 0:
            first.judge(2.0)
    state = first.state_dict()
    other = optimizer()
    second = make_schedule(other, make_config(**values), TOTAL, WARM)
    advance(second, other)
    second.load_state_dict(state)
    assert second.state_dict() == state
    for number in range(30):
        assert [g["lr"] for g in own.param_groups] == [g["lr"] for g in other.param_groups]
        advance(first, own)
        advance(second, other)
        if number % 4 == 0:
            first.judge(2.0)
            second.judge(2.0)


def test_state_is_plain(make_config: Make) -> None:
    """The state holds numbers and lists only, so that it can be loaded without trusting it."""
    for name in ("cosine", "plateau"):
        own = optimizer()
        state = make_schedule(own, make_config(scheduler=name), TOTAL, 2).state_dict()
        plain = [state]
        while plain:
            value = plain.pop()
            assert isinstance(value, dict | list | int | float)
            plain.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
