"""From a config to what its adapter is made of."""

from collections.abc import Mapping

import torch

from lora_lab.config import TrainConfig, effective_alpha, effective_conv_alpha
from lora_lab.config.blocks import blocks_of
from lora_lab.failure import Failure
from lora_lab.train import lora_file
from lora_lab.train.adapters import AdapterOptions, LayerSize


def adapter_options(
    config: TrainConfig, start: Mapping[str, torch.Tensor] | None, family: str = "sd1"
) -> AdapterOptions:
    """What an adapter is made of on a base of that family; `start` is the LoRA that the config continues from.

    Raises Failure for `dim_from_weights` without one, and for lists of another length than the family has blocks.
    """
    try:
        blocks = blocks_of(config, family)
    except ValueError as error:
        raise Failure(str(error), f"the base is {family}: write one number for each of its blocks") from error
    if config.dim_from_weights and start is None:
        raise Failure("dim_from_weights needs lora_model_for_resume", "give the LoRA file, or leave it out")
    return AdapterOptions(
        rank=config.net_dim,
        alpha=effective_alpha(config),
        dropout=config.network_dropout or 0.0,
        unet=not config.text_only,
        text_encoder=not config.unet_only,
        seed=config.test_seed,
        rank_dropout=config.rank_dropout or 0.0,
        module_dropout=config.module_dropout or 0.0,
        conv=LayerSize(config.conv_dim, effective_conv_alpha(config)) if config.conv_dim else None,
        sizes=lora_file.sizes_of(start) if config.dim_from_weights and start is not None else None,
        blocks=blocks,
        kind=config.network_type,
        dora=config.use_dora,
        factor=config.lokr_factor,
        decompose_both=config.decompose_both,
        tucker=config.use_tucker,
    )
