"""Keys that are not ours: other tools' names for them, slips of the hand, and leftovers of old files."""

from collections.abc import Mapping
from typing import Final

from lora_lab.config.parameters import PARAMETERS

IGNORED_KEYS: Final = frozenset({"$schema", "list_of_json_to_run"})
"""Accepted without a word: the editor's schema link, and a key that an old tool saved by accident."""

UNSUPPORTED_KEYS: Final[Mapping[str, str]] = {
    "use_lion": 'write "optimizer_type": "Lion" instead',
    "ema": 'write "ema_decay": 0.99 instead',
    "use_ema": 'write "ema_decay": 0.99 instead',
    "lowram": "leave it out, and save memory with gradient_checkpointing or a smaller batch_size",
}
"""Keys of old files that ask for what is had in another way; false and null are accepted without a word."""

NEEDLESS_KEYS: Final[Mapping[str, str]] = {
    "no_half_vae": "the VAE always computes in 32 bits here",
    "sdxl": "whether a base is SDXL is read from the base itself",
}
"""Keys of other tools that ask for what is done in any case; false and null are accepted without a word."""

FOREIGN_KEYS: Final = frozenset(
    [
        "lora_type",
        "async_upload",
        "cache_info",
        "caption_separator",
        "class_tokens",
        "deepspeed",
        "dynamo_backend",
        "face_crop_aug_range",
        "fp8_base",
        "fp8_base_unet",
        "full_bf16",
        "full_fp16",
        "fused_backward_pass",
        "height_resolution",
        "highvram",
        "huggingface_path_in_repo",
        "huggingface_repo_id",
        "huggingface_repo_type",
        "huggingface_repo_visibility",
        "huggingface_token",
        "initial_epoch",
        "initial_step",
        "is_reg",
        "locon",
        "locon_alpha",
        "locon_dim",
        "log_config",
        "log_prefix",
        "log_tracker_name",
        "log_with",
        "lr_decay_steps",
        "lr_scheduler_args",
        "lr_scheduler_min_lr_ratio",
        "lr_scheduler_type",
        "lyco",
        "max_validation_steps",
        "mem_eff_attn",
        "model_list",
        "network_args",
        "network_module",
        "network_train_on_layers",
        "num_cpu_threads_per_process",
        "num_repeats",
        "resize_interpolation",
        "resume_from_huggingface",
        "sample_at_first",
        "save_json_name",
        "save_last_n_epochs_state",
        "save_last_n_steps",
        "save_last_n_steps_state",
        "save_n_epoch_ratio",
        "save_state_on_train_end",
        "save_state_to_huggingface",
        "sdpa",
        "skip_cache_check",
        "skip_until_initial_step",
        "stop_text_encoder_training",
        "tokenizer_cache_dir",
        "vae_batch_size",
        "validate_every_n_epochs",
        "validate_every_n_steps",
        "wandb_api_key",
        "wandb_run_name",
    ]
)
"""Keys that other tools have and lora_lab does not, in lower case: real words, not slips of the hand."""

_OTHER_NAMES: Final[Mapping[str, str]] = {
    "optimizer": "optimizer_type",
    "seed": "test_seed",
    "lr": "learning_rate",
    "rank": "net_dim",
    "lora_rank": "net_dim",
    "network_train_unet_only": "unet_only",
}
_NOTES: Final[Mapping[str, str]] = {
    "lr_warmup": " (there it is a percentage: divide by 100)",
    "max_train_epochs": " (there it wins over the steps, here max_steps wins)",
    "epoch": " (max_steps wins over it here)",
}


def _aliases() -> dict[str, str]:
    aliases = {alias: name for name, known in PARAMETERS.items() for alias in known.aliases.values()}
    aliases |= _OTHER_NAMES
    return {alias: name for alias, name in aliases.items() if alias not in PARAMETERS}


ALIASES: Final[Mapping[str, str]] = _aliases()
"""Another tool's name → ours, where they differ."""


def nearest_key(word: str) -> str | None:
    """Return the key that an unknown word probably means, or None: another tool's name first, then a like spelling."""
    folded = word.strip().lstrip("-").replace("-", "_").casefold()
    if folded in PARAMETERS:
        return folded
    if folded in ALIASES:
        return ALIASES[folded]
    if folded in FOREIGN_KEYS:
        return None
    import difflib  # noqa: PLC0415 - only for a mistake

    close = difflib.get_close_matches(folded[:60], [*PARAMETERS, *ALIASES], n=1, cutoff=0.72)
    return ALIASES.get(close[0], close[0]) if close else None


def note_on(word: str) -> str:
    """Return what to mind about an unknown key, such as another unit than ours; "" where there is nothing."""
    if word.casefold() in FOREIGN_KEYS:
        return " (other tools have it, lora_lab does not)"
    return _NOTES.get(word, "")
