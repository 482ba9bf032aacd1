"""The names that sd-scripts and kohya's GUI have: which are ours under another name, and what the others are about."""

from collections.abc import Mapping
from typing import Final

from lora_lab.config import PARAMETERS


def _inverse(dialect: str) -> dict[str, str]:
    return {known.aliases[dialect]: name for name, known in PARAMETERS.items() if dialect in known.aliases}


SD_SCRIPTS: Final[Mapping[str, str]] = {
    **_inverse("sd-scripts"),
    "caption_extention": "caption_extension",  # sd-scripts' own old spelling, which it still takes
    "batch_size": "batch_size",  # in a dataset config
    "lr_restart_cycles": "cosine_restarts",  # lora-scripts writes it, and renames it when it starts sd-scripts
}
"""sd-scripts' name → ours."""

KOHYA_GUI: Final[Mapping[str, str]] = {
    **_inverse("sd-scripts"),
    **_inverse("kohya_gui"),
    "save_at_n_epochs": "save_every_n_epochs",
    "network_weights": "lora_model_for_resume",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
}
"""The GUI's name → ours; it took over sd-scripts' names little by little."""

EVERY_NAME: Final[Mapping[str, str]] = {**SD_SCRIPTS, **KOHYA_GUI}


def theirs(dialect: str) -> dict[str, str]:
    """Return our name → the dialect's, where it has one."""
    return {name: known.aliases[dialect] for name, known in PARAMETERS.items() if dialect in known.aliases}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAUNCH: Final = _words(
    "num_cpu_threads_per_process num_processes num_machines multi_gpu gpu_ids main_process_port dynamo_backend"
    " dynamo_mode dynamo_use_dynamic dynamo_use_fullgraph extra_accelerate_launch_args config_file"
    " ddp_timeout ddp_gradient_as_bucket_view ddp_static_graph output_config tokenizer_cache_dir debug_dataset"
    " console_log_level console_log_file console_log_simple lowram highvram lowvram mem_eff_attn sdpa vae_batch_size"
    " skip_cache_check full_path expand_all_accordions expand_basic_accordion expand_accordion use_shell debug"
    " no_half_vae sdxl_no_half_vae vae_padding_mode flash_attn sage_attn split_attn disable_mmap_load_safetensors"
    " max_data_loader_n_workers_prefetch cpu_offload_checkpointing attn_mode config_dir models_dir save_as_bool"
    " model_list"
)
"""How a program is started or spends memory: nothing of what is learned depends on it."""

RECORDS: Final = _words(
    "log_with log_prefix log_tracker_name log_tracker_config log_tracker_config_dir log_config wandb_run_name"
    " wandb_api_key use_wandb async_upload huggingface_repo_id huggingface_repo_type huggingface_path_in_repo"
    " huggingface_token huggingface_repo_visibility save_state_to_huggingface resume_from_huggingface metadata_title"
    " metadata_author metadata_description metadata_license metadata_tags metadata_usage_hint metadata_thumbnail"
    " metadata_trigger_phrase metadata_preprocessor metadata_reso metadata_merged_from repo_id repo_type path_in_repo"
    " repo_visibility"
)
"""Where a run is recorded or uploaded: lora_lab records every run in MLflow."""

NETWORK: Final = _words(
    "network_args network_module LoRA_type LyCORIS_preset lycoris_preset conv_dim conv_alpha conv_dims conv_alphas"
    ""
    " block_lr decompose_both factor unit use_cp use_scalar rescaled train_norm"
    " train_on_input rank_dropout rank_dropout_scale module_dropout bypass_mode constrain dora_wd"
    " loraplus_lr_ratio loraplus_unet_lr_ratio loraplus_text_encoder_lr_ratio"
    " lora_type algo preset locon locon_dim locon_alpha lyco enable_all_linear network_reg_alphas network_reg_dims"
)
"""Networks, and what they are made of."""

LOSS: Final = _words("noise_offset_type weighting_scheme")
"""Noise and loss."""

CAPTIONS: Final = _words(
    "caption_separator no_token_padding face_crop_aug_range resize_interpolation"
    " class_tokens num_repeats dataset_repeats is_reg in_json metadata_file image_dir dataset_class"
    " cache_info token_string init_word template train_inpainting skip_image_resolution custom_attributes"
    " validation_split_num height_resolution random_crop_padding_percent"
)
"""What is read from the data set and how."""

