"""What parameters do in training: seen in gradients, losses and weights, not in what is stored."""

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.train import noising, prepare, step
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.dataset import read_dataset
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.step import pack_losses, pack_step

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]
Gradients = dict[str, Tensor]


def same(one: Gradients, other: Gradients, factor: float = 1.0) -> bool:
    """Whether gradients are `factor` times others, to rounding."""
    assert one.keys() == other.keys()
    assert any(gradient.abs().max() > 0 for gradient in one.values())
    return all(
        torch.allclose(one[name], factor * other[name], rtol=1e-3, atol=1e-3 * float(other[name].abs().max()) + 1e-9)
        for name in one
    )


def test_gradient_acc_steps(
    open_pack: Open, make_config: Make, gradients: Callable[..., Gradients], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches of one picture accumulated have the gradient of the batch of both."""
    monkeypatch.setattr(noising, "drawn_noise", lambda config, clean, index: torch.ones_like(clean))
    monkeypatch.setattr(noising, "timesteps", lambda config, count, index: torch.full((count,), 400))
    opened = open_pack(make_config(batch_size=2), up=0.3)
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
        opened = open_pack(config, up=0.3)
        for is_reg in (True, False):
            numbers = range(opened.data.batches_per_epoch)
            batch = next(b for n in numbers if (b := opened.data.training[n]).items[0][0].startswith("reg/") == is_reg)
            found[is_reg][weight] = gradients(opened, batch)
    assert same(found[True][0.25], found[True][1.0], 0.25)
    assert same(found[False][0.25], found[False][1.0])


def test_max_grad_norm(open_pack: Open, make_config: Make) -> None:
    """With plain SGD at rate 1 the step has the length of the limit; without a limit, that of the gradient."""
    for limit, expected in ((1e-3, 1e-3), (0.0, None)):
        config = make_config(
            optimizer_type="torch.optim.SGD", learning_rate=1.0, scheduler="constant", max_grad_norm=limit
        )
        opened = open_pack(config, up=0.3)
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
        opened = open_pack(make_config(network_dropout=rate), up=0.3)
        batch = opened.data.training[0]
        losses = []
        for number, training in ((0, True), (1, True), (0, False)):
            with opened.session.pack.serving(0, step=number, training=training), torch.no_grad():
                losses.append(pack_losses(opened.session, opened.members, batch).item())
        values[rate] = losses
    assert len(set(values[None])) == 1
    assert len(set(values[0.5])) == 3
    assert values[0.5][2] == values[None][0]


def test_every_batch_has_its_own_dropout(open_pack: Open, make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks follow the number of the batch, so that each batch drops others, and a resumed run the same ones again."""
    opened = open_pack(make_config(network_dropout=0.5))
    numbers: list[tuple[int, bool]] = []
    real = SD1.predict

    def note(self: SD1, *args: Any) -> Tensor:
        numbers.append((opened.session.pack.state.step, opened.session.pack.state.training))
        return real(self, *args)

    monkeypatch.setattr(SD1, "predict", note)
    pack_step(opened.session, opened.members, [opened.data.training[number] for number in (3, 4)])
    assert numbers == [(3, True), (4, True)]


@pytest.mark.parametrize("dropout", [None, 0.3])
def test_gradient_checkpointing(
    open_pack: Open, make_config: Make, gradients: Callable[..., Gradients], dropout: float | None
) -> None:
    """Checkpointing gives the same gradients while text encoder and U-Net blocks run twice, and goes off again."""
    found, passes = [], []
    for on in (False, True, False):
        opened = open_pack(make_config(gradient_checkpointing=on, network_dropout=dropout), up=0.3)
        counts = {"CLIPMLP": 0, "ResnetBlock2D": 0}
        modules = [*opened.session.base.text_encoders[0].modules(), *opened.session.base.unet.modules()]

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
        opened = open_pack(make_config(alpha=alpha), up=0.3)
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
    opened = open_pack(make_config(clip_skip=2), up=0.3)
    caught: list[Tensor] = []
    layers = [m for m in opened.session.base.text_encoders[0].modules() if type(m).__name__ == "CLIPEncoderLayer"]
    hook = layers[-2].register_forward_hook(
        lambda module, inputs, output: caught.append(output if isinstance(output, Tensor) else output[0])
    )
    with opened.session.pack.serving(0, training=True):
        pack_losses(opened.session, opened.members, opened.data.training[0]).sum().backward()
    hook.remove()
    encoder = opened.session.base.text_encoders[0]
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
    vae = SD1().load(Asked(base_folder)).vae
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


@pytest.mark.parametrize("runs", [True, False])
def test_xformers_is_tried_backwards(
    runs: bool, open_pack: Open, make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that work forwards only are not used: a step would end in an error. Those that work are switched on."""
    from diffusers import UNet2DConditionModel

    tried, switched, told = [], [], []

    def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        tried.append((query.shape[-1], query.dtype))
        if not runs:
            query.register_hook(fail)
        return query + key + value

    def fail(gradient: torch.Tensor) -> None:
        raise NotImplementedError("no operator found for memory_efficient_attention_backward")

    ops = types.ModuleType("xformers.ops")
    ops.memory_efficient_attention = attention  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xformers", types.ModuleType("xformers"))
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    switch = "enable_xformers_memory_efficient_attention"
    monkeypatch.setattr(UNet2DConditionModel, switch, lambda self: switched.append(True))
    opened = open_pack(make_config())
    prepare.prepare_models(opened.session, make_config(xformers=True, mixed_precision="bf16"), told.append)
    assert tried == [(width, torch.bfloat16) for width in ((40, 64, 80, 160) if runs else (40,))]
    assert (len(switched), len(told)) == ((1, 0) if runs else (0, 1))


def test_save_precision(train: Callable[..., Any]) -> None:
    """The file's tensors, alpha too, have the precision asked for, rounded from the same weights."""
    full = train(max_steps=1)
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        small = train(max_steps=1, save_precision=name)
        assert all(torch.equal(small.tensors[key], full.tensors[key].to(dtype)) for key in full.tensors)


@pytest.mark.parametrize("cached", [True, False])
def test_vae_that_overflows(train: Callable[..., Any], base_folder: Path, tmp_path: Path, cached: bool) -> None:
    """A VAE whose numbers are not finite ends the run with the picture's name, cached or not; nothing is written."""
    vae: Any = SD1().load(Asked(base_folder)).vae
    vae.requires_grad_(True).encoder.conv_in.weight.data.mul_(float("inf"))
    vae.save_pretrained(tmp_path / "vae")
    with pytest.raises(Failure, match=r"the VAE gives numbers that are not finite for .*\d\.png"):
        train(vae=str(tmp_path / "vae"), cache_latents=cached)
    assert not list(tmp_path.rglob("last.safetensors"))


@pytest.fixture
def half_masked(make_config: Make, tmp_path: Path) -> Callable[[int], TrainConfig]:
    """Return a function that makes a config whose masks are white on the left and of some grey on the right."""

    def make(grey: int) -> TrainConfig:
        folder = tmp_path / f"masks{grey}" / "2_lumi"
        folder.mkdir(parents=True)
        for path in Path(make_config().img_folder).glob("2_lumi/*.png"):
            with Image.open(path) as picture:
                mask = Image.new("L", picture.size, grey)
                mask.paste(255, (0, 0, picture.width // 2, picture.height))
                mask.save(folder / path.name)
        return make_config(masked_loss=True, mask_folder=str(folder.parent))

    return make


def test_white_mask_changes_nothing(
    half_masked: Callable[[int], TrainConfig],
    make_config: Make,
    open_pack: Open,
    gradients: Callable[..., Gradients],
) -> None:
    """With masks that are all white the gradients are those without; half grey they are others."""
    found = {}
    for name, config in (("none", make_config()), ("white", half_masked(255)), ("grey", half_masked(128))):
        opened = open_pack(config, up=0.3)
        opened.data.training._data = replace(opened.data.training._data, digest="")  # the same order of batches
        found[name] = gradients(opened, opened.data.training[0])
    assert same(found["white"], found["none"])
    assert not same(found["grey"], found["none"])


def test_masked_places_do_not_matter(half_masked: Callable[[int], TrainConfig], open_pack: Open) -> None:
    """What is predicted where the mask is black has no gradient, and has no part in the loss."""
    opened = open_pack(half_masked(0))
    batch = opened.data.training[0]
    predicted = torch.zeros_like(batch.latents, requires_grad=True)
    part = step._Part(
        predicted,
        batch.latents,
        torch.ones_like(batch.latents),
        torch.full((len(batch.latents),), 400),
        batch.weights,
        batch.masks,
    )
    value = step._loss_of(opened.members[0].config, opened.session.base, part)
    (gradient,) = torch.autograd.grad(value, predicted)
    outside = (batch.masks == 0).expand_as(gradient)
    assert 0 < outside.sum() < outside.numel()
    assert gradient[outside].abs().max() == 0
    assert gradient[~outside].abs().min() > 0
    assert float(value.detach()) == pytest.approx(float((~outside).float().mean()))  # of errors that are all 1


def test_alpha_mask_reaches_the_loss(
    make_config: Make, open_pack: Open, gradients: Callable[..., Gradients], tmp_path: Path
) -> None:
    """A picture that is all transparent teaches nothing with alpha_mask, and is learned without."""
    (tmp_path / "clear" / "1_thing").mkdir(parents=True)
    Image.new("RGBA", (64, 64), (200, 50, 50, 0)).save(tmp_path / "clear" / "1_thing" / "a.png")
    largest = {}
    for wanted in (True, False):
        opened = open_pack(make_config(alpha_mask=wanted, img_folder=str(tmp_path / "clear"), batch_size=1), up=0.3)
        found = gradients(opened, opened.data.training[0])
        largest[wanted] = max(float(gradient.abs().max()) for gradient in found.values())
    assert largest[True] == 0 < largest[False]


def test_masked_loss_without_masks(make_config: Make) -> None:
    """masked_loss without masks is refused at the start."""
    with pytest.raises(Failure, match="masked_loss has no masks"):
        read_dataset(make_config(masked_loss=True))
