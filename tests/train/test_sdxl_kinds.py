"""SDXL with LoHa, LoKr and DoRA: trained as one pack, saved, and read back by LyCORIS and PEFT."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from lycoris.modules import get_module, make_module
from peft import LoraConfig

from lora_lab.config import TrainConfig
from lora_lab.train.lora_file import by_layer

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]

KINDS: dict[str, dict[str, object]] = {
    "dora": {"use_dora": True},
    "loha": {"network_type": "loha", "conv_dim": 2, "use_tucker": True},
    "lokr": {"network_type": "lokr", "net_dim": 2, "decompose_both": True, "mid_lr_weight": [1, 0.5, 0]},
}
ADDED = {"text_embeds": torch.ones(2, 12), "time_ids": torch.ones(2, 6)}


def asked() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, timesteps, text states."""
    draws = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 8, 8, generator=draws), torch.tensor([10, 800]), torch.randn(2, 77, 40, generator=draws)


def by_peft(base: Path, tensors: dict[str, torch.Tensor], paths: dict[str, str]) -> torch.Tensor:
    """What the U-Net says with PEFT's own DoRA layers, which are given the file's tensors."""
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    own = by_layer({key: tensor for key, tensor in tensors.items() if key.startswith("lora_unet")})
    wanted = [paths[layer] for layer in own]
    unet.add_adapter(LoraConfig(r=4, lora_alpha=2, use_dora=True, target_modules=wanted))
    for layer, parts in own.items():
        module: Any = unet.get_submodule(paths[layer])
        module.lora_A["default"].weight.copy_(parts["lora_down.weight"])
        module.lora_B["default"].weight.copy_(parts["lora_up.weight"])
        module.lora_magnitude_vector["default"].weight.copy_(parts["dora_scale"].flatten())
    said: torch.Tensor = unet(*asked(), added_cond_kwargs=ADDED).sample
    return said


def by_lycoris(base: Path, tensors: dict[str, torch.Tensor], paths: dict[str, str]) -> torch.Tensor:
    """What the U-Net says with LyCORIS' modules in it, one for each layer of the file."""
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    for layer in sorted({key.partition(".")[0] for key in tensors if key.startswith("lora_unet")}):
        made = make_module(*get_module(tensors, layer), layer, unet.get_submodule(paths[layer]))
        made.apply_to()
    said: torch.Tensor = unet(*asked(), added_cond_kwargs=ADDED).sample
    return said


def test_trained_saved_and_read(
    xl_base: Path, make_config: Make, train_pack_of: Callable[..., Any], open_pack: Open
) -> None:
    """After a few steps other programs' U-Nets predict with the files what the trainer's does, and not what it did."""
    common = {"base_model": str(xl_base), "learning_rate": 0.05, "max_steps": 3}
    configs = {name: make_config(**common, **values) for name, values in KINDS.items()}
    trained = dict(zip(KINDS, train_pack_of(list(configs.values())), strict=True))
    bare = UNet2DConditionModel.from_pretrained(xl_base / "unet")
    by_name = {f"lora_unet_{path}".replace(".", "_"): path for path, _ in bare.named_modules()}
    with torch.no_grad():
        plain = bare(*asked(), added_cond_kwargs=ADDED).sample
        for name, run in trained.items():
            file = run.result.lora
            opened = open_pack(configs[name].model_copy(update={"lora_model_for_resume": str(file)}))
            with opened.session.pack.serving(0):
                ours = opened.session.base.unet(*asked(), added_cond_kwargs=ADDED).sample
            assert (ours - plain).abs().max() > 0.01
            own = opened.session.pack.other_names
            paths = {mine: by_name[theirs] for theirs, mine in own.items() if theirs in by_name}
            readers = [by_lycoris, *([by_peft] if name == "dora" else [])]
            found = [read(xl_base, run.tensors, paths) for read in readers]
            for theirs in found:
                torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
            starts = {key.split("_")[1] for key in run.tensors}
            assert starts == {"te1", "te2", "unet"}
