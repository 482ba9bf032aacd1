"""SDXL runs: what holds for SD 1 holds for them; other programs load what they write and draw the same."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline

from lora_lab.config import TrainConfig
from lora_lab.train import sample
from lora_lab.train.draws import normal
from lora_lab.train.lora_file import save_lora, state_dict
from lora_lab.train.noise import TRAIN_STEPS
from lora_lab.train.sample import Prompt

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]
Train = Callable[..., Any]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]

PROMPT = Prompt("lumi, red", "dark", 64, 96, seed=5, guidance=4.0, steps=3)


def pipeline(base: Path, file: Path, caplog: pytest.LogCaptureFixture) -> Any:
    """Plain diffusers with a LoRA file, of which it leaves nothing out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionXLPipeline.from_pretrained(base)
        pipe.load_lora_weights(file)
    assert not [record for record in caplog.records if "key" in record.getMessage().lower()]
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    )
    return pipe


def test_diffusers_draws_the_same_picture(
    open_pack: Open,
    make_config: Make,
    whole_xl: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """diffusers takes every layer of the file, convolutions too, and draws the picture that the trainer draws.

    Two levels of 255 are allowed for float32 sums in another order.
    """
    config = make_config(base_model=str(whole_xl), net_dim=4, alpha=3.0, conv_dim=2, conv_alpha=1.0)
    opened = open_pack(config, up=0.2)
    with opened.session.pack.serving(0):
        ours = numpy.asarray(sample.draw(opened.session, [PROMPT], config)[0], dtype=float)
    with opened.session.pack.serving():
        bare = numpy.asarray(sample.draw(opened.session, [PROMPT], config)[0], dtype=float)
    save_lora(tmp_path / "lora.safetensors", state_dict(opened.members[0].layers, torch.float32), {})
    pipe = pipeline(whole_xl, tmp_path / "lora.safetensors", caplog)
    taken = [
        sum(type(m).__module__.startswith("peft.tuners.lora") and hasattr(m, "lora_A") for m in model.modules())
        for model in (pipe.text_encoder, pipe.text_encoder_2, pipe.unet)
    ]
    assert taken == [3 * 6, 4 * 6, 722 + 66]
    theirs = pipe(
        PROMPT.text,
        negative_prompt=PROMPT.negative,
        width=PROMPT.width,
        height=PROMPT.height,
        num_inference_steps=PROMPT.steps,
        guidance_scale=PROMPT.guidance,
        latents=normal((1, 4, PROMPT.height // 8, PROMPT.width // 8), 5, "sample"),
    ).images[0]
    assert numpy.abs(ours - bare).mean() > 5
    assert numpy.abs(ours - numpy.asarray(theirs, dtype=float)).max() <= 2


@pytest.mark.parametrize(
    "values", [{"network_dropout": 0.2, "flip_aug": True}, {"gradient_acc_steps": 2, "batch_size": 1}]
)
def test_resumed_is_uninterrupted(values: dict[str, object], xl_base: Path, train: Train, same_tensors: Same) -> None:
    """Six steps at once, and three, then three more from the state, give the same tensors bit for bit."""
    common = {"base_model": str(xl_base), "max_steps": 6, "conv_dim": 2, **values}
    straight = train(save_state=True, save_every_n_steps=3, **common)
    resumed = train(load_previous_save_state=str(straight.folder / "at-step00000003-state"), **common)
    assert same_tensors(straight.tensors, resumed.tensors)


def test_packed_is_alone(
    xl_base: Path, make_config: Make, train_pack_of: Callable[[Sequence[TrainConfig]], list[Any]], train: Train
) -> None:
    """A pack has the curves and weights of its runs alone; that one has another clip_skip changes nothing at all."""
    common: dict[str, object] = {"base_model": str(xl_base), "max_steps": 3, "validation_split": 0.25}
    mixed: list[dict[str, object]] = [
        {"net_dim": 2, "test_seed": 1, "shuffle_captions": True},
        {"net_dim": 6, "test_seed": 2, "unet_only": True, "clip_skip": 2},
    ]
    packed = train_pack_of([make_config(**common, **values) for values in mixed])
    for values, member in zip(mixed, packed, strict=True):
        alone = train(**common, **values)
        assert alone.tensors.keys() == member.tensors.keys()
        assert alone.curve("loss") == pytest.approx(member.curve("loss"), rel=1e-4)
        assert alone.curve("val_loss") == pytest.approx(member.curve("val_loss"), rel=1e-4)
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(member.tensors[name], tensor, rtol=1e-3, atol=1e-4)
    assert all(name.startswith("lora_unet_") for name in packed[1].tensors)
    told = train(**common, **{**mixed[1], "clip_skip": 1})
    assert told.curve("loss") == train(**common, **mixed[1]).curve("loss")


def test_gradient_checkpointing(
    xl_base: Path, open_pack: Open, make_config: Make, gradients: Callable[..., dict[str, torch.Tensor]]
) -> None:
    """Checkpointing gives the same gradients while both text encoders run twice, and goes off again."""
    found, passes = [], []
    for on in (False, True, False):
        opened = open_pack(make_config(base_model=str(xl_base), gradient_checkpointing=on), up=0.3)
        ran = [0, 0]
        hooks = [
            module.register_forward_pre_hook(lambda *_, place=place, ran=ran: ran.__setitem__(place, ran[place] + 1))
            for place, encoder in enumerate(opened.session.base.text_encoders)
            for module in encoder.modules()
            if type(module).__name__ == "CLIPMLP"
        ]
        found.append(gradients(opened, opened.data.training[0]))
        for hook in hooks:
            hook.remove()
        passes.append(ran)
    assert passes == [[3, 4], [6, 8], [3, 4]] or passes == [[3, 4], [5, 8], [3, 4]]  # nothing hears the first's last
    for one in found[1:]:
        assert one.keys() == found[0].keys()
        for name, gradient in one.items():
            torch.testing.assert_close(gradient, found[0][name], rtol=1e-4, atol=1e-6)


def test_rates_of_the_parts(xl_base: Path, train: Train) -> None:
    """`text_encoder_lr` is the rate of both text encoders: with SGD they move in proportion, the U-Net does not."""
    common = {"base_model": str(xl_base), "max_steps": 1, "optimizer_type": "SGDNesterov", "max_grad_norm": 0}
    slow, fast = (train(unet_lr=0.1, text_encoder_lr=rate, **common).tensors for rate in (0.1, 0.2))
    seen = set()
    for name, tensor in slow.items():
        if name.endswith("lora_up.weight") and tensor.abs().max() > 0:
            kind = name.split("_")[1]
            torch.testing.assert_close(fast[name], tensor * (1 if kind == "unet" else 2), rtol=1e-3, atol=1e-9)
            seen.add(kind)
    assert seen == {"te1", "te2", "unet"}


def test_velocity_that_ends_in_pure_noise(
    xl_base: Path, open_pack: Open, make_config: Make, train: Train, tmp_path: Path
) -> None:
    """v-prediction SDXL with zero-terminal SNR trains, says so in its file, and draws from pure noise."""
    import shutil

    from safetensors import safe_open

    folder = shutil.copytree(xl_base, tmp_path / "vpred")
    about = folder / "scheduler" / "scheduler_config.json"
    about.write_text(about.read_text().replace('"epsilon"', '"v_prediction"'))
    wanted: dict[str, object] = {
        "base_model": str(folder),
        "v_parameterization": True,
        "zero_terminal_snr": True,
        "max_steps": 1,
        "scale_v_pred_loss_like_noise_pred": True,
        "min_snr_gamma": 5.0,
        "unet_only": True,
    }
    opened = open_pack(make_config(**wanted))
    assert float(opened.session.base.alphas_cumprod[TRAIN_STEPS - 1]) == 0
    assert opened.session.base.prediction_type == "v_prediction"
    picture = sample.draw(opened.session, [PROMPT], opened.members[0].config)[0]
    assert numpy.asarray(picture).std() > 1
    run = train(**wanted)
    assert numpy.isfinite(run.curve("loss")[1])
    with safe_open(run.result.lora, "pt") as file:
        told = file.metadata()
    assert (told["modelspec.prediction_type"], told["ss_zero_terminal_snr"]) == ("v", "True")
    assert (told["ss_v2"], told["ss_base_model_version"]) == ("False", "sdxl_base_v1-0")