SCHEDULE: Final = _words(
    "lr_scheduler_type lr_scheduler_args lr_scheduler_min_lr_ratio lr_scheduler_timescale lr_decay_steps"
    " initial_epoch initial_step skip_until_initial_step stop_text_encoder_training stop_text_encoder_training_pct"
    " save_n_epoch_ratio save_last_n_steps save_last_n_steps_state save_last_n_epochs_state save_state_on_train_end"
    " sample_at_first full_fp16 full_bf16 fp8_base fp8_base_unet use_lion_optimizer use_lion fused_backward_pass"
    " fused_optimizer_groups validate_every_n_steps validate_every_n_epochs max_validation_steps deepspeed"
    " learning_rate_te learning_rate_te1 learning_rate_te2 optimizer_schedulefree_wrapper zero_stage"
    " additional_parameters prompt_file network_train_on_layers"
)
"""Schedules, saving and number formats that lora_lab has not."""

TEXT_CACHE: Final = _words("text_encoder_batch_size")
"""How many texts another program encodes at once for its cache."""

OTHER_FAMILY: Final = _words(
    "ae clip_l clip_g t5xxl t5xxl_dtype t5xxl_device t5xxl_max_token_length t5xxl_lr train_t5xxl apply_t5_attn_mask"
    " guidance_scale model_prediction_type discrete_flow_shift timestep_sampling sigmoid_scale blocks_to_swap"
    " single_blocks_to_swap double_blocks_to_swap split_mode split_qkv train_blocks mode_scale logit_mean logit_std"
    " dit text_encoder qwen3 qwen3_max_token_length llm_adapter_path llm_adapter_lr model_version model_type"
    " in_dims img_attn_dim img_mlp_dim img_mod_dim txt_attn_dim txt_mlp_dim txt_mod_dim single_dim single_mod_dim"
    " train_double_block_indices train_single_block_indices gemma2 enable_scaled_pos_embed pos_emb_random_crop_rate"
    " flow_matching vae_chunk_size vae_disable_cache t5_max_token_length train_lora_ggpo ggpo_beta ggpo_sigma"
    " mem_eff_save save_clip save_t5xxl clip_l_dropout_rate clip_g_dropout_rate t5_dropout_rate use_flash_attn"
    " preserve_distribution_shape fp8_scaled fp8_vl fp8_t5 fp8_text_encoder num_timestep_buckets system_prompt"
)
"""Keys of FLUX, SD3 and other transformers."""

FAMILY_MARKS: Final = _words(
    "ae t5xxl dit qwen3 clip_g gemma2 guidance_scale discrete_flow_shift model_prediction_type"
)
"""With one of these set the base is no Stable Diffusion 1, 2 or SDXL."""

GUI_BOXES: Final[Mapping[str, str]] = {
    "flux1_checkbox": "FLUX",
    "sd3_checkbox": "Stable Diffusion 3",
    "lumina_checkbox": "Lumina",
    "anima_checkbox": "Anima",
    "hunyuan_image_checkbox": "HunyuanImage",
}

REASONS: Final[tuple[tuple[frozenset[str], str, bool], ...]] = (
    (LAUNCH, "how the other program is started or saves memory", False),
    (RECORDS, "where a run is recorded; here that is MLflow", False),
    (TEXT_CACHE, "lora_lab encodes each text of its cache alone", False),
    (NETWORK, "a setting of networks that lora_lab does not have", True),
    (LOSS, "a noise or loss setting that lora_lab does not have", True),
    (CAPTIONS, "a data set setting that lora_lab does not have", True),
    (SCHEDULE, "a setting that lora_lab does not have", True),
    (OTHER_FAMILY, "for other model families than SD 1, SD 2 and SDXL", True),
)
"""What keys without a counterpart are about, and whether a run can depend on them."""

FAMILY_SWITCHES: Final = _words("sdxl flux1 sd3 model_train_type")
"""lora_lab sees the family in the base model itself."""

DIFFUSERS: Final = _words(
    "num_train_epochs checkpointing_steps instance_data_dir instance_prompt class_prompt validation_prompt"
    " validation_epochs rank dataset_name caption_column center_crop random_flip dataloader_num_workers snr_gamma"
    " enable_xformers_memory_efficient_attention train_text_encoder allow_tf32 report_to validation_steps"
    " validation_prompts num_validation_images lora_rank"
)
"""Names of diffusers' example scripts that sd-scripts does not know."""

GUI_ONLY: Final = _words(
    "epoch lr_warmup max_resolution optimizer LoRA_type stop_text_encoder_training sdxl_no_half_vae"
)
"""Names of kohya's GUI that sd-scripts itself does not know, and silently passes over in a `--config_file`."""


def is_known(key: str) -> bool:
    """Say whether sd-scripts, a script of its family or the GUI has the key."""
    return key in EVERY_NAME or key in FAMILY_SWITCHES or any(key in names for names, _, _ in REASONS)


def why(key: str) -> tuple[str, bool]:
    """Return why a key has no counterpart, and whether a run can depend on it."""
    for names, reason, asks in REASONS:
        if key in names:
            return reason, asks
    return "lora_lab has no such setting", True
