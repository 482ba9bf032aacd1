"""What is known about each parameter, against lists of facts that were written down apart from the code."""

import re

import pytest

from lora_lab.config import ALIASES, PARAMETERS, REQUIRED, TrainConfig
from lora_lab.config.names import FOREIGN_KEYS
from lora_lab.config.train_config import TOPICS

CLASSIC = [
    "base_model",
    "img_folder",
    "output_folder",
    "change_output_name",
    "save_json_folder",
    "load_json_path",
    "json_load_skip_list",
    "multi_run_folder",
    "save_json_only",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "net_dim",
    "alpha",
    "scheduler",
    "cosine_restarts",
    "scheduler_power",
    "warmup_lr_ratio",
    "learning_rate",
    "text_encoder_lr",
    "unet_lr",
    "num_workers",
    "persistent_workers",
    "batch_size",
    "num_epochs",
    "save_every_n_epochs",
    "shuffle_captions",
    "keep_tokens",
    "max_steps",
    "tag_occurrence_txt_file",
    "sort_tag_occurrence_alphabetically",
    "train_resolution",
    "min_bucket_resolution",
    "max_bucket_resolution",
    "lora_model_for_resume",
    "save_state",
    "load_previous_save_state",
    "training_comment",
    "unet_only",
    "text_only",
    "reg_img_folder",
    "clip_skip",
    "test_seed",
    "prior_loss_weight",
    "gradient_checkpointing",
    "gradient_acc_steps",
    "mixed_precision",
    "save_precision",
    "save_as",
    "caption_extension",
    "max_clip_token_length",
    "buckets",
    "xformers",
    "use_8bit_adam",
    "cache_latents",
    "color_aug",
    "flip_aug",
    "random_crop",
    "vae",
    "no_meta",
    "log_dir",
    "bucket_reso_steps",
    "bucket_no_upscale",
    "v2",
    "v_parameterization",
]

LATER = {
    "torch_compile",
    "dataset_config",
    "weighted_captions",
    "optimizer_type",
    "optimizer_args",
    "max_grad_norm",
    "noise_offset",
    "min_snr_gamma",
    "zero_terminal_snr",
    "validation_split",
    "validation_seed",
    "sample_prompts",
    "sample_every_n_epochs",
    "sample_every_n_steps",
    "sample_sampler",
    "save_every_n_steps",
    "save_last_n_epochs",
    "cache_latents_to_disk",
    "scale_weight_norms",
    "network_dropout",
    "lr_warmup_steps",
    "loss_type",
    "adaptive_noise_scale",
    "debiased_estimation_loss",
    "huber_c",
    "huber_scale",
    "huber_schedule",
    "ip_noise_gamma",
    "ip_noise_gamma_random_strength",
    "max_timestep",
    "min_timestep",
    "multires_noise_discount",
    "multires_noise_iterations",
    "noise_offset_random_strength",
    "scale_v_pred_loss_like_noise_pred",
    "v_pred_like_loss",
    "conv_alpha",
    "network_type",
    "use_dora",
    "use_tucker",
    "lokr_factor",
    "decompose_both",
    "conv_dim",
    "dim_from_weights",
    "loraplus_lr_ratio",
    "loraplus_text_encoder_lr_ratio",
    "loraplus_unet_lr_ratio",
    "module_dropout",
    "rank_dropout",
    "down_lr_weight",
    "mid_lr_weight",
    "up_lr_weight",
    "block_lr_zero_threshold",
    "block_dims",
    "block_alphas",
    "conv_block_dims",
    "conv_block_alphas",
    "base_weights",
    "base_weights_multiplier",
    "keep_best",
    "ema_decay",
    "keep_tokens_separator",
    "caption_prefix",
    "caption_suffix",
    "enable_wildcard",
    "secondary_separator",
    "token_warmup_min",
    "token_warmup_step",
    "masked_loss",
    "mask_folder",
    "alpha_mask",
    "cache_text_encoder_outputs",
    "cache_text_encoder_outputs_to_disk",
}

