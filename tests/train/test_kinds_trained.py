"""Runs with LoHa, LoKr and DoRA: what they train, save, load and go on from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights
from safetensors import safe_open

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.train import lora_file

Make = Callable[..., TrainConfig]
Train = Callable[..., Any]

KINDS: dict[str, dict[str, object]] = {
    "dora": {"use_dora": True},
    "loha": {"network_type": "loha", "conv_dim": 2},
    "lokr": {"network_type": "lokr", "net_dim": 2, "decompose_both": True},
    "lokr of custom": {"network_type": "lokr", "net_dim": 100_000, "alpha": 1.0, "lokr_factor": 4},
    "loha with dora": {"network_type": "loha", "use_dora": True, "scale_weight_norms": 0.5},
    "lora with cores": {"use_tucker": True, "conv_dim": 2},
}
TOLD = {
    "dora": {"algo": "lora", "preset": "attn-mlp", "dora_wd": "True"},
    "loha": {"algo": "loha", "preset": "full", "conv_dim": "2", "conv_alpha": "1.0"},
    "lokr": {"algo": "lokr", "preset": "attn-mlp", "factor": "-1", "decompose_both": "True"},
    "lokr of custom": {"algo": "lokr", "preset": "attn-mlp", "factor": "4"},
    "loha with dora": {"algo": "loha", "preset": "attn-mlp", "dora_wd": "True"},
    "lora with cores": {"algo": "lora", "preset": "full", "conv_dim": "2", "conv_alpha": "1.0", "use_tucker": "True"},
}
LEARNED = {
    "dora": {"lora_down.weight", "lora_up.weight", "dora_scale"},
    "loha": {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    "lokr of custom": {"lokr_w1", "lokr_w2"},
    "loha with dora": {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "dora_scale"},
    "lora with cores": {"lora_down.weight", "lora_mid.weight", "lora_up.weight"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_tensor_learns_and_the_file_says_what_it_is(name: str, train: Train) -> None:
    """After a few steps no tensor is what it was after one; the metadata name LyCORIS' module and its arguments."""
    early, late = train(max_steps=1, **KINDS[name]), train(max_steps=4, **KINDS[name])
    assert early.tensors.keys() == late.tensors.keys()
    kinds = {key.partition(".")[2] for key in late.tensors} - {"alpha"}
    assert kinds == LEARNED.get(name, kinds)
    assert {"lokr_w1_a", "lokr_w1", "lokr_w2_a", "lokr_w2"} >= kinds - {"lokr_w1_b", "lokr_w2_b"} or name != "lokr"
    for key, tensor in late.tensors.items():
        assert tensor.isfinite().all()
        assert key.endswith("alpha") != bool((tensor != early.tensors[key]).any()), key
    with safe_open(late.result.lora, "pt") as file:
        about = file.metadata()
    assert about["ss_network_module"] == "lycoris.kohya"
    assert json.loads(about["ss_network_args"]) == TOLD[name]
    with safe_open(train(max_steps=1).result.lora, "pt") as file:
        assert file.metadata()["ss_network_module"] == "networks.lora"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore:.*DDIMScheduler:FutureWarning", "ignore:.*weights_only:FutureWarning")
