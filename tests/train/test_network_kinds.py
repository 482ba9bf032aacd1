"""LoRA on convolutions, LoRA+, sizes from a file: what they train, save and load again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open

from lora_lab.config import TrainConfig, effective_conv_alpha
from lora_lab.failure import Failure
from lora_lab.train import lora_file
from lora_lab.train.convolutions import convolution_layers

Make = Callable[..., TrainConfig]
FACTS = Path(__file__).parent / "facts" / "sd15_convolutions.json"


def test_layers_of_sd15() -> None:
    """Names, widths and kernels of the 86 layers that conv_dim adds to SD 1.5 are those that sd-scripts prints."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    found = {}
    for name, (owner, attribute) in convolution_layers(unet).items():
        layer = getattr(owner, attribute)
        kernel = list(layer.kernel_size) if isinstance(layer, torch.nn.Conv2d) else None
        found[name] = [layer.weight.shape[1], layer.weight.shape[0], kernel]
    facts = json.loads(FACTS.read_text())
    assert len(facts) == 86
    assert found == facts


def test_conv_dim(train: Callable[..., Any]) -> None:
    """3 × 3 convolutions get conv_dim and conv_alpha, everything else net_dim and alpha; the file says so."""
    run = train(max_steps=2, net_dim=4, alpha=2.0, conv_dim=3, conv_alpha=1.5, rank_dropout=0.1)
    downs = {key: value for key, value in run.tensors.items() if key.endswith("down.weight")}
    wide = {key for key, value in downs.items() if value.ndim == 4 and value.shape[2] == 3}
    assert len(wide) >= 8
    for key, down in downs.items():
        alpha = run.tensors[key.replace("lora_down.weight", "alpha")]
        assert (len(down), float(alpha)) == ((3, 1.5) if key in wide else (4, 2.0))
    ups = [run.tensors[key.replace("down", "up")] for key in wide]
    assert all(up.abs().max() > 0 for up in ups)
    assert any("time_emb_proj" in key for key in downs)
    with safe_open(run.result.lora, "pt") as file:
        told = json.loads(file.metadata()["ss_network_args"])
    assert told == {"conv_dim": "3", "conv_alpha": "1.5", "rank_dropout": "0.1"}
    plain = train(max_steps=1)
    assert not any("resnets" in key for key in plain.tensors)


def test_conv_alpha_left_out(make_config: Make) -> None:
    """Left out, the convolutions have the strength of the other layers; 0 is as large as conv_dim."""
    assert effective_conv_alpha(make_config(net_dim=8, alpha=2.0, conv_dim=4)) == 1.0
    assert effective_conv_alpha(make_config(conv_dim=4, conv_alpha=0.0)) == 4.0


