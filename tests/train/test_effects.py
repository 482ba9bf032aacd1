"""What parameters do in training: seen in gradients, losses and weights, not in what is stored."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.train import lora_file, loss, prepare, step
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.step import Member, pack_losses, pack_step

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]
Gradients = dict[str, Tensor]


def strengthen(opened: Any, scale: float = 0.3) -> Any:
    """Give every adapter an `up` that is not zero, the same at each call."""
    torch.manual_seed(1)
    for member in opened.members:
        for _, weights in member.layers:
            torch.nn.init.normal_(weights.up, std=scale)
    return opened


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gradients]:
    """Return a function that gives the gradients of the first adapter after a step on some batches."""

    def of(opened: Any, *batches: Any) -> Gradients:
        found: Gradients = {}

        def note(member: Member) -> Tensor:
            for name, weights in member.layers:
                for part in ("down", "up"):
                    gradient = getattr(weights, part).grad
                    found[f"{name}.{part}"] = torch.zeros(1) if gradient is None else gradient.clone()
            member.optimizer.zero_grad()
            return torch.zeros(())

        with monkeypatch.context() as patch:
            patch.setattr(step, "_move", note)
            pack_step(opened.session, opened.members, batches)
        return found

    return of


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Tensor, Tensor, Tensor, Tensor]]]:
    """What the U-Net was asked and what it answered: noisy latents, timesteps, text states, prediction."""
    caught: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    real = SD1.predict

    def note(self: SD1, base: Any, noisy: Tensor, t: Tensor, text: Any) -> Tensor:
        answer = real(self, base, noisy, t, text)
        caught.append((noisy.detach(), t, text.states.detach(), answer.detach()))
        return answer

    monkeypatch.setattr(SD1, "predict", note)
    return caught


def same(one: Gradients, other: Gradients, factor: float = 1.0) -> bool:
    """Whether gradients are `factor` times others, to rounding."""
    assert one.keys() == other.keys()
    assert any(gradient.abs().max() > 0 for gradient in one.values())
    return all(
        torch.allclose(one[name], factor * other[name], rtol=1e-3, atol=1e-3 * float(other[name].abs().max()) + 1e-9)
        for name in one
    )


def schedule() -> DDPMScheduler:
    """The noise schedule as diffusers has it."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def test_gradient_acc_steps(
    open_pack: Open, make_config: Make, gradients: Callable[..., Gradients], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches of one picture accumulated have the gradient of the batch of both."""
    monkeypatch.setattr(step, "_noise", lambda config, shape, index: torch.ones(shape))
    monkeypatch.setattr(step, "_timesteps", lambda config, count, index: torch.full((count,), 400))
    opened = strengthen(open_pack(make_config(batch_size=2)))
    batch = opened.data.training[0]
    assert batch.latents.shape[0] == 2
    halves = [
        replace(
            batch,
            latents=batch.latents[n : n + 1],
            token_ids=[batch.token_ids[0][n : n + 1]],
            weights=batch.weights[n : n + 1],
        )
        for n in (0, 1)
    ]
    together = gradients(opened, batch)
    assert same(gradients(opened, *halves), together)
    assert not same(gradients(opened, halves[0]), together)


def test_prior_loss_weight(
    open_pack: Open, make_config: Make, gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    """The gradient of a regularisation picture scales with the weight, that of a training picture does not."""
    (tmp_path / "reg" / "1_thing").mkdir(parents=True)
    source = next(Path(make_config().img_folder).glob("2_lumi/*.png"))
    (tmp_path / "reg" / "1_thing" / "x.png").write_bytes(source.read_bytes() + b"\0")
    found: dict[bool, dict[float, Gradients]] = {True: {}, False: {}}
    for weight in (1.0, 0.25):
        config = make_config(batch_size=1, reg_img_folder=str(tmp_path / "reg"), prior_loss_weight=weight)
        opened = strengthen(open_pack(config))
        for is_reg in (True, False):
            numbers = range(opened.data.batches_per_epoch)
            batch = next(b for n in numbers if (b := opened.data.training[n]).items[0][0].startswith("reg/") == is_reg)
            found[is_reg][weight] = gradients(opened, batch)
    assert same(found[True][0.25], found[True][1.0], 0.25)
    assert same(found[False][0.25], found[False][1.0])


def test_noise_offset(make_config: Make) -> None:
    """The offset adds one number per picture and channel, of the deviation that the config says, to the same noise."""
    shape = (64, 4, 5, 5)
    plain = step._noise(make_config(), shape, 0)
    added = step._noise(make_config(noise_offset=0.1), shape, 0) - plain
    torch.testing.assert_close(added, added[:, :, :1, :1].expand(shape), rtol=0, atol=1e-6)
    numbers = added[:, :, 0, 0]
    assert 0.08 < numbers.std() < 0.12
    assert len(numbers.unique()) == 256
    assert abs(plain.std() - 1) < 0.03


def test_timesteps_cover_the_schedule(make_config: Make) -> None:
    """Timesteps are uniform over 0…999, differ between steps and seeds, and repeat for the same ones."""
    drawn = torch.cat([step._timesteps(make_config(), 8, index) for index in range(500)])
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    counts = torch.histc(drawn.float(), bins=10, min=0, max=1000)
    assert (counts > 300).all()
    assert (counts < 500).all()
    again, other = step._timesteps(make_config(), 8, 0), step._timesteps(make_config(test_seed=9), 8, 0)
    assert torch.equal(again, drawn[:8])
    assert not torch.equal(other, drawn[:8])


@pytest.fixture
def loss_and_parts(
    open_pack: Open, make_config: Make, seen: list[tuple[Tensor, ...]]
) -> Callable[..., tuple[float, tuple[Tensor, ...], Tensor, Tensor]]:
    """Return a function: config values → the trainer's loss of a batch, what the U-Net saw, clean latents, noise."""

    def of(**values: object) -> tuple[float, tuple[Tensor, ...], Tensor, Tensor]:
        config = make_config(**values)
        opened = strengthen(open_pack(config))
        seen.clear()
        batch = opened.data.training[0]
        with opened.session.pack.serving(0, training=True):
            (value,) = pack_losses(opened.session, opened.members, batch).tolist()
        clean = batch.latents * opened.session.base.scaling_factor
        return value, seen[0], clean, step._noise(config, tuple(clean.shape), 0)

    return of