KOHYA_GUI = {
    "pretrained_model_name_or_path": "base_model",
    "logging_dir": "log_dir",
    "train_data_dir": "img_folder",
    "reg_data_dir": "reg_img_folder",
    "output_dir": "output_folder",
    "max_resolution": "train_resolution",
    "lr_scheduler": "scheduler",
    "lr_warmup": "warmup_lr_ratio",
    "train_batch_size": "batch_size",
    "epoch": "num_epochs",
    "save_at_n_epochs": "save_every_n_epochs",
    "enable_bucket": "buckets",
    "save_model_as": "save_as",
    "shuffle_caption": "shuffle_captions",
    "resume": "load_previous_save_state",
    "network_dim": "net_dim",
    "gradient_accumulation_steps": "gradient_acc_steps",
    "output_name": "change_output_name",
    "network_alpha": "alpha",
    "lr_scheduler_num_cycles": "cosine_restarts",
    "lr_scheduler_power": "scheduler_power",
}
"""The renaming that the old tool did when it read a file of kohya's GUI."""

DEFAULTS = {
    "net_dim": 32,
    "alpha": 16.0,
    "scheduler": "cosine",
    "learning_rate": 1e-4,
    "train_resolution": 512,
    "clip_skip": 1,
    "test_seed": 23,
    "mixed_precision": "bf16",
    "save_precision": "fp16",
    "max_clip_token_length": 75,
    "min_bucket_resolution": 256,
    "max_bucket_resolution": 1024,
    "buckets": True,
    "cache_latents": True,
    "optimizer_type": "AdamW",
    "max_grad_norm": 1.0,
    "max_steps": None,
    "validation_split": 0.0,
    "loss_type": "l2",
}


def test_the_classic_keys_come_first_in_their_order() -> None:
    """The 65 keys of the old JSON files are there, in the customary order, and the later ones follow."""
    assert list(PARAMETERS)[:65] == CLASSIC
    assert set(list(PARAMETERS)[65:]) == LATER
    assert len(CLASSIC) == 65


def test_every_field_is_a_parameter_and_belongs_to_one_topic() -> None:
    """Model, register and topics name the same keys, and the numbers of the rows have no gap."""
    assert set(PARAMETERS) == set(TrainConfig.model_fields)
    assert [known.row for known in PARAMETERS.values()] == list(range(1, len(CLASSIC) + len(LATER) + 1))
    assert {known.topic for known in PARAMETERS.values()} == {topic.title for topic in TOPICS}


def test_defaults_are_valid_and_only_three_keys_have_none() -> None:
    """A config of the three required keys has the documented defaults and passes validation once more."""
    required = {name for name, known in PARAMETERS.items() if known.required}
    assert required == {"base_model", "img_folder", "output_folder"}
    config = TrainConfig.model_validate(dict.fromkeys(required, "x"))
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS
    assert TrainConfig.model_validate(config.model_dump()) == config
    assert all(PARAMETERS[name].default == getattr(config, name) for name in PARAMETERS if name not in required)
    assert PARAMETERS["base_model"].default is REQUIRED


@pytest.mark.parametrize("name", CLASSIC + sorted(LATER))
def test_every_parameter_says_what_it_is(name: str) -> None:
    """Each has a one-sentence meaning, a typical range and, for each pitfall, a source."""
    known = PARAMETERS[name]
    assert re.fullmatch(r"[A-Z`][^\n]*[^.\s]\.", known.meaning), known.meaning
    assert ". " not in known.meaning.replace("SD 1.x", "").replace("SD 2.x", "")
    assert known.typical.endswith(".")
    assert known.type_text
    for pitfall in known.pitfalls:
        assert pitfall.text.endswith(".")
        assert len(pitfall.source) > 4
    quoted = " ".join([known.meaning, known.typical, known.misread or "", *(one.text for one in known.pitfalls)])
    for word in re.findall(r"`([a-z_0-9]+)`", quoted):
        assert word in PARAMETERS or word in ALIASES or word in WORDS_THAT_ARE_NO_KEY, word