@pytest.mark.filterwarnings("ignore:.*DDIMScheduler:FutureWarning")
def test_diffusers_reads_it(train: Callable[..., Any], open_pack: Any, make_config: Make, base_folder: Path) -> None:
    """A LoRA with convolutions of their own rank and alpha loads in diffusers and predicts what it does here."""
    from diffusers import StableDiffusionPipeline

    config = make_config(net_dim=4, alpha=1.0, conv_dim=3, conv_alpha=2.0)
    opened = open_pack(config, up=0.3)
    path = base_folder.parent / "conv.safetensors"
    lora_file.save_lora(path, lora_file.state_dict(opened.members[0].layers, torch.float32), {})
    pipe = StableDiffusionPipeline.from_pretrained(base_folder)
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 800])
    ids = opened.data.training[0].token_ids[0]
    session = opened.session
    with torch.no_grad():
        plain = pipe.unet(latents, t, pipe.text_encoder(ids[:, 0]).last_hidden_state).sample
        pipe.load_lora_weights(path)
        theirs = pipe.unet(latents, t, pipe.text_encoder(ids[:, 0]).last_hidden_state).sample
        with session.pack.serving(0):
            ours = session.family.predict(session.base, latents, t, session.family.encode(session.base, ids, 1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (ours - plain).abs().max() > 0.01


def test_packed_with_others(make_config: Make, train_pack_of: Any, train: Callable[..., Any]) -> None:
    """A run with convolutions packed with one without: each is what it is alone."""
    settings: list[dict[str, object]] = [
        {"conv_dim": 3, "rank_dropout": 0.2, "test_seed": 1, "max_steps": 3},
        {"module_dropout": 0.3, "loraplus_lr_ratio": 4.0, "test_seed": 2, "max_steps": 3},
    ]
    packed = train_pack_of([make_config(**values) for values in settings])
    for values, member in zip(settings, packed, strict=True):
        alone = train(**values)
        assert member.curve("loss") == pytest.approx(alone.curve("loss"), rel=1e-4)
        assert member.tensors.keys() == alone.tensors.keys()
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(member.tensors[name], tensor, rtol=1e-3, atol=1e-4)


def test_loraplus(train: Callable[..., Any]) -> None:
    """Adam's first step has the size of the rate: `up` moves by the ratio more; a part's own ratio wins."""
    run = train(
        max_steps=1, scheduler="constant", learning_rate=1e-3, loraplus_lr_ratio=8.0, loraplus_text_encoder_lr_ratio=2.0
    )
    for part, rate in (("lora_te_", 2e-3), ("lora_unet_", 8e-3)):
        largest = max(v.abs().max() for k, v in run.tensors.items() if k.startswith(part) and k.endswith("up.weight"))
        assert largest == pytest.approx(rate, rel=0.01)
    assert run.curve("lr/unet")[1] == pytest.approx(1e-3)
    assert run.curve("lr/unet_plus")[1] == pytest.approx(8e-3)
    plain = train(max_steps=1, scheduler="constant", learning_rate=1e-3)
    name = next(key for key in plain.tensors if key.endswith("unet_mid_block_attentions_0_proj_in.lora_down.weight"))
    assert torch.equal(run.tensors[name], plain.tensors[name])


@pytest.mark.parametrize("name", ["Prodigy", "DAdaptAdam"])
def test_loraplus_needs_an_optimizer_with_rates(name: str, open_pack: Any, make_config: Make) -> None:
    """Optimizers that find one rate for all refuse LoRA+ before the first step."""
    with pytest.raises(Failure, match=r"finds one rate for all parts, and here are .*unet_plus 4"):
        open_pack(make_config(optimizer_type=name, learning_rate=1.0, loraplus_lr_ratio=4.0))


def test_dim_from_weights(train: Callable[..., Any], tmp_path: Path) -> None:
    """Every layer has the rank and alpha that it has in the file, layers that the file lacks get none."""
    state = dict(train(max_steps=1, net_dim=6, alpha=3.0, conv_dim=2, conv_alpha=1.0).tensors)
    lost = next(key for key in state if key.startswith("lora_te_")).partition(".")[0]
    state = {key: value for key, value in state.items() if not key.startswith(f"{lost}.")}
    path = tmp_path / "before.safetensors"
    safetensors.torch.save_file(state, path)
    run = train(max_steps=1, net_dim=32, alpha=16.0, dim_from_weights=True, lora_model_for_resume=str(path))
    assert run.tensors.keys() == state.keys()
    for key, value in state.items():
        assert run.tensors[key].shape == value.shape
        if key.endswith("alpha"):
            assert run.tensors[key] == value
    with pytest.raises(Failure, match="dim_from_weights needs lora_model_for_resume"):
        train(dim_from_weights=True)


def test_continued_with_another_conv_dim(train: Callable[..., Any]) -> None:
    """A file's rank at the convolutions that is not the config's is refused with the key to change."""
    before = train(max_steps=1, conv_dim=2)
    with pytest.raises(Failure, match="has rank 2, the config conv_dim 3; set conv_dim to 2"):
        train(conv_dim=3, lora_model_for_resume=str(before.result.lora))


def test_state_of_another_strength(train: Callable[..., Any]) -> None:
    """A state goes on at the convolutions' own strength only."""
    run = train(max_steps=2, conv_dim=2, conv_alpha=1.0, save_every_n_steps=1, save_state=True)
    state = next(path for path in run.folder.iterdir() if path.is_dir() and path.name.endswith("step00000001-state"))
    with pytest.raises(Failure, match=r"made with conv_alpha 1\.0, the config has 2\.0"):
        train(max_steps=2, conv_dim=2, conv_alpha=2.0, load_previous_save_state=str(state))


def test_resumes_with_everything(train: Callable[..., Any], same_tensors: Any) -> None:
    """A run with convolutions, dropouts and LoRA+ goes on from a state bit for bit."""
    values: dict[str, object] = {
        "conv_dim": 2, "rank_dropout": 0.2, "module_dropout": 0.2, "loraplus_lr_ratio": 4.0, "max_steps": 4,
        "multires_noise_iterations": 4, "ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True,
    }  # fmt: skip
    whole = train(**values, save_every_n_steps=2, save_state=True)
    state = next(path for path in whole.folder.iterdir() if path.is_dir() and path.name.endswith("step00000002-state"))
    again = train(**values, load_previous_save_state=str(state))
    assert same_tensors(again.tensors, whole.tensors)
