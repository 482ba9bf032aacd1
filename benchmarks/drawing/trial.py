"""One config on trial: lint it, train it, read what it wrote, go on from its state, and compare."""

import json
import math
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin

from drawing.scene import Scene
from drawing.values import Values
from lora_lab.config import TrainConfig, with_absolute_paths
from lora_lab.failure import Failure
from lora_lab.lint import Disk, lint_values
from lora_lab.lint.machine import Machine
from lora_lab.tracking.events import Event, Metrics
from lora_lab.train.lora_file import read_lora
from lora_lab.train.run import train_run

STEPS = 2


@dataclass(frozen=True)
class Verdict:
    """What lint says of a config: the config as it trains, and the codes of the errors."""

    config: TrainConfig
    errors: dict[str, str]


def judge(scene: Scene, values: Values) -> Verdict:
    """Lint a config as `lora-lab train` does before it trains."""
    result = lint_values(values, scene.folder, Disk(scene.folder), Machine())
    errors = {one.code: one.message for one in result.findings if one.severity == "error"}
    config = with_absolute_paths(result.config, scene.folder)
    return Verdict(config.model_copy(update={"max_steps": STEPS, "save_every_n_steps": 1, "save_state": True}), errors)


def try_out(config: TrainConfig, folder: Path) -> None:
    """Train two steps, load the LoRA with our reader and diffusers', go on from the first step's state.

    Raises AssertionError where a number is none or the continued run ends elsewhere, and whatever the trainer raises.
    """
    shutil.rmtree(folder, ignore_errors=True)
    whole = _train(config, folder / "whole")
    _load_in_diffusers(config, folder / "whole")
    (state,) = [one for one in (folder / "whole").glob("*step00000001-state") if one.is_dir()]
    resumed = _train(config.model_copy(update={"load_previous_save_state": str(state)}), folder / "resumed")
    assert whole.keys() == resumed.keys(), "a continued run writes other tensors"
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), f"{name} differs in the continued run"


def _train(config: TrainConfig, folder: Path) -> dict[str, torch.Tensor]:
    events: list[Event] = []
    result = train_run(config, folder=folder, record=events.append, progress=lambda step: None)
    steps = {event.step for event in events if isinstance(event, Metrics) and "loss" in event.values}
    wanted = {STEPS} if config.load_previous_save_state else set(range(1, STEPS + 1))
    assert steps == wanted, f"steps {sorted(steps)} were told"
    for event in events:
        for key, value in event.values.items() if isinstance(event, Metrics) else ():
            assert math.isfinite(value), f"{key} is {value} at step {event.step}"
    tensors = dict(read_lora(result.lora))
    assert tensors, "the LoRA is empty"
    for name, tensor in tensors.items():
        assert tensor.float().isfinite().all(), f"{name} is not finite"
    return tensors


def _load_in_diffusers(config: TrainConfig, folder: Path) -> None:
    """Let diffusers translate the names of a LoRA; of the other kinds it knows nothing."""
    if config.network_type != "lora" or config.save_as != "safetensors":
        return
    unet = json.loads((Path(config.base_model) / "unet" / "config.json").read_text())
    loader: Any = (
        StableDiffusionXLLoraLoaderMixin
        if "text_time" in str(unet.get("addition_embed_type"))
        else StableDiffusionLoraLoaderMixin
    )
    about: Any = type("Config", (), {**unet, "layers_per_block": unet["layers_per_block"]})
    (file,) = [one for one in folder.glob("*.safetensors") if "step" not in one.name and "best" not in one.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, _ = loader.lora_state_dict(file, unet_config=about)[:2]
    assert found, "diffusers finds nothing in the file"


def refuses(config: TrainConfig, folder: Path) -> bool:
    """Say whether the trainer refuses a config by itself, in a line."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        train_run(config, folder=folder, record=lambda event: None, progress=lambda step: None)
    except Failure:
        return True
    return False
