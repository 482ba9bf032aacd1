"""Gradients and merged weights against peft and by hand; the gradient scaler."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.train import lora_file, noising, prepare, step
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.step import pack_losses, pack_step

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]
Gradients = dict[str, Tensor]


@pytest.mark.filterwarnings("ignore:.*DDIMScheduler:FutureWarning")  # diffusers wants other settings to sample with
@pytest.mark.parametrize("values", [{}, {"conv_dim": 2, "conv_alpha": 1.0}], ids=["plain", "with convolutions"])
def test_gradients_are_those_of_peft(
    values: dict[str, object],
    open_pack: Open,
    make_config: Make,
    gradients: Callable[..., Gradients],
    seen: Any,
    base_folder: Path,
    tmp_path: Path,
) -> None:
    """The gradients of a step are those that peft gives for the same LoRA, batch, noise and timesteps."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(base_folder)
    config = make_config(**values)
    opened = open_pack(config, up=0.3)
    batch = opened.data.training[0]
    ours = gradients(opened, batch)
    noisy, t, _, _ = seen[0]
    noise = noising.drawn_noise(config, noisy, 0)
    lora_file.save_lora(tmp_path / "x.safetensors", lora_file.state_dict(opened.members[0].layers, torch.float32), {})
    pipe.load_lora_weights(tmp_path / "x.safetensors")
    models = {"lora_unet": pipe.unet, "lora_te_text_model": pipe.text_encoder}
    factors = {
        (prefix, name): p for prefix, m in models.items() for name, p in m.named_parameters() if ".lora_" in name
    }
    for parameter in factors.values():
        parameter.requires_grad_(True)
    states = pipe.text_encoder(batch.token_ids[0][:, 0]).last_hidden_state
    (pipe.unet(noisy, t, states).sample - noise).square().mean().backward()
    theirs: Gradients = {}
    for (prefix, name), parameter in factors.items():
        path, part = name.removeprefix("text_model.").split(".lora_")
        theirs[f"{prefix}_{path.replace('.', '_')}.{'down' if part[0] == 'A' else 'up'}"] = parameter.grad
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        wanted = gradient.reshape(ours[name].shape)
        torch.testing.assert_close(ours[name], wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()) + 1e-8)


def test_merged_by_hand(open_pack: Open, make_config: Make, base_folder: Path) -> None:
    """A base with W + alpha / rank · up · down written into its weights predicts what the trainer does, to 1e-5."""
    opened = open_pack(make_config(), up=0.3)
    session, batch = opened.session, opened.data.training[0]
    state = lora_file.state_dict(opened.members[0].layers, torch.float32)
    family, merged = SD1(), SD1().load(Asked(base_folder))
    bare = SD1().load(Asked(base_folder))
    for name, (owner, attribute) in family.layers(merged).items():
        weight = getattr(owner, attribute).weight
        up, down = state[f"{name}.lora_up.weight"].flatten(1), state[f"{name}.lora_down.weight"].flatten(1)
        weight.data += (2.0 / 4) * (up @ down).view_as(weight)
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 800])
    with torch.no_grad(), session.pack.serving(0):
        ours = family.predict(session.base, latents, t, family.encode(session.base, batch.token_ids[0], 1))
        other, plain = (
            family.predict(base, latents, t, family.encode(base, batch.token_ids[0], 1)) for base in (merged, bare)
        )
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
    assert (ours - plain).abs().max() > 0.01


def test_scaler_is_the_adapters_own(open_pack: Open, make_config: Make) -> None:
    """With gradient scaling, one adapter's overflow skips its own step only, and changes no other's scale."""
    opened = open_pack(make_config(test_seed=1), make_config(test_seed=2))
    scaled = [replace(m, scaler=torch.amp.GradScaler("cpu", init_scale=1024.0)) for m in opened.members]
    first, second = ([w.up for _, w in member.layers] for member in scaled)
    real, calls = pack_losses, []

    def overflow(session: Any, members: Any, batch: Any) -> Tensor:
        calls.append(batch)
        return real(session, members, batch) * torch.tensor([float("inf"), 1.0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "pack_losses", overflow)
        pack_step(opened.session, scaled, [opened.data.training[0]])
    assert [member.scaler.get_scale() for member in scaled] == [512.0, 1024.0]
    assert not any(up.any() for up in first)
    assert any(up.any() for up in second)
    assert all(torch.isfinite(up).all() for up in second)
    alone = prepare.make_accelerator("no")
    assert alone.scaler is None


def test_scaling_changes_no_step(open_pack: Open, make_config: Make) -> None:
    """A step with scaled gradients is the step without: clipping sees the gradients as they are."""
    results = []
    for scaled in (False, True):
        opened = open_pack(make_config(max_grad_norm=0.01))
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        members = [replace(opened.members[0], scaler=scaler)]
        _, (norm,) = pack_step(opened.session, members, [opened.data.training[0]])
        results.append((norm, [w.up.detach().clone() for _, w in members[0].layers]))
    torch.testing.assert_close(results[0][0], results[1][0])
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-7)
