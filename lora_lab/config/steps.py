"""What follows from a config by arithmetic alone: steps, learning rates, strength."""

import os
from dataclasses import dataclass
from typing import Final, Literal

from lora_lab.config.train_config import TrainConfig

Part = Literal["text_encoder", "unet"]


@dataclass(frozen=True)
class StepPlan:
    """Length of a run in optimizer steps; `epochs` counts a last, incomplete epoch as one."""

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    epochs: int


def effective_batch(config: TrainConfig, processes: int = 1) -> int:
    """Return the pictures that one optimizer step learns from."""
    return config.batch_size * config.gradient_acc_steps * processes


def processes() -> int:
    """Return how many processes train together, as `accelerate launch` tells each of them (WORLD_SIZE)."""
    told = os.environ.get("WORLD_SIZE", "")
    return max(int(told), 1) if told.isdigit() else 1


def plan_steps(config: TrainConfig, batches_per_epoch: int) -> StepPlan:
    """Return the steps of a run whose epoch has that many batches (of one process, at least 1).

    An epoch's last optimizer step may have fewer batches than `gradient_acc_steps`. `max_steps` wins over `num_epochs`.
    Raises ValueError when there is no batch.
    """
    if batches_per_epoch < 1:
        raise ValueError("an epoch needs at least one batch")
    per_epoch = -(-batches_per_epoch // config.gradient_acc_steps)
    total = per_epoch * config.num_epochs if config.max_steps is None else config.max_steps
    return StepPlan(per_epoch, total, warmup_steps(config, total), -(-total // per_epoch))


def warmup_steps(config: TrainConfig, total_steps: int) -> int:
    """Return the optimizer steps of the warm-up: `lr_warmup_steps`, else `warmup_lr_ratio` × total, rounded down."""
    if config.lr_warmup_steps is not None:
        return config.lr_warmup_steps
    return int(total_steps * (config.warmup_lr_ratio or 0.0))


def trained_parts(config: TrainConfig) -> tuple[Part, ...]:
    """Return the parts that get a LoRA, text encoder first, as the optimizer's groups are ordered.

    `unet_only` and `text_only` together leave none.
    """
    parts: list[Part] = []
    if not config.unet_only:
        parts.append("text_encoder")
    if not config.text_only:
        parts.append("unet")
    return tuple(parts)


def learning_rate_of(config: TrainConfig, part: Part) -> float:
    """Return the full learning rate of a part: its own, else `learning_rate`."""
    own = config.text_encoder_lr if part == "text_encoder" else config.unet_lr
    return config.learning_rate if own is None else own


BLOCK_ARGS: Final = (
    *("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"),
    *("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"),
)
"""Those of networks.lora about single blocks of the U-Net."""

NETWORK_ARGS = (
    *("conv_dim", "conv_alpha", "rank_dropout", "module_dropout", *BLOCK_ARGS),
    *("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"),
)
"""Our keys that sd-scripts takes as `network_args` of networks.lora, under the same names."""


def network_module(config: TrainConfig) -> str:
    """Return the module that sd-scripts would be given: its own for plain LoRA, LyCORIS' for the rest."""
    return "networks.lora" if _is_plain(config) else "lycoris.kohya"


def _is_plain(config: TrainConfig) -> bool:
    return config.network_type == "lora" and not config.use_dora and not config.use_tucker


def network_args(config: TrainConfig) -> dict[str, str]:
    """Return the network arguments that sd-scripts would be given, as texts."""
    values: dict[str, object] = {key: _as_text(getattr(config, key)) for key in NETWORK_ARGS}
    if not config.block_lr_zero_threshold:
        del values["block_lr_zero_threshold"]
    if config.conv_dim:
        values["conv_alpha"] = effective_conv_alpha(config)
    if network_module(config) != "networks.lora":
        values |= {"algo": config.network_type, "preset": "full" if config.conv_dim else "attn-mlp"}
        values |= {"dora_wd": True} if config.use_dora else {}
        values |= {"use_tucker": True} if config.use_tucker else {}
        if config.network_type == "lokr":
            values |= {"factor": config.lokr_factor, "decompose_both": config.decompose_both or None}
    return {key: str(value) for key, value in values.items() if value is not None}


def _as_text(value: object) -> object:
    return ",".join(f"{one:g}" for one in value) if isinstance(value, list) else value


def factorization(width: int, factor: int) -> tuple[int, int]:
    """Return two numbers whose product is `width`, the smaller first: at most `factor`, or as near as can be for -1.

    As LyCORIS' function of that name: a factor that divides the width is taken as it is.
    """
    if factor > 0 and width % factor == 0:
        return min(factor, width // factor), max(factor, width // factor)
    most = width if factor < 0 else factor
    low = max((one for one in range(1, int(width**0.5) + 1) if width % one == 0 and one <= most), default=1)
    return low, width // low


_WIDEST: Final = 10_240
"""Outputs of the widest layer of SD 1, SD 2 and SDXL that is adapted: a feed-forward layer with a gate."""


def is_whole(rank: int, factor: int) -> bool:
    """Return whether LoKr's matrices are all whole at that rank: then there is no rank to divide alpha by."""
    return rank >= factorization(_WIDEST, factor)[1] / 2


def loraplus_ratio(config: TrainConfig, part: Part) -> float | None:
    """Return how many times the `up` matrices of a part learn as fast as its `down`: its own ratio, else the common."""
    own = config.loraplus_text_encoder_lr_ratio if part == "text_encoder" else config.loraplus_unet_lr_ratio
    return config.loraplus_lr_ratio if own is None else own


def effective_conv_alpha(config: TrainConfig) -> float:
    """Return `conv_alpha` as it acts: left out it gives the convolutions the strength alpha / net_dim too.

    There must be a `conv_dim`.
    """
    assert config.conv_dim is not None
    return scale(config) * config.conv_dim if config.conv_alpha is None else config.conv_alpha or float(config.conv_dim)


def effective_alpha(config: TrainConfig) -> float:
    """Return alpha as it acts: 0 (and an explicit null, which is stored as 0) is equal to the rank."""
    return config.alpha or float(config.net_dim)


def scale(config: TrainConfig) -> float:
    """Return alpha / rank, the factor on the correction; 1 for a LoKr of whole matrices, whatever alpha is."""
    if config.network_type == "lokr" and is_whole(config.net_dim, config.lokr_factor):
        return 1.0
    return effective_alpha(config) / config.net_dim
