"""What a LoRA file says about its training: the `ss_*` and `modelspec.*` keys that user interfaces read.

Names and spellings are those of sd-scripts' `train_network.py` and `library/sai_model_spec.py`; every value is
`str(value)`, nested ones are JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import lora_lab
from lora_lab.config import (
    StepPlan,
    TrainConfig,
    arguments,
    effective_alpha,
    effective_batch,
    learning_rate_of,
    network_args,
    network_module,
    sides,
)
from lora_lab.config.merged import with_multipliers
from lora_lab.train.families.base import Base, Family
from lora_lab.train.optimizer import CLASSES, optimizer_name

MINIMUM = (
    "ss_v2",
    "ss_base_model_version",
    "ss_network_module",
    "ss_network_dim",
    "ss_network_alpha",
    "ss_network_args",
)
"""What `no_meta` leaves: without it no program knows how to load the file."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """The figures of a data set that the metadata carries."""

    train_images: int  # with repeats
    reg_images: int
    batches_per_epoch: int
    dirs: Mapping[str, Mapping[str, int]]
    reg_dirs: Mapping[str, Mapping[str, int]]
    tag_frequency: Mapping[str, Mapping[str, int]]
    buckets: Mapping[tuple[int, int], int]
    mean_ar_error: float
    processes: int = 1
    sets: Sequence[Mapping[str, object]] = ()  # of a data set file, as `ss_datasets` lists them


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """How far a run is, at the time its file is written. Times are seconds since 1970."""

    epoch: int
    step: int
    started_at: float
    finished_at: float
    val_loss: float | None = None  # of a file that was chosen by it


def describe(
    config: TrainConfig, family: Family, base: Base, facts: DatasetFacts, plan: StepPlan, progressed: Progressed
) -> dict[str, str]:
    """Return all metadata of a LoRA file, hashes excepted."""
    values = {
        **_run(config, plan, progressed),
        **_model(config, family, base),
        **_optimisation(config, plan),
        **_noise_and_loss(config),
        **_dataset(config, facts),
        **_own(config, progressed),
    }
    written = {key: _text(value) for key, value in values.items()}
    if config.no_meta:
        written = {key: written[key] for key in MINIMUM}
    return {**written, **_modelspec(config, family, progressed)}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def output_name(config: TrainConfig) -> str:
    """Return the base of every file name that a run writes."""
    return config.change_output_name or "last"


def _run(config: TrainConfig, plan: StepPlan, progressed: Progressed) -> dict[str, object]:
    return {
        "ss_session_id": int(progressed.started_at * 1000) & 0xFFFFFFFF,
        "ss_training_started_at": progressed.started_at,
        "ss_training_finished_at": progressed.finished_at,
        "ss_output_name": output_name(config),
        "ss_epoch": progressed.epoch,
        "ss_num_epochs": plan.epochs,
        "ss_steps": progressed.step,
        "ss_max_train_steps": plan.total_steps,
        "ss_seed": config.test_seed,
        "ss_training_comment": config.training_comment,
        "ss_sd_scripts_commit_hash": f"lora_lab {lora_lab.__version__}",
    }


def _model(config: TrainConfig, family: Family, base: Base) -> dict[str, object]:
    return {
        "ss_sd_model_name": base.name,
        "ss_sd_model_hash": base.old_hash,
        "ss_new_sd_model_hash": base.hash,
        "ss_vae_name": Path(config.vae).name if config.vae else None,
        "ss_vae_hash": base.old_vae_hash if config.vae else None,
        "ss_new_vae_hash": base.vae_hash if config.vae else None,
        "ss_v2": config.v2,
        "ss_base_model_version": family.base_model_version(config.v_parameterization),
        "ss_clip_skip": config.clip_skip,
        "ss_max_token_length": config.max_clip_token_length,
        "ss_network_module": network_module(config),
        "ss_network_dim": config.net_dim,
        "ss_network_alpha": effective_alpha(config),
        "ss_network_dropout": config.network_dropout,
        "ss_network_args": network_args(config),
        "ss_scale_weight_norms": config.scale_weight_norms,
    }


def _optimisation(config: TrainConfig, plan: StepPlan) -> dict[str, object]:
    name = optimizer_name(config)
    module, attribute, _ = CLASSES.get(name, (*name.rpartition(".")[::2], ""))
    given = ",".join(f"{key}={value}" for key, value in arguments(config.optimizer_args).items())
    return {
        "ss_learning_rate": config.learning_rate,
        "ss_unet_lr": learning_rate_of(config, "unet"),
        "ss_text_encoder_lr": learning_rate_of(config, "text_encoder"),
        "ss_optimizer": f"{module}.{attribute}" + (f"({given})" if given else ""),
        "ss_lr_scheduler": config.scheduler,
        "ss_lr_warmup_steps": plan.warmup_steps,
        "ss_max_grad_norm": config.max_grad_norm,
        "ss_gradient_accumulation_steps": config.gradient_acc_steps,
        "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_mixed_precision": config.mixed_precision,
        "ss_full_fp16": False,
        "ss_lowram": False,
        "ss_cache_latents": config.cache_latents,
        "ss_prior_loss_weight": config.prior_loss_weight,
    }


def _noise_and_loss(config: TrainConfig) -> dict[str, object]:
    huber = config.loss_type in ("huber", "smooth_l1")
    return {
        "ss_noise_offset": config.noise_offset,
        "ss_noise_offset_random_strength": config.noise_offset_random_strength,
        "ss_adaptive_noise_scale": config.adaptive_noise_scale,
        "ss_multires_noise_iterations": config.multires_noise_iterations,
        "ss_multires_noise_discount": config.multires_noise_discount,
        "ss_ip_noise_gamma": config.ip_noise_gamma,
        "ss_ip_noise_gamma_random_strength": config.ip_noise_gamma_random_strength,
        "ss_zero_terminal_snr": config.zero_terminal_snr,
        "ss_min_snr_gamma": config.min_snr_gamma,
        "ss_debiased_estimation": config.debiased_estimation_loss,
        "ss_loss_type": config.loss_type,
        "ss_huber_schedule": config.huber_schedule if huber else None,
        "ss_huber_c": config.huber_c if huber else None,
        "ss_huber_scale": config.huber_scale if huber else None,
    }


def _dataset(config: TrainConfig, facts: DatasetFacts) -> dict[str, object]:
    buckets = [{"resolution": list(size), "count": count} for size, count in facts.buckets.items()]
    return {
        "ss_batch_size_per_device": config.batch_size,
        "ss_total_batch_size": effective_batch(config, facts.processes),
        "ss_resolution": sides(config.train_resolution),
        "ss_color_aug": config.color_aug,
        "ss_flip_aug": config.flip_aug,
        "ss_random_crop": config.random_crop,
        "ss_shuffle_caption": config.shuffle_captions,
        "ss_keep_tokens": config.keep_tokens,
        "ss_enable_bucket": config.buckets,
        "ss_bucket_no_upscale": config.bucket_no_upscale,
        "ss_min_bucket_reso": config.min_bucket_resolution,
        "ss_max_bucket_reso": config.max_bucket_resolution,
        "ss_caption_dropout_rate": config.caption_dropout_rate,
        "ss_caption_dropout_every_n_epochs": config.caption_dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": config.caption_tag_dropout_rate,
        "ss_num_train_images": facts.train_images,
        "ss_num_reg_images": facts.reg_images,
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
        "ss_validation_split": config.validation_split,
        "ss_validation_seed": config.validation_seed,
        "ss_dataset_dirs": dict(facts.dirs),
        "ss_reg_dataset_dirs": dict(facts.reg_dirs),
        "ss_tag_frequency": {key: dict(tags) for key, tags in facts.tag_frequency.items()},
        "ss_bucket_info": {
            "buckets": {str(number): bucket for number, bucket in enumerate(buckets)},
            "mean_img_ar_error": facts.mean_ar_error,
        },
        **({"ss_datasets": list(facts.sets)} if facts.sets else {}),
    }


def _own(config: TrainConfig, progressed: Progressed) -> dict[str, object]:
    """What sd-scripts has no name for, where there is any."""
    merged = with_multipliers(config.base_weights, config.base_weights_multiplier)
    found = {
        "lora_lab.ema_decay": config.ema_decay,
        "lora_lab.val_loss": progressed.val_loss,
        "lora_lab.base_weights": {Path(name).name: multiplier for name, multiplier in merged} or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _modelspec(config: TrainConfig, family: Family, progressed: Progressed) -> dict[str, str]:
    width, height = sides(config.train_resolution)
    moment = datetime.fromtimestamp(int(progressed.finished_at)).astimezone()
    title = config.change_output_name or f"LoRA@{progressed.started_at}"
    spec = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": family.architecture(config.v_parameterization),
        "modelspec.implementation": family.implementation,
        "modelspec.title": title,
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.date": moment.replace(tzinfo=None).isoformat(),
        "modelspec.prediction_type": "v" if config.v_parameterization else "epsilon",
        "modelspec.implementation_version": f"lora_lab/{lora_lab.__version__}",
    }
    if config.clip_skip > 1:
        spec["modelspec.encoder_layer"] = str(config.clip_skip)
    if (config.min_timestep, config.max_timestep) != (0, 1000):
        spec["modelspec.timestep_range"] = f"{config.min_timestep},{config.max_timestep}"
    return spec
