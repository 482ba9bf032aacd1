"""What the runs of a sweep keep on the disk for each other and for the next sweep."""

from typing import Final

from lora_lab.config import TrainConfig

ON_DISK: Final = {
    "cache_latents": "cache_latents_to_disk",
    "cache_text_encoder_outputs": "cache_text_encoder_outputs_to_disk",
}


def with_shared_caches(config: TrainConfig) -> TrainConfig:
    """Return the config with its caches on the disk, but for those of which it says itself where they are.

    Another result comes of it in no case; each picture is encoded once for all sweeps instead of once for each process.
    """
    missing = {
        disk: True for cache, disk in ON_DISK.items() if getattr(config, cache) and disk not in config.model_fields_set
    }
    return config.model_copy(update=missing)
