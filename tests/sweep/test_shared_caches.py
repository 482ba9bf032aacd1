"""A sweep's runs share what they encode."""

from lora_lab.config import check
from lora_lab.config.undeciding import UNDECIDING
from lora_lab.sweep.shared_caches import ON_DISK, with_shared_caches

PATHS = {"base_model": "m", "img_folder": "i", "output_folder": "o"}


def on_disk(**values: object) -> dict[str, object]:
    """Return which caches are on the disk."""
    config = with_shared_caches(check({**PATHS, **values}).config)
    return {name: getattr(config, name) for name in ON_DISK.values()}


def test_what_is_cached_is_on_the_disk_unless_its_author_says_no() -> None:
    """Latents by default, text encoder outputs where they are cached at all, neither where the config says no."""
    latents, texts = ON_DISK.values()
    assert on_disk() == {latents: True, texts: False}
    assert on_disk(cache_text_encoder_outputs=True, unet_only=True) == {latents: True, texts: True}
    assert on_disk(cache_latents=False) == {latents: False, texts: False}
    assert on_disk(cache_latents_to_disk=False) == {latents: False, texts: False}


def test_it_decides_no_result() -> None:
    """Runs keep the identity that they have with the caches in memory."""
    assert set(ON_DISK.values()) <= UNDECIDING