def test_lycoris_predicts_the_same(
    name: str, open_pack: Any, make_config: Make, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LyCORIS loads the file onto the bare base's U-Net, every layer of it, and predicts what the trainer does."""
    from diffusers import UNet2DConditionModel

    opened = open_pack(make_config(unet_only=True, **KINDS[name]))
    torch.manual_seed(1)
    for _, weights in opened.members[0].layers:
        for tensor in weights.trained():
            with torch.no_grad():
                tensor.add_(torch.randn_like(tensor) * 0.1)
    path = opened.members[0].folder.parent / "x.safetensors"
    lora_file.save_lora(path, lora_file.state_dict(opened.members[0].layers, torch.float32), {})
    unet = UNet2DConditionModel.from_pretrained(base_folder / "unet")
    latents, t, text = torch.randn(2, 4, 8, 8), torch.tensor([10, 800]), torch.randn(2, 77, 16)
    monkeypatch.setattr(LycorisNetworkKohya, "UNET_TARGET_REPLACE_NAME", [])  # 4.1 finds these layers twice
    with torch.no_grad():
        plain = unet(latents, t, text).sample
        network, _ = create_network_from_weights(1.0, str(path), None, None, unet)
        network.apply_to(None, unet, apply_text_encoder=False, apply_unet=True)
        assert len(network.unet_loras) == len(opened.members[0].layers)
        theirs = unet(latents, t, text).sample
        with opened.session.pack.serving(0):
            ours = opened.session.base.unet(latents, t, text).sample
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (ours - plain).abs().max() > 0.01


def test_packed_is_alone(make_config: Make, train_pack_of: Any, train: Train) -> None:
    """A pack of all kinds: the same curve and the same tensors as each run alone."""
    settings = [{**one, "test_seed": seed, "max_steps": 3, "rank_dropout": 0.1 * (seed % 2)}
                for seed, one in enumerate([*KINDS.values(), {}])]  # fmt: skip
    packed = train_pack_of([make_config(**values) for values in settings])
    for values, member in zip(settings, packed, strict=True):
        alone = train(**values)
        assert member.curve("loss") == pytest.approx(alone.curve("loss"), rel=1e-4)
        assert member.tensors.keys() == alone.tensors.keys()
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(member.tensors[name], tensor, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["dora", "loha", "lokr", "lokr of custom"])
def test_goes_on_bit_for_bit(name: str, train: Train) -> None:
    """A run that goes on from its state leaves the tensors of one that was not interrupted."""
    settings = {**KINDS[name], "max_steps": 8, "save_state": True, "save_every_n_steps": 3, "scheduler": "constant"}
    whole = train(**settings)
    (state,) = [path for path in whole.folder.iterdir() if path.is_dir() and "step00000003" in path.name]
    later = train(**{**settings, "save_state": False}, load_previous_save_state=str(state))
    assert all(torch.equal(later.tensors[key], tensor) for key, tensor in whole.tensors.items())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({}, "network_type loha, the config has lora"),
        ({"network_type": "loha", "use_dora": True}, "use_dora False, the config has True"),
    ],
)
def test_state_of_another_kind(train: Train, other: dict[str, object], message: str) -> None:
    """A state of another kind of network is refused with the key to change."""
    run = train(max_steps=1, network_type="loha", save_state=True)
    with pytest.raises(Failure, match=message):
        train(max_steps=2, load_previous_save_state=str(run.folder / "last-state"), **other)


@pytest.mark.parametrize("name", KINDS)
def test_training_goes_on_from_a_file(name: str, train: Train, tmp_path: Path) -> None:
    """A file of each kind is a starting point, by the config's sizes or by its own."""
    first = train(max_steps=2, **KINDS[name])
    path = tmp_path / "before.safetensors"
    path.write_bytes(first.result.lora.read_bytes())
    tiny = {"learning_rate": 1e-12, "max_steps": 1, "scale_weight_norms": None, "lora_model_for_resume": str(path)}
    same = train(**{**KINDS[name], **tiny})
    sizes = {"net_dim": 7, "alpha": 3.0, "conv_dim": None}
    by_file = train(**{**KINDS[name], **sizes, **tiny}, dim_from_weights=True)
    for later in (same, by_file):
        assert later.tensors.keys() == first.tensors.keys()
        for key, tensor in first.tensors.items():
            torch.testing.assert_close(later.tensors[key], tensor)


