"""The settings that a LoRA file carries in its header: `ss_*` as sd-scripts and lora_lab write them."""

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from lora_lab.document.tensor_table import TensorTable


class Rebuilt(NamedTuple):
    """A config as far as it is known; `guessed` says of keys where their value is from, `lost` what has no place."""

    values: dict[str, object]
    guessed: dict[str, str]
    lost: dict[str, str]


def _literal(text: str) -> object:
    """Return what `str(value)` was made of; a text that is no literal stays one."""
    try:
        return ast.literal_eval(text) if len(text) < 2000 else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _whole(text: str) -> object:
    value = _literal(text)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _resolution(text: str) -> object:
    sides = [int(side) for side in re.findall(r"[0-9]{2,5}", text)[:2]]
    if not sides:
        return None
    return sides[0] if len(set(sides)) == 1 else f"{sides[0]},{sides[1]}"


def _or_none(text: str) -> object:
    return None if text in ("None", "") else text


_READ: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "ss_output_name": ("change_output_name", _or_none),
    "ss_network_dim": ("net_dim", _whole),
    "ss_network_alpha": ("alpha", _literal),
    "ss_network_dropout": ("network_dropout", _literal),
    "ss_scale_weight_norms": ("scale_weight_norms", _literal),
    "ss_lr_scheduler": ("scheduler", _or_none),
    "ss_lr_warmup_steps": ("lr_warmup_steps", _whole),
    "ss_learning_rate": ("learning_rate", _literal),
    "ss_unet_lr": ("unet_lr", _literal),
    "ss_text_encoder_lr": ("text_encoder_lr", _literal),
    "ss_max_grad_norm": ("max_grad_norm", _literal),
    "ss_batch_size_per_device": ("batch_size", _whole),
    "ss_gradient_accumulation_steps": ("gradient_acc_steps", _whole),
    "ss_gradient_checkpointing": ("gradient_checkpointing", _literal),
    "ss_max_train_steps": ("max_steps", _whole),
    "ss_mixed_precision": ("mixed_precision", _or_none),
    "ss_cache_latents": ("cache_latents", _literal),
    "ss_seed": ("test_seed", _whole),
    "ss_clip_skip": ("clip_skip", _whole),
    "ss_max_token_length": ("max_clip_token_length", _whole),
    "ss_noise_offset": ("noise_offset", _literal),
    "ss_min_snr_gamma": ("min_snr_gamma", _literal),
    "ss_noise_offset_random_strength": ("noise_offset_random_strength", _literal),
    "ss_adaptive_noise_scale": ("adaptive_noise_scale", _literal),
    "ss_multires_noise_iterations": ("multires_noise_iterations", _whole),
    "ss_multires_noise_discount": ("multires_noise_discount", _literal),
    "ss_ip_noise_gamma": ("ip_noise_gamma", _literal),
    "ss_ip_noise_gamma_random_strength": ("ip_noise_gamma_random_strength", _literal),
    "ss_debiased_estimation": ("debiased_estimation_loss", _literal),
    "ss_loss_type": ("loss_type", _or_none),
    "ss_huber_schedule": ("huber_schedule", _or_none),
    "ss_huber_c": ("huber_c", _literal),
    "ss_huber_scale": ("huber_scale", _literal),
    "ss_zero_terminal_snr": ("zero_terminal_snr", _literal),
    "ss_prior_loss_weight": ("prior_loss_weight", _literal),
    "ss_v2": ("v2", _literal),
    "ss_resolution": ("train_resolution", _resolution),
    "ss_enable_bucket": ("buckets", _literal),
    "ss_min_bucket_reso": ("min_bucket_resolution", _whole),
    "ss_max_bucket_reso": ("max_bucket_resolution", _whole),
    "ss_bucket_no_upscale": ("bucket_no_upscale", _literal),
    "ss_color_aug": ("color_aug", _literal),
    "ss_flip_aug": ("flip_aug", _literal),
    "ss_random_crop": ("random_crop", _literal),
    "ss_shuffle_caption": ("shuffle_captions", _literal),
    "ss_keep_tokens": ("keep_tokens", _whole),
    "ss_caption_dropout_rate": ("caption_dropout_rate", _literal),
    "ss_caption_dropout_every_n_epochs": ("caption_dropout_every_n_epochs", _whole),
    "ss_caption_tag_dropout_rate": ("caption_tag_dropout_rate", _literal),
    "ss_training_comment": ("training_comment", _or_none),
    "ss_validation_split": ("validation_split", _literal),
    "ss_validation_seed": ("validation_seed", _whole),
    "lora_lab.ema_decay": ("ema_decay", _literal),
}
"""sd-scripts train_network.py `metadata`: key → ours, and how its text reads."""

_OFF_AT_ZERO = ("noise_offset", "min_snr_gamma", "scale_weight_norms", "caption_dropout_every_n_epochs")
_SAVED = {"F32": "float", "F16": "fp16", "BF16": "bf16"}
_OTHERS = "ss_full_fp16 ss_fp8_base ss_face_crop_aug_range ss_network_args ss_vae_name lora_lab.base_weights"
_UNSET = ("None", "False", "0", "0.0", "{}", "")
NEVER_RECORDED: Final = (
    "caption_extension, cosine_restarts, scheduler_power, bucket_reso_steps and when to save or sample"
)


