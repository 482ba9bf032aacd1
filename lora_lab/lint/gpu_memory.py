"""How much memory a training step takes on a graphics card: an estimate from counts.

    base        parameters × bytes of `mixed_precision`; the VAE in 32 bits
    adapters    parameters per rank × rank × (4 weights + 4 gradients + the optimizer's moments) bytes
    activations batch_size × pixels / 512² × what one such picture takes
    context     0.6 GiB: CUDA's own, and the workspaces of cuDNN and cuBLAS

What a picture takes was counted with `benchmarks/memory_of_a_step.py`: the real U-Nets and text encoders with this
tool's adapters on them, forward, backward and AdamW, memory-efficient attention, every living tensor summed. It grows
in proportion to batch and pixels, to 5 %. The allocator's slack, some per cent more, is left out, so the truth is
higher rather than lower.
"""

from typing import Final, NamedTuple

from lora_lab.config import TrainConfig, trained_parts
from lora_lab.document.model_header import ModelHeader

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB


class Family(NamedTuple):
    """Counts of a family: millions of parameters, adapter parameters per rank, MiB of activations per 512² pixels."""

    base: float
    text_rank: int
    unet_rank: int
    convolutions: tuple[int, int]  # with conv_dim: parameters per conv_dim, and more per rank
    kept: tuple[int, int]  # activations in 16 bits and in 32
    recomputed: tuple[int, int]  # the same with gradient_checkpointing


FAMILIES: Final = {
    "sd1": Family(859.5 + 123.1, 165_888, 423_936, (544_000, 82_880), (1285, 1900), (366, 543)),
    "sd2": Family(865.9 + 340.4, 423_936, 432_128, (544_000, 82_880), (1260, 1880), (326, 480)),
    "sdxl": Family(2567.5 + 123.1 + 694.7, 903_168, 2_659_840, (355_840, 58_560), (2040, 3300), (197, 290)),
}
VAE: Final = 83.7
"""Millions of parameters of the VAE, which is held in 32 bits."""

CONTEXT: Final = int(0.6 * GIB)

NARROWEST_FACTOR: Final = 16
"""What LoKr with factor -1 splits the narrowest layer by, 320 = 16 · 20."""

MOMENTS: Final = (
    ("8bit", 2),
    ("Lion", 4),
    ("SGD", 4),
    ("AdaFactor", 0),
    ("DAdapt", 16),
    ("Prodigy", 16),
)
"""Bytes that an optimizer keeps for a parameter, by what its name holds; 8, two numbers of 32 bits, for the others."""


class Estimate(NamedTuple):
    """Bytes on the card during a step."""

    base: int
    adapters: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum, with CUDA's own part."""
        return self.base + self.adapters + self.activations + CONTEXT


def adapter_parameters(config: TrainConfig, family: Family) -> int:
    """Return how many numbers the adapter has; of a LoKr the most that it can have."""
    per_part = {"text_encoder": family.text_rank, "unet": family.unet_rank}
    parts = trained_parts(config)
    wide = 0
    if config.conv_dim and "unet" in parts:
        wide = family.convolutions[0] * config.conv_dim + family.convolutions[1] * config.net_dim
    lora = sum(per_part[part] for part in parts) * config.net_dim + wide
    if config.network_type == "loha":
        return 2 * lora
    if config.network_type == "lokr":
        factor = config.lokr_factor if config.lokr_factor > 0 else NARROWEST_FACTOR
        return min(lora // factor, int(family.base * 1e6) // factor**2)
    return lora


def moments(config: TrainConfig) -> int:
    """Return the bytes that the optimizer keeps for each parameter."""
    name = "AdamW8bit" if config.use_8bit_adam else config.optimizer_type
    return next((size for mark, size in MOMENTS if mark in name), 8)


def family_of(header: ModelHeader | None) -> Family | None:
    """Return the counts of a base's family, None where it is none of them or a small model for trying things out."""
    family = FAMILIES.get(header.family or "") if header else None
    if header is None or family is None:
        return None
    unet = header.parameters.get("unet")
    return None if unet is not None and unet < 0.3e6 * family.base else family


def estimate(
    config: TrainConfig, family: Family, batch_size: int | None = None, checkpointing: bool | None = None
) -> Estimate:
    """Return what a step takes, also with another `batch_size` or `gradient_checkpointing` than the config's."""
    wide = config.mixed_precision == "no"
    width, height = config.resolution
    pictures = (batch_size or config.batch_size) * width * height / 512**2
    recomputed = config.gradient_checkpointing if checkpointing is None else checkpointing
    per_picture = (family.recomputed if recomputed else family.kept)[wide]
    return Estimate(
        int(family.base * 1e6 * (4 if wide else 2) + VAE * 1e6 * 4),
        adapter_parameters(config, family) * (8 + moments(config)),
        int(pictures * per_picture * MIB),
    )
