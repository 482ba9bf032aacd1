"""Plants for the mistakes that only a machine shows: a fine config on a card, or in an environment, that is not."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from lora_lab.lint.probes import Gpu
from planting.plants import GOOD_CARD, FakeMachine, Plant

FORMS: Final = ("own-json", "own-yaml", "own-toml", "gui", "toml", "sh", "easy-toml")
_OLD: Final = (
    Gpu("Tesla T4", (7, 5), 15360 * 2**20),
    Gpu("Tesla V100-SXM2-16GB", (7, 0), 16384 * 2**20),
    Gpu("NVIDIA GeForce RTX 2080 Ti", (7, 5), 11264 * 2**20),
    Gpu("NVIDIA GeForce GTX 1080 Ti", None, 11264 * 2**20),
    Gpu("Quadro RTX 6000", None, 24 * 2**30),
    Gpu("NVIDIA GeForce GTX 1660 SUPER", (7, 5), 6144 * 2**20),
)
_SMALL: Final = (
    Gpu("NVIDIA GeForce RTX 3060", (8, 6), 12288 * 2**20),
    Gpu("NVIDIA GeForce RTX 3070", (8, 6), 8192 * 2**20),
    Gpu("NVIDIA GeForce RTX 4060 Laptop GPU", (8, 9), 8188 * 2**20),
)

_HERE: Final = "lora_lab"
"""The packages of this environment are lora_lab's; what another trainer has in its own can't be seen."""


def out_of_memory(rng: Random) -> Iterator[Plant]:
    """Yield large batches and resolutions on small cards."""
    for form in FORMS:
        machine = FakeMachine(rng.choice(_SMALL))
        batch = {"train_batch_size": rng.choice([16, 20, 24, 32])}
        large = {"resolution": "1024,1024", "train_batch_size": rng.choice([4, 6, 8])}
        yield Plant(form, "character", batch | {"optimizer_type": "AdamW"}, files={}, machine=machine)
        yield Plant(form, "style", large, files={}, machine=machine)


def old_cards(rng: Random) -> Iterator[Plant]:
    """Yield bf16 on cards that are older than Ampere."""
    for form in FORMS:
        for card in rng.sample(_OLD, 2):
            yield Plant(form, "character", {"mixed_precision": "bf16"}, files={}, machine=FakeMachine(card))


def no_xformers(_: Random) -> Iterator[Plant]:
    """Yield xformers where it is not installed."""
    for form in FORMS:
        machine = FakeMachine(GOOD_CARD, missing=("xformers",))
        for base in ("character", "unet"):
            yield Plant(form, base, {"xformers": True}, files={}, target=_HERE, machine=machine)


def no_bitsandbytes(rng: Random) -> Iterator[Plant]:
    """Yield 8-bit optimizers without their package."""
    for form in FORMS:
        machine = FakeMachine(GOOD_CARD, missing=("bitsandbytes",))
        name = rng.choice(["AdamW8bit", "PagedAdamW8bit", "Lion8bit"])
        change = {"optimizer_type": name, "learning_rate": 3e-5}
        yield Plant(form, "character", change, files={}, target=_HERE, machine=machine)


OF_MACHINES: Final[dict[int, Callable[[Random], Iterator[Plant]]]] = {
    9: out_of_memory, 11: old_cards, 12: no_xformers, 13: no_bitsandbytes,
}  # fmt: skip