WORDS_THAT_ARE_NO_KEY = {
    "last", "true", "step", "plateau", "polynomial", "constant", "cosine", "cosine_with_restarts", "ss_output_name",
    "ss_training_comment", "none", "fp32", "no", "num_repeats", "float", "run1", "val_loss",
}  # fmt: skip


def test_the_known_misreadings_are_answered() -> None:
    """Every key that a widely copied text explains wrongly says so."""
    wrong = [
        "change_output_name",
        "load_json_path",
        "multi_run_folder",
        "caption_dropout_every_n_epochs",
        "scheduler",
        "scheduler_power",
        "warmup_lr_ratio",
        "shuffle_captions",
        "keep_tokens",
        "tag_occurrence_txt_file",
        "max_bucket_resolution",
        "save_state",
        "load_previous_save_state",
        "training_comment",
        "text_only",
        "reg_img_folder",
        "clip_skip",
        "test_seed",
        "gradient_acc_steps",
        "mixed_precision",
        "save_precision",
        "max_clip_token_length",
        "buckets",
        "xformers",
        "vae",
        "no_meta",
        "log_dir",
        "bucket_reso_steps",
        "v_parameterization",
        "net_dim",
    ]
    assert [name for name in wrong if not PARAMETERS[name].misread] == []


def test_other_tools_names_lead_to_ours() -> None:
    """Each name that the old tool translated from kohya's GUI is known as an alias of the same key."""
    assert {alias: ALIASES.get(alias) for alias in KOHYA_GUI} == KOHYA_GUI


def test_a_word_is_ours_or_foreign_but_not_both() -> None:
    """No key or alias is also listed as having no counterpart."""
    assert FOREIGN_KEYS & {name.casefold() for name in (*PARAMETERS, *ALIASES)} == set()


def test_paths_are_marked() -> None:
    """The keys that name something on disk say what it is."""
    kinds = {name: known.path_kind for name, known in PARAMETERS.items() if known.path_kind}
    assert kinds == {
        "base_model": "model",
        "img_folder": "folder",
        "output_folder": "output_folder",
        "save_json_folder": "output_folder",
        "load_json_path": "file",
        "multi_run_folder": "output_folder",
        "lora_model_for_resume": "file",
        "base_weights": "files",
        "load_previous_save_state": "folder",
        "reg_img_folder": "folder",
        "mask_folder": "folder",
        "vae": "model",
        "log_dir": "output_folder",
        "sample_prompts": "file",
        "dataset_config": "file",
    }


def test_limits_are_read_off_the_types() -> None:
    """Limits, their openness and the choices in `PARAMETERS` are those of the model."""
    clip_skip, rate, ratio = (PARAMETERS[name] for name in ("clip_skip", "unet_lr", "warmup_lr_ratio"))
    assert (clip_skip.minimum, clip_skip.maximum, clip_skip.range_text) == (1, 23, "from 1 to 23")
    assert (rate.minimum, rate.exclusive_minimum, rate.maximum, rate.range_text) == (0.0, True, None, "above 0")
    assert (ratio.exclusive_minimum, ratio.exclusive_maximum, ratio.range_text) == (False, True, "from 0 to below 1")
    assert PARAMETERS["bucket_reso_steps"].range_text == "from 8 to 1024, a multiple of 8"
    assert PARAMETERS["max_clip_token_length"].choices == (75, 150, 225)
    assert PARAMETERS["save_as"].choices == ("safetensors", "ckpt", "pt", "bin")
    assert PARAMETERS["alpha"].null_means == 0.0
    assert PARAMETERS["net_dim"].null_means == 32