@pytest.mark.parametrize(
    ("own", "other", "message", "remedy"),
    [
        ({"network_type": "loha"}, {}, "is a loha", "network_type to loha"),
        ({"use_dora": True}, {}, "has a DoRA's magnitudes", "use_dora to true"),
        ({}, {"use_dora": True}, "has no DoRA's magnitudes", "use_dora to false"),
        ({"conv_dim": 2, "use_tucker": True}, {"conv_dim": 2}, "has cores of Tucker's", "use_tucker to true"),
        ({"network_type": "loha", "net_dim": 3}, {"network_type": "loha"}, "rank 3, the config net_dim 4", "to 3"),
        ({"network_type": "lokr", "net_dim": 100_000, "lokr_factor": 4},
         {"network_type": "lokr", "net_dim": 100_000, "lokr_factor": 2}, "another width", "lokr_factor"),
    ],
)  # fmt: skip
def test_file_of_another_kind(
    own: dict[str, object], other: dict[str, object], message: str, remedy: str, train: Train, tmp_path: Path
) -> None:
    """A file of another kind or size is refused with the key to change."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(train(max_steps=1, **own).result.lora.read_bytes())
    with pytest.raises(Failure, match=message) as caught:
        train(max_steps=1, lora_model_for_resume=str(path), **other)
    assert remedy in str(caught.value)


def test_norms_are_limited(train: Train) -> None:
    """scale_weight_norms bounds ΔW whatever it is made of, and leaves what is below alone."""
    for kind in ("lora", "loha", "lokr"):
        run = train(max_steps=4, network_type=kind, learning_rate=0.05, scale_weight_norms=0.02, net_dim=2)
        free = train(max_steps=4, network_type=kind, learning_rate=0.05, net_dim=2)
        norms = [[float(delta.norm()) for delta in deltas(one.tensors)] for one in (run, free)]
        assert max(norms[0]) == pytest.approx(0.02, rel=1e-3)
        assert max(norms[1]) > 0.1


def deltas(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """ΔW of every layer of a file."""
    found = []
    for own in lora_file.by_layer(tensors).values():
        flat = {key: tensor.flatten(1) for key, tensor in own.items() if tensor.ndim > 1}
        if "lora_up.weight" in own:
            scale = float(own["alpha"]) / len(own["lora_down.weight"])
            found.append(flat["lora_up.weight"] @ flat["lora_down.weight"] * scale)
        elif "hada_w1_a" in own:
            scale = float(own["alpha"]) / len(own["hada_w1_b"])
            found.append((flat["hada_w1_a"] @ flat["hada_w1_b"]) * (flat["hada_w2_a"] @ flat["hada_w2_b"]) * scale)
        else:
            whole = "lokr_w2" in own
            second = flat["lokr_w2"] if whole else own["lokr_w2_a"] @ own["lokr_w2_b"]
            scale = 1 if whole else float(own["alpha"]) / len(own["lokr_w2_b"])
            found.append(torch.kron(own["lokr_w1"], second) * scale)
    return found


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_loraplus_of_other_kinds(kind: str, train: Train) -> None:
    """The matrices that sd-scripts lets learn faster do: hada_w2_a of a LoHa, lokr_w1 of a LoKr."""
    run = train(max_steps=3, network_type=kind, net_dim=2, scheduler="constant", loraplus_lr_ratio=4.0)
    assert run.curve("lr/unet_plus")[1] == pytest.approx(4e-3)
    slow = train(max_steps=3, network_type=kind, net_dim=2, scheduler="constant")
    faster = "hada_w2_a" if kind == "loha" else "lokr_w1"
    start = train(max_steps=1, network_type=kind, net_dim=2, scheduler="constant", learning_rate=1e-12)
    moved = [
        sum(float((one.tensors[key] - start.tensors[key]).abs().sum()) for key in one.tensors if key.endswith(faster))
        for one in (run, slow)
    ]
    assert moved[0] > 2.5 * moved[1] > 0


@pytest.mark.parametrize("name", ["dora", "loha", "lokr"])
def test_averaged_as_a_lora_is(name: str, train: Train) -> None:
    """EMA of every kind: after two steps a tenth and two elevenths of what was before stay in every tensor."""
    settings = {**KINDS[name], "scheduler": "constant"}
    start = train(max_steps=1, learning_rate=1e-12, **settings).tensors
    first, second = (train(max_steps=steps, **settings).tensors for steps in (1, 2))
    averaged = train(max_steps=2, ema_decay=0.5, **settings).tensors
    for key, last in second.items():
        wanted = 2 / 11 * (0.1 * start[key] + 0.9 * first[key]) + 9 / 11 * last
        torch.testing.assert_close(averaged[key], wanted, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(averaged[key], last) for key, last in second.items())
