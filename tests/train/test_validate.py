"""Validation loss: the plain mean squared error on held-out pictures, whatever a run trains with."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from lora_lab.config import TrainConfig
from lora_lab.train.draws import normal
from lora_lab.train.validate import TIMESTEPS, validation_losses

Make = Callable[..., TrainConfig]


def test_timesteps_are_spread() -> None:
    """Eight timesteps, in the middle of eight equal parts of 0…1000."""
    assert [round(1000 * (2 * n + 1) / 16 - 0.5) for n in range(8)] == list(TIMESTEPS)


def test_by_hand(open_pack: Callable[..., Any], make_config: Make) -> None:
    """The number is what diffusers' scheduler and the bare U-Net give, picture by picture."""
    opened = open_pack(make_config(validation_split=0.4, batch_size=2))
    session, held_out = opened.session, opened.data.validation
    (value,) = validation_losses(session, opened.members, held_out)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    errors = []
    with torch.no_grad():
        for batch in (held_out[n] for n in range(len(held_out))):
            for latent, ids, item in zip(batch.latents, batch.token_ids[0], batch.items[0], strict=True):
                states = session.base.text_encoders[0](ids).last_hidden_state
                for timestep in TIMESTEPS:
                    t = torch.tensor([timestep])
                    noise = normal((1, 4, 8, 8), 0, "validation", item, timestep)
                    noisy = scheduler.add_noise(latent[None] * 0.18215, noise, t)
                    errors.append(float((session.base.unet(noisy, t, states).sample - noise).square().mean()))
    assert len(errors) == 3 * 8
    assert value == pytest.approx(sum(errors) / len(errors), rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"loss_type": "l1"},
        {"min_snr_gamma": 1.0},
        {"noise_offset": 0.5},
        {"test_seed": 99},
        {"batch_size": 1},
        {"prior_loss_weight": 0.1},
        {"network_dropout": 0.9},
        {"shuffle_captions": True, "caption_dropout_rate": 0.9},
        {"flip_aug": True},
        {"cache_latents": False, "color_aug": True},
    ],
    ids=str,
)
def test_same_for_any_way_of_training(
    values: dict[str, object], open_pack: Callable[..., Any], make_config: Make
) -> None:
    """With the same weights, the validation loss does not depend on how a run trains."""

    def value(**changed: object) -> float:
        opened = open_pack(make_config(validation_split=0.25, **changed))
        torch.manual_seed(1)
        for _, weights in opened.members[0].layers:
            torch.nn.init.normal_(weights.up, std=0.2)
            torch.nn.init.normal_(weights.down, std=0.2)
        return validation_losses(opened.session, opened.members, opened.data.validation)[0]

    assert value(**values) == pytest.approx(value(), rel=1e-5)