def test_noising_is_that_of_diffusers(loss_and_parts: Callable[..., Any]) -> None:
    """The U-Net gets latents × 0.18215, noised as diffusers' DDPMScheduler does, and the loss is the plain MSE."""
    value, (noisy, t, _, predicted), clean, noise = loss_and_parts()
    torch.testing.assert_close(noisy, schedule().add_noise(clean, noise, t))
    assert value == pytest.approx(float((predicted - noise).square().mean()), rel=1e-5)


def test_v_parameterization(loss_and_parts: Callable[..., Any], base_folder: Path, tmp_path: Path) -> None:
    """On a v-prediction base the target is the velocity, as diffusers computes it."""
    base = shutil.copytree(base_folder, tmp_path / "v")
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace('"epsilon"', '"v_prediction"'))
    value, (_, t, _, predicted), clean, noise = loss_and_parts(base_model=str(base), v_parameterization=True)
    wanted = schedule().get_velocity(clean, noise, t)
    assert value == pytest.approx(float((predicted - wanted).square().mean()), rel=1e-5)
    assert value != pytest.approx(float((predicted - noise).square().mean()), rel=1e-2)


def test_loss_type(loss_and_parts: Callable[..., Any]) -> None:
    """l1 is the mean absolute error; huber lies below l2; smooth_l1 is huber over its threshold."""
    (l2, (_, t, _, predicted), _, noise), l1 = (
        loss_and_parts(batch_size=1),
        loss_and_parts(loss_type="l1", batch_size=1)[0],
    )
    assert l1 == pytest.approx(float((predicted - noise).abs().mean()), rel=1e-5)
    huber, smooth = (loss_and_parts(loss_type=name, batch_size=1)[0] for name in ("huber", "smooth_l1"))
    assert huber == pytest.approx(smooth * float(loss.huber_threshold(schedule().alphas_cumprod, t)), rel=1e-4)
    assert huber < l2