def rebuild(header: TensorTable) -> Rebuilt:
    """Return the config that a LoRA was trained with, as far as its header says."""
    meta = dict(_of_datasets(header.metadata)) | dict(header.metadata)
    values: dict[str, object] = {}
    guessed: dict[str, str] = {}
    for key, (name, read) in _READ.items():
        if key in meta:
            value = read(meta[key])
            values[name] = None if name in _OFF_AT_ZERO and value == 0 else value
    _optimizer(meta, values)
    _parts(header, values)
    if not values.get("test_seed") and "ss_seed" not in meta:
        guessed["test_seed"] = "not recorded"
    version = meta.get("ss_base_model_version", "")
    values["v_parameterization"] = version.endswith("_v") or meta.get("modelspec.prediction_type") == "v" or None
    formats = sorted({tensor.dtype for tensor in header.tensors.values()} & set(_SAVED))
    if len(formats) == 1:
        values["save_precision"] = _SAVED[formats[0]]
    _paths(meta, values, guessed)
    lost = {
        key: meta[key][:80] for key in _OTHERS if meta.get(key, "None") not in ("None", "False", "0", "0.0", "{}", "")
    }
    module = meta.get("ss_network_module", "networks.lora")
    if module != "networks.lora":
        lost["ss_network_module"] = module[:80]
    return Rebuilt({key: value for key, value in values.items() if value is not None}, guessed, lost)


def _paths(meta: Mapping[str, str], values: dict[str, object], guessed: dict[str, str]) -> None:
    """Put stand-ins for the paths, which a LoRA does not carry."""
    name = meta.get("ss_sd_model_name", "None")
    values["base_model"] = name if name not in ("None", "") else "base_model.safetensors"
    digest = meta.get("ss_new_sd_model_hash", "None")
    guessed["base_model"] = "only the name is recorded" if name not in ("None", "") else "not recorded"
    if digest not in ("None", ""):
        guessed["base_model"] += f" (SHA-256 {digest[:12]}…)"
    values["img_folder"], values["output_folder"] = "pictures", "output"
    guessed["output_folder"] = "not recorded"
    folders = _json(meta.get("ss_dataset_dirs", ""))
    inside = [str(folder) for folder in folders][:5] if isinstance(folders, dict) else []
    guessed["img_folder"] = f"only what was in it is recorded: {', '.join(inside)}" if inside else "not recorded"
    regular = _json(meta.get("ss_reg_dataset_dirs", ""))
    if isinstance(regular, dict) and regular:
        guessed["reg_img_folder"] = f"left out, though there was one with {', '.join(list(map(str, regular))[:5])}"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_datasets(meta: Mapping[str, str]) -> dict[str, str]:
    """Return the data set's settings where they stand in `ss_datasets`, as with a `--dataset_config`."""
    datasets = _json(meta.get("ss_datasets", ""))
    first = datasets[0] if isinstance(datasets, list) and datasets and isinstance(datasets[0], dict) else {}
    subsets = first.get("subsets")
    subset = subsets[0] if isinstance(subsets, list) and subsets and isinstance(subsets[0], dict) else {}
    flat = {**subset, **{key: value for key, value in first.items() if key != "subsets"}}
    return {f"ss_{key}": str(value) for key, value in flat.items() if not isinstance(value, dict)}


def _optimizer(meta: Mapping[str, str], values: dict[str, object]) -> None:
    """Read `module.Class(key=value,…)`; module names of the usual ones are left out."""
    match = re.fullmatch(r"([\w.]+)(?:\((.*)\))?", meta.get("ss_optimizer", ""), re.DOTALL)
    if match is None:
        return
    module, _, name = match[1].rpartition(".")
    usual = module.split(".")[0] in (
        "torch",
        "bitsandbytes",
        "prodigyopt",
        "dadaptation",
        "lion_pytorch",
        "transformers",
    )
    values["optimizer_type"] = _SPELT.get(name, name) if usual or not module else match[1]
    pairs = re.split(r",(?=\s*[A-Za-z_]\w*=)", match[2]) if match[2] else []
    if pairs:
        values["optimizer_args"] = [pair.strip() for pair in pairs if "=" in pair]


_PACKAGES = ("torch", "bitsandbytes", "prodigyopt", "dadaptation", "lion_pytorch", "transformers", "schedulefree")
_SPELT = {
    "Adafactor": "AdaFactor",
    "SGD": "SGDNesterov",
    "SGD8bit": "SGDNesterov8bit",
    "DAdaptAdamPreprint": "DAdaptation",
}


def _parts(header: TensorTable, values: dict[str, object]) -> None:
    """See in the tensors' names which parts were trained."""
    unet = any(name.startswith("lora_unet") for name in header.tensors)
    text = any(name.startswith("lora_te") for name in header.tensors)
    if unet and not text:
        values["unet_only"] = True
        values.pop("text_encoder_lr", None)
    elif text and not unet:
        values["text_only"] = True
        values.pop("unet_lr", None)
    for name in ("unet_lr", "text_encoder_lr"):
        rate = values.get(name)
        if isinstance(rate, list | tuple):
            rate = rate[0] if rate else None
        values[name] = None if rate == values.get("learning_rate") else rate
    if values.get("change_output_name") == "last":
        del values["change_output_name"]  # what an unnamed run writes
