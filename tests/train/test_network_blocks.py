"""Runs in which blocks of the U-Net have learning rates, ranks and alphas of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from lora_lab.config import TrainConfig
from lora_lab.config.blocks import block_of
from lora_lab.failure import Failure

Make = Callable[..., TrainConfig]
Train = Callable[..., Any]


def by_block(tensors: dict[str, torch.Tensor], ending: str) -> dict[int, list[torch.Tensor]]:
    """The U-Net's tensors with an ending, by the number of their block."""
    found: dict[int, list[torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("lora_unet") and key.endswith(ending):
            found.setdefault(block_of(key.partition(".")[0]), []).append(tensor)
    return found


def largest(tensors: list[torch.Tensor]) -> float:
    """The largest number of all."""
    return max(float(tensor.abs().max()) for tensor in tensors)


def test_learning_rates(train: Train) -> None:
    """Adam's first step has the size of the rate: `up` of each block moves by the rate times the block's weight."""
    weights = [1, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    run = train(
        max_steps=1, scheduler="constant", down_lr_weight=weights, mid_lr_weight=2.0, up_lr_weight="zeros+0.5",
        block_lr_zero_threshold=0.3,
    )  # fmt: skip
    ups = by_block(run.tensors, "up.weight")
    assert ups.keys() == {1, 12, *range(16, 18)}  # this small base has two levels, of one layer down and two up
    for number, weight in ((1, 0.5), (12, 2.0), (16, 0.5), (17, 0.5)):
        assert largest(ups[number]) == pytest.approx(weight * 1e-3, rel=0.01)
    text = [tensor for key, tensor in run.tensors.items() if key.startswith("lora_te") and key.endswith("up.weight")]
    assert largest(text) == pytest.approx(1e-3, rel=0.01)
    assert run.curve("lr/unet_x0.5")[1] == pytest.approx(5e-4)
    assert run.curve("lr/unet_x2")[1] == pytest.approx(2e-3)
    assert not run.curve("lr/unet")
    with safe_open(run.result.lora, "pt") as file:
        told = json.loads(file.metadata()["ss_network_args"])
    assert told == {
        "down_lr_weight": "1,0.5,0.25,0,0,0,0,0,0,0,0,0",
        "mid_lr_weight": "2.0",
        "up_lr_weight": "zeros+0.5",
        "block_lr_zero_threshold": "0.3",
    }


def test_weights_of_1_change_nothing(train: Train, same_tensors: Any) -> None:
    """Blocks that are all given 1 are a plain run, bit for bit; LoRA+ goes by block too."""
    plain = train(max_steps=2)
    assert same_tensors(train(max_steps=2, down_lr_weight=[1] * 12, block_dims=[4] * 25).tensors, plain.tensors)
    run = train(max_steps=1, scheduler="constant", loraplus_lr_ratio=4.0, mid_lr_weight=0.5)
    assert largest(by_block(run.tensors, "up.weight")[12]) == pytest.approx(2e-3, rel=0.01)
    assert run.curve("lr/unet_x0.5_plus")[1] == pytest.approx(2e-3)


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_sizes(kind: str, train: Train) -> None:
    """Every layer has its block's rank and alpha, convolutions their own; a block of rank 0 is not in the file."""
    dims = [4] * 12 + [0] + [2] * 12
    convolutions = [1] * 12 + [0] + [3] * 12
    run = train(
        max_steps=2, network_type=kind, block_dims=dims, block_alphas=[1.0] * 12 + [0.0] + [0.0] * 12,
        conv_block_dims=",".join(map(str, convolutions)), conv_block_alphas=[0.5] * 25, lokr_factor=2,
    )  # fmt: skip
    ending = {"lora": "lora_down.weight", "loha": "hada_w1_b", "lokr": "lokr_w2_b"}[kind]
    downs = {key: tensor for key, tensor in run.tensors.items() if key.endswith(ending) and "lora_unet" in key}
    assert {block_of(key) for key in downs} <= {*range(1, 12), *range(13, 25)}
    wide = 0
    for key, down in downs.items():
        layer, number = key.partition(".")[0], block_of(key)
        conv = layer.endswith(("_conv", "_conv1", "_conv2"))
        wide += conv
        alpha = float(run.tensors[f"{layer}.alpha"])
        if conv:
            assert (len(down), alpha) == (convolutions[number], 0.5)
        else:
            assert (len(down), alpha) == ((4, 1.0) if number < 12 else (2, 2.0))
    assert wide >= 4 or kind == "lokr"
    assert any("time_emb_proj" in key for key in run.tensors)
    text = {float(tensor) for key, tensor in run.tensors.items() if key.startswith("lora_te") and "alpha" in key}
    assert text == {2.0} or kind == "lokr"  # whose small layers have no rank left


def test_packed_is_alone(make_config: Make, train_pack_of: Any, train: Train) -> None:
    """Runs with other blocks, ranks and rates in one pack: each is what it is alone."""
    settings: list[dict[str, object]] = [
        {"down_lr_weight": "zeros", "up_lr_weight": "sine+0.3", "test_seed": 1, "max_steps": 3},
        {"block_dims": [*[2] * 13, *[5] * 12], "conv_block_dims": [3] * 25, "test_seed": 2, "max_steps": 3},
        {"mid_lr_weight": 0.1, "network_type": "loha", "test_seed": 3, "max_steps": 3},
        {"max_steps": 3},
    ]
    packed = train_pack_of([make_config(**values) for values in settings])
    for values, member in zip(settings, packed, strict=True):
        alone = train(**values)
        assert member.curve("loss") == pytest.approx(alone.curve("loss"), rel=1e-4)
        assert member.tensors.keys() == alone.tensors.keys()
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(member.tensors[name], tensor, rtol=1e-3, atol=1e-4)


def test_sdxl(train: Train, xl_base: Path) -> None:
    """SDXL's blocks are nine, three and nine, called by Stability AI's names."""
    run = train(
        max_steps=1, base_model=str(xl_base), unet_only=True, scheduler="constant",
        down_lr_weight=[0, 0, 0, 0, 0.5, 1, 1, 1, 1], mid_lr_weight="0,0.25,0", up_lr_weight="zeros",
    )  # fmt: skip
    ups = by_block(run.tensors, "up.weight")
    assert ups.keys() == {5, 6, 8, 9, 11}
    assert largest(ups[5]) == pytest.approx(5e-4, rel=0.01)
    assert largest(ups[11]) == pytest.approx(2.5e-4, rel=0.01)
    with pytest.raises(Failure, match="down_lr_weight has 12 numbers, and 9 are needed; the base is sdxl"):
        train(base_model=str(xl_base), down_lr_weight=[1] * 12)


def test_a_file_is_continued_with_some_blocks_held(train: Train, tmp_path: Path) -> None:
    """With dim_from_weights blocks of weight 0 stay as they are in the file; without it they are missed."""
    first = train(max_steps=2, scale_weight_norms=100.0)
    path = tmp_path / "before.safetensors"
    path.write_bytes(first.result.lora.read_bytes())
    settings = {"lora_model_for_resume": str(path), "up_lr_weight": "zeros", "max_steps": 2}
    later = train(**settings, dim_from_weights=True, scale_weight_norms=0.001)
    assert later.tensors.keys() == first.tensors.keys()
    for key, tensor in later.tensors.items():
        if "_up_blocks_" in key or key.endswith("alpha"):
            assert torch.equal(tensor, first.tensors[key])
        else:
            assert not torch.equal(tensor, first.tensors[key])
    with pytest.raises(Failure, match=r"also has lora_unet_up_blocks_.*dim_from_weights"):
        train(**settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"down_lr_weight": "zeros", "mid_lr_weight": 0, "up_lr_weight": "zeros", "unet_only": True},
            "weight or rank 0",
        ),
        ({"optimizer_type": "Prodigy", "learning_rate": 1.0, "mid_lr_weight": 0.5}, "unet_x0.5 0.5"),
        ({"optimizer_type": "AdaFactor", "mid_lr_weight": 0.5}, "AdaFactor finds one rate for all parts"),
    ],
    ids=str,
)
def test_refused(values: dict[str, object], message: str, train: Train) -> None:
    """Nothing left to train, or several rates for an optimizer of one: one line says so before the first step."""
    with pytest.raises(Failure, match=message):
        train(**values)


def test_goes_on_bit_for_bit(train: Train, same_tensors: Any) -> None:
    """A run with blocks goes on from its state as if it had not stopped; other alphas are refused."""
    values: dict[str, object] = {"up_lr_weight": "linear+0.1", "block_alphas": [2.0] * 25, "max_steps": 4}
    whole = train(**values, save_every_n_steps=2, save_state=True)
    state = next(path for path in whole.folder.iterdir() if path.is_dir() and "step00000002" in path.name)
    assert same_tensors(train(**values, load_previous_save_state=str(state)).tensors, whole.tensors)
    with pytest.raises(Failure, match="was made with block_alphas"):
        train(**{**values, "block_alphas": [1.0] * 25}, load_previous_save_state=str(state))