def test_min_snr_gamma(loss_and_parts: Callable[..., Any]) -> None:
    """One picture's loss is multiplied by min(SNR, γ) / SNR of its timestep."""
    for seed in (1, 2, 3):
        plain, (_, t, _, _), _, _ = loss_and_parts(batch_size=1, test_seed=seed)
        weighted = loss_and_parts(batch_size=1, test_seed=seed, min_snr_gamma=0.5)[0]
        alpha = schedule().alphas_cumprod[t].item()
        ratio = alpha / (1 - alpha)
        assert weighted == pytest.approx(plain * min(ratio, 0.5) / ratio, rel=1e-4)


def test_max_grad_norm(open_pack: Open, make_config: Make) -> None:
    """With plain SGD at rate 1 the step has the length of the limit; without a limit, that of the gradient."""
    for limit, expected in ((1e-3, 1e-3), (0.0, None)):
        config = make_config(
            optimizer_type="torch.optim.SGD", learning_rate=1.0, scheduler="constant", max_grad_norm=limit
        )
        opened = strengthen(open_pack(config))
        params = [p for _, w in opened.members[0].layers for p in (w.down, w.up)]
        before = [p.detach().clone() for p in params]
        _, (norm,) = pack_step(opened.session, opened.members, [opened.data.training[0]])
        moved = sum(float((p.detach() - old).square().sum()) for p, old in zip(params, before, strict=True)) ** 0.5
        assert norm > 2e-3
        assert moved == pytest.approx(expected or float(norm), rel=1e-2)


def test_scale_weight_norms(train: Callable[..., Any]) -> None:
    """No layer's alpha / rank · up · down is larger than the limit, some reach it, and without one some are larger."""

    def norms(run: Any) -> list[float]:
        state = run.tensors
        names = [name.removesuffix(".alpha") for name in state if name.endswith(".alpha")]
        assert names
        pairs = ((state[f"{n}.lora_up.weight"].flatten(1), state[f"{n}.lora_down.weight"].flatten(1)) for n in names)
        return [float((up @ down).norm() * 2 / 4) for up, down in pairs]

    limited = norms(train(learning_rate=0.05, scale_weight_norms=0.2, max_steps=3))
    assert max(limited) == pytest.approx(0.2, rel=1e-4)
    assert min(limited) < 0.2
    assert max(norms(train(learning_rate=0.05, max_steps=3))) > 0.25


def test_network_dropout(open_pack: Open, make_config: Make) -> None:
    """Dropout changes training losses from step to step, and no validation."""
    values = {}
    for rate in (None, 0.5):
        opened = strengthen(open_pack(make_config(network_dropout=rate)))
        batch = opened.data.training[0]
        losses = []
        for number, training in ((0, True), (1, True), (0, False)):
            with opened.session.pack.serving(0, step=number, training=training), torch.no_grad():
                losses.append(pack_losses(opened.session, opened.members, batch).item())
        values[rate] = losses
    assert len(set(values[None])) == 1
    assert len(set(values[0.5])) == 3
    assert values[0.5][2] == values[None][0]


@pytest.mark.parametrize("dropout", [None, 0.3])
def test_gradient_checkpointing(
    open_pack: Open, make_config: Make, gradients: Callable[..., Gradients], dropout: float | None
) -> None:
    """Checkpointing gives the same gradients while text encoder and U-Net blocks run twice, and goes off again."""
    found, passes = [], []
    for on in (False, True, False):
        opened = strengthen(open_pack(make_config(gradient_checkpointing=on, network_dropout=dropout)))
        counts = {"CLIPMLP": 0, "ResnetBlock2D": 0}
        modules = [*opened.session.base.text_encoder.modules(), *opened.session.base.unet.modules()]

        def count(module: Any, *_: Any, counts: dict[str, int] = counts) -> None:
            counts[type(module).__name__] += 1

        hooks = [m.register_forward_pre_hook(count) for m in modules if type(m).__name__ in counts]
        found.append(gradients(opened, opened.data.training[0]))
        for hook in hooks:
            hook.remove()
        passes.append(counts)
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert passes[0] == passes[2]
    assert passes[1]["CLIPMLP"] == 2 * passes[0]["CLIPMLP"] == 6
    assert passes[1]["ResnetBlock2D"] > 1.5 * passes[0]["ResnetBlock2D"]  # the first of the middle is not repeated


