"""What follows from a config by arithmetic."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.config import (
    StepPlan,
    TrainConfig,
    effective_alpha,
    effective_batch,
    learning_rate_of,
    plan_steps,
    scale,
    trained_parts,
    warmup_steps,
)


def config(**values: Any) -> TrainConfig:
    """Build a config of these values and the required paths."""
    return TrainConfig.model_validate({"base_model": "b", "img_folder": "i", "output_folder": "o", **values})


@pytest.mark.parametrize(
    ("values", "batches", "plan"),
    [
        ({"num_epochs": 10}, 73, StepPlan(73, 730, 0, 10)),
        ({"num_epochs": 3, "gradient_acc_steps": 4}, 10, StepPlan(3, 9, 0, 3)),
        ({"num_epochs": 10, "max_steps": 100}, 73, StepPlan(73, 100, 0, 2)),
        ({"max_steps": 146, "warmup_lr_ratio": 0.1}, 73, StepPlan(73, 146, 14, 2)),
        ({"num_epochs": 1, "warmup_lr_ratio": 0.05}, 19, StepPlan(19, 19, 0, 1)),
        ({"num_epochs": 2, "lr_warmup_steps": 5, "warmup_lr_ratio": 0.5}, 10, StepPlan(10, 20, 5, 2)),
        ({"num_epochs": 2, "lr_warmup_steps": 0, "warmup_lr_ratio": 0.5}, 10, StepPlan(10, 20, 0, 2)),
    ],
)
def test_the_plan_of_a_run(values: dict[str, Any], batches: int, plan: StepPlan) -> None:
    """Steps, epochs and warm-up as counted by hand: max_steps wins, accumulation rounds up, warm-up rounds down."""
    assert plan_steps(config(**values), batches) == plan


@given(st.integers(1, 10_000), st.integers(1, 64), st.integers(1, 50), st.none() | st.integers(1, 10_000))
def test_the_epochs_of_a_plan_hold_its_steps(batches: int, accumulation: int, epochs: int, steps: int | None) -> None:
    """The planned epochs are just enough for the steps, and an epoch's steps just enough for its batches."""
    plan = plan_steps(config(gradient_acc_steps=accumulation, num_epochs=epochs, max_steps=steps), batches)
    assert (plan.epochs - 1) * plan.steps_per_epoch < plan.total_steps <= plan.epochs * plan.steps_per_epoch
    assert (plan.steps_per_epoch - 1) * accumulation < batches <= plan.steps_per_epoch * accumulation


def test_a_run_needs_a_batch() -> None:
    """No batch, no plan."""
    with pytest.raises(ValueError, match="batch"):
        plan_steps(config(), 0)


def test_each_part_has_its_learning_rate() -> None:
    """A part without a rate of its own takes the common one."""
    assert learning_rate_of(config(learning_rate=3e-4), "text_encoder") == 3e-4
    split = config(learning_rate=3e-4, text_encoder_lr=1e-5, unet_lr=2e-4)
    assert learning_rate_of(split, "text_encoder") == 1e-5
    assert learning_rate_of(split, "unet") == 2e-4


def test_trained_parts_come_text_encoder_first() -> None:
    """The switches leave out the other part."""
    assert trained_parts(config()) == ("text_encoder", "unet")
    assert trained_parts(config(unet_only=True)) == ("unet",)
    assert trained_parts(config(text_only=True)) == ("text_encoder",)
    assert trained_parts(config(text_only=True, unet_only=True)) == ()


@pytest.mark.parametrize(
    ("dim", "alpha", "effective", "factor"),
    [(32, 16, 16.0, 0.5), (64, 0, 64.0, 1.0), (8, None, 8.0, 1.0), (4, 1, 1.0, 0.25)],
)
def test_alpha_over_rank(dim: int, alpha: float | None, effective: float, factor: float) -> None:
    """0 and null act like the rank."""
    values = config(net_dim=dim, alpha=alpha)
    assert effective_alpha(values) == effective
    assert scale(values) == factor


def test_the_effective_batch_counts_accumulation_and_processes() -> None:
    """Batch × accumulation × processes."""
    assert effective_batch(config(batch_size=3, gradient_acc_steps=4), processes=2) == 24


def test_no_warmup_by_default() -> None:
    """Without either key the learning rate starts at its full height."""
    assert warmup_steps(config(), 1000) == 0
