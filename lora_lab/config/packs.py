"""Which runs can be trained as one pack: several adapters on one base, in one process."""

from typing import Final

from lora_lab.config.train_config import TrainConfig

SHARED_BY_A_PACK: Final = (
    *("base_model", "vae", "v2", "v_parameterization", "zero_terminal_snr"),
    *("base_weights", "base_weights_multiplier"),
    *("mixed_precision", "xformers", "torch_compile", "gradient_checkpointing"),
    *("img_folder", "reg_img_folder", "dataset_config", "caption_extension", "enable_wildcard"),
    *("validation_split", "validation_seed"),
    *("masked_loss", "alpha_mask", "mask_folder"),
    *("train_resolution", "buckets", "min_bucket_resolution", "max_bucket_resolution"),
    *("bucket_reso_steps", "bucket_no_upscale", "cache_latents", "cache_latents_to_disk"),
    "cache_text_encoder_outputs_to_disk",
    *("batch_size", "gradient_acc_steps", "max_clip_token_length"),
    *("num_workers", "persistent_workers"),
)
"""What the adapters of a pack have in common: the base, the pictures, the shape of the batches."""


def may_share_a_pack(one: TrainConfig, other: TrainConfig) -> bool:
    """Return whether two runs can be trained as one pack."""
    return all(getattr(one, key) == getattr(other, key) for key in SHARED_BY_A_PACK)