def test_unet_only_and_text_only(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """unet_only trains and saves no text encoder, which then runs without gradients; text_only the other way."""
    needed: list[bool] = []
    real = SD1.encode

    def note(self: SD1, *args: Any) -> Any:
        answer = real(self, *args)
        needed.append(answer.states.requires_grad)
        return answer

    monkeypatch.setattr(SD1, "encode", note)
    unet, text, both = train(unet_only=True, max_steps=1), train(text_only=True, max_steps=1), train(max_steps=1)
    assert needed == [False, True, True]
    assert {name.partition("_")[0] + name[4:7] for name in unet.tensors} == {"lora_un"[:4] + "_un"}
    assert all(name.startswith("lora_te_") for name in text.tensors)
    assert {*unet.tensors, *text.tensors} == {*both.tensors}
    assert list(unet.curve("lr/unet")) == [1]
    assert not unet.curve("lr/text_encoder")


def test_learning_rates_of_the_parts(train: Callable[..., Any]) -> None:
    """With SGD the text encoder's weights move in proportion to text_encoder_lr, the U-Net's do not care."""
    common: dict[str, object] = {"optimizer_type": "torch.optim.SGD", "scheduler": "constant", "max_steps": 1}
    base = train(**common)
    other = train(**common, text_encoder_lr=4e-3)
    ups = [name for name in base.tensors if name.endswith("lora_up.weight")]
    assert any(base.tensors[name].any() for name in ups if "_te_" in name)
    for name in ups:
        torch.testing.assert_close(
            other.tensors[name], base.tensors[name] * (4 if "_te_" in name else 1), rtol=1e-4, atol=0
        )


def test_alpha_and_net_dim_scale_the_update(open_pack: Open, make_config: Make, seen: list[tuple[Tensor, ...]]) -> None:
    """Twice the alpha is the same as `up` twice as large, and alpha 0 stands for the rank."""
    answers = []
    for alpha, factor in ((2.0, 1.0), (1.0, 2.0), (4.0, 1.0), (0.0, 1.0)):
        opened = strengthen(open_pack(make_config(alpha=alpha)))
        with torch.no_grad(), opened.session.pack.serving(0):
            for _, weights in opened.members[0].layers:
                weights.up.mul_(factor)
            pack_losses(opened.session, opened.members, opened.data.training[0])
        answers.append(seen[-1][3])
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[2], answers[3], rtol=0, atol=0)
    assert not torch.allclose(answers[0], answers[2], atol=1e-3)


def test_clip_skip_reaches_the_unet(open_pack: Open, make_config: Make, seen: list[tuple[Tensor, ...]]) -> None:
    """With clip_skip 2 the U-Net hears the last layer but one, and the last layer's LoRA learns nothing."""
    opened = strengthen(open_pack(make_config(clip_skip=2)))
    caught: list[Tensor] = []
    layers = [m for m in opened.session.base.text_encoder.modules() if type(m).__name__ == "CLIPEncoderLayer"]
    hook = layers[-2].register_forward_hook(
        lambda module, inputs, output: caught.append(output if isinstance(output, Tensor) else output[0])
    )
    with opened.session.pack.serving(0, training=True):
        pack_losses(opened.session, opened.members, opened.data.training[0]).sum().backward()
    hook.remove()
    encoder = opened.session.base.text_encoder
    wanted = getattr(encoder, "text_model", encoder).final_layer_norm(caught[0])
    torch.testing.assert_close(seen[0][2], wanted)
    with_gradient = {name for name, w in opened.members[0].layers if w.up.grad is not None and w.up.grad.any()}
    assert any("encoder_layers_1_" in name for name in with_gradient)
    assert not any("encoder_layers_2_" in name for name in with_gradient)


