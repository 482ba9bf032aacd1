"""Keys of other tools: which ask for nothing, and which program a file was written for."""

COMMENT_KEYS = ("$", "//", "#", "_comment", "lora_lab:")
"""How keys begin that are notes to people or editors (`$schema`) or the linter and no settings."""

LATER_EASY = frozenset(
    [
        "adaptive_noise_scale",
        "async_upload",
        "dim_from_weights",
        "face_crop_aug_range",
        "height_resolution",
        "huggingface_path_in_repo",
        "huggingface_repo_id",
        "huggingface_repo_type",
        "huggingface_repo_visibility",
        "huggingface_token",
        "list_of_json_to_run",
        "locon",
        "locon_alpha",
        "locon_dim",
        "log_prefix",
        "log_tracker_name",
        "log_with",
        "lowram",
        "lr_scheduler_args",
        "lr_scheduler_type",
        "lyco",
        "mem_eff_attn",
        "multires_noise_discount",
        "multires_noise_iterations",
        "network_args",
        "network_module",
        "resume_from_huggingface",
        "save_json_name",
        "save_last_n_epochs_state",
        "save_n_epoch_ratio",
        "save_state_to_huggingface",
        "sdpa",
        "tokenizer_cache_dir",
        "wandb_api_key",
    ]
)
"""Keys that later versions of LoRA_Easy_Training_Scripts wrote and lora_lab does not have."""

_IDLE: dict[str, tuple[object, ...]] = {
    "multires_noise_discount": (0.3,),
    "network_module": ("networks.lora", "sd_scripts.networks.lora"),
    "lr_scheduler_type": ("",),
}
"""Values besides null, false and empty that ask for nothing."""

_MARKS: dict[str, frozenset[str]] = {
    "a kohya_ss GUI config": frozenset(
        [
            "LoRA_type",
            "train_data_dir",
            "num_cpu_threads_per_process",
            "epoch",
            "network_dim",
            "train_batch_size",
            "stop_text_encoder_training",
            "logging_dir",
            "caption_metadata_filename",
            "gradient_accumulation_steps",
        ]
    ),
    "sd-scripts settings": frozenset(
        [
            "pretrained_model_name_or_path",
            "network_module",
            "output_dir",
            "train_data_dir",
            "max_train_epochs",
            "network_dim",
        ]
    ),
    "an OneTrainer config": frozenset(
        [
            "training_method",
            "concept_file_name",
            "concepts",
            "base_model_name",
            "output_model_destination",
            "__version",
            "lora_rank",
        ]
    ),
    "a SimpleTuner config": frozenset(
        [
            "model_family",
            "data_backend_config",
            "lora_rank",
            "lora_type",
            "instance_data_dir",
            "checkpoint_step_interval",
            "base_model_precision",
            "validation_prompt",
            "validation_resolution",
            "num_train_epochs",
        ]
    ),
    "settings of diffusers' example scripts": frozenset(
        ["instance_data_dir", "instance_prompt", "pretrained_model_name_or_path", "rank", "num_train_epochs"]
    ),
    "a Civitai trainer's parameters": frozenset(["targetSteps", "numRepeats", "unetLR", "networkDim"]),
    "accelerate's own settings": frozenset(["compute_environment", "distributed_type", "num_processes", "use_cpu"]),
    "a ComfyUI workflow": frozenset(["nodes", "links", "last_node_id", "last_link_id"]),
    "a diffusers model's own config": frozenset(["_class_name", "_diffusers_version"]),
    "a transformers model's own config": frozenset(["architectures", "transformers_version", "vocab_size"]),
}


def is_later_easy(key: str) -> bool:
    """Say whether later versions of LoRA_Easy_Training_Scripts have this key and lora_lab does not."""
    return key in LATER_EASY


def is_idle(key: str, value: object) -> bool:
    """Say whether a value of an unknown key asks for nothing."""
    return value is None or value is False or value in ("", [], {}) or value in _IDLE.get(key, ())


def looks_like(keys: frozenset[str]) -> str | None:
    """Return the program whose marks a file carries most of, None without any."""
    bare = frozenset(key.lstrip("-") for key in keys)
    best = max(_MARKS, key=lambda name: len(bare & _MARKS[name]))
    return best if bare & _MARKS[best] else None


def is_switch_word(text: str) -> bool:
    """Say whether a text is a switch in quotes, which the finding about its type mends."""
    return text.strip().lower() in {"true", "false", "yes", "no", "on", "off", "0", "1"}
