"""The base of a run: found, checked against the config, loaded once for all runs of a process."""

import gc
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.train.base_files.locate import locate_base, locate_vae
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.families.base import Base, Family
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.families.sd2 import SD2
from lora_lab.train.families.sdxl import SDXL
from lora_lab.train.families.sniff import family_of
from lora_lab.train.merging import Merged, files_of, merge

FAMILIES: Mapping[str, Family] = MappingProxyType({"sd1": SD1(), "sd2": SD2(), "sdxl": SDXL()})


_loaded: dict[tuple[Family, Asked, tuple[Merged, ...]], Base] = {}


def load_base(family: Family, asked: Asked, files: tuple[Merged, ...] = ()) -> Base:
    """Load a base and merge files into it; the runs of a sweep share it, as adapters come off it after each run.

    Only one is in memory: the one before goes first. Parts that it has not loaded yet are loaded when they are used.
    """
    if (family, asked, files) not in _loaded:
        if _loaded:
            _loaded.clear()
            gc.collect()  # models refer to themselves
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _loaded[family, asked, files] = merge(family.load(asked), family, files)
    return _loaded[family, asked, files]


def asked_of(configs: Sequence[TrainConfig], device: str) -> tuple[Family, Asked]:
    """Say which base a pack's configs want, and how. Raises Failure for a name that leads nowhere."""
    config = configs[0]
    path = locate_base(config.base_model)
    family = FAMILIES[family_of(path, config.v2)]
    return family, Asked(
        path=path,
        vae=locate_vae(config.vae),
        precision=config.mixed_precision,
        device=device,
        v_prediction=config.v_parameterization,
        zero_terminal_snr=config.zero_terminal_snr,
        later=not_at_once(configs),
    )


def not_at_once(configs: Sequence[TrainConfig]) -> frozenset[str]:
    """Name the parts of the base that are not needed where the caches have what they give.

    Pictures are drawn with all of them; what is wrong with one must not show in the middle of a run.
    """
    if any(config.sample_prompts for config in configs):
        return frozenset()
    own_texts = any(not config.unet_only or not config.cache_text_encoder_outputs for config in configs)
    return frozenset({"vae"} if configs[0].cache_latents else ()) | frozenset(() if own_texts else {"text"})


def open_base(configs: Sequence[TrainConfig], accelerator: Any) -> tuple[Family, Base]:
    """Load the base of a pack's configs. Raises Failure when its family, prediction type or depth is not theirs."""
    config = configs[0]
    family, asked = asked_of(configs, str(accelerator.device))
    base = load_base(family, asked, files_of(config))
    deepest = max(config.clip_skip for config in configs)
    if deepest > base.text_layers:
        raise Failure(
            f"clip_skip {deepest} is beyond the {base.text_layers} layers of the text encoder of {base.path}",
            "set clip_skip to 1 or 2",
        )
    wanted = "v_prediction" if config.v_parameterization else "epsilon"
    if base.prediction_type != wanted:
        truth = "true" if base.prediction_type == "v_prediction" else "false"
        raise Failure(
            f"base_model {base.path} predicts {base.prediction_type}, the config trains {wanted}",
            f'set "v_parameterization": {truth}',
        )
    return family, base