def test_max_clip_token_length_reaches_the_unet(
    open_pack: Open, make_config: Make, seen: list[tuple[Tensor, ...]]
) -> None:
    """225 gives the U-Net 227 text states."""
    opened = open_pack(make_config(max_clip_token_length=225))
    with opened.session.pack.serving(0, training=True):
        pack_losses(opened.session, opened.members, opened.data.training[0])
    assert seen[0][2].shape[1] == 227


def test_flip_aug(train: Callable[..., Any], same_tensors: Callable[..., bool]) -> None:
    """Mirroring changes what is learned, with cached latents and without."""
    for cached in (True, False):
        plain, mirrored = (train(flip_aug=on, cache_latents=cached, max_steps=3) for on in (False, True))
        assert not same_tensors(plain.tensors, mirrored.tensors)


def test_pixel_augmentation(train: Callable[..., Any], same_tensors: Callable[..., bool]) -> None:
    """color_aug and random_crop change what is learned from pixels; the crop needs an overshoot."""
    values: dict[str, object] = {"cache_latents": False, "max_steps": 3, "buckets": False}
    plain = train(**values)
    assert not same_tensors(plain.tensors, train(**values, color_aug=True).tensors)
    odd: dict[str, object] = {**values, "train_resolution": "64,128", "max_steps": 1}
    assert not same_tensors(train(**odd).tensors, train(**odd, random_crop=True).tensors)


def test_vae(open_pack: Open, make_config: Make, base_folder: Path, tmp_path: Path) -> None:
    """Another VAE gives other latents and leaves the rest of the base alone."""
    first = open_pack(make_config())
    latents, base_hash = first.data.training[0].latents, first.session.base.hash
    vae = SD1().load(base_folder, None, "no", "cpu").vae
    vae.requires_grad_(True).encoder.conv_in.weight.data.mul_(2)
    vae.save_pretrained(tmp_path / "vae")
    second = open_pack(make_config(vae=str(tmp_path / "vae")))
    assert not torch.allclose(second.data.training[0].latents, latents)
    assert second.session.base.hash == base_hash


def test_xformers_that_does_not_run(
    train: Callable[..., Any], same_tensors: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where xformers does not run, one line says so and the run goes on with the same result."""
    from diffusers import UNet2DConditionModel

    def refuse(self: Any) -> None:
        raise ModuleNotFoundError("no xformers")

    monkeypatch.setattr(UNet2DConditionModel, "enable_xformers_memory_efficient_attention", refuse)
    plain, asked = train(max_steps=1), train(max_steps=1, xformers=True)
    assert [p.message for p in asked.progress if "xformers" in p.message] == [
        "xformers does not run on this machine; PyTorch's own attention is used, which gives the same result"
    ]
    assert same_tensors(plain.tensors, asked.tensors)


def test_save_precision(train: Callable[..., Any]) -> None:
    """The file's tensors, alpha too, have the precision asked for, rounded from the same weights."""
    full = train(max_steps=1)
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        small = train(max_steps=1, save_precision=name)
        assert all(torch.equal(small.tensors[key], full.tensors[key].to(dtype)) for key in full.tensors)


@pytest.mark.filterwarnings("ignore:.*DDIMScheduler:FutureWarning")  # diffusers wants other settings to sample with
def test_gradients_are_those_of_peft(
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
    config = make_config()
    opened = strengthen(open_pack(config))
    batch = opened.data.training[0]
    ours = gradients(opened, batch)
    noisy, t, _, _ = seen[0]
    noise = step._noise(config, tuple(noisy.shape), 0)
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
    opened = strengthen(open_pack(make_config()))
    session, batch = opened.session, opened.data.training[0]
    state = lora_file.state_dict(opened.members[0].layers, torch.float32)
    family, merged = SD1(), SD1().load(base_folder, None, "no", "cpu")
    bare = SD1().load(base_folder, None, "no", "cpu")
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
