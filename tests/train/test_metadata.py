"""What a LoRA file says of its training, in the spelling that other programs read."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import pytest
import torch

from lora_lab.config import StepPlan, TrainConfig
from lora_lab.train.families.base import Base
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.metadata import DatasetFacts, Progressed, describe, output_name

RUN = (
    "session_id training_started_at training_finished_at output_name epoch num_epochs steps max_train_steps seed "
    "training_comment sd_scripts_commit_hash"
)
MODEL = (
    "sd_model_name sd_model_hash new_sd_model_hash vae_name vae_hash new_vae_hash v2 base_model_version clip_skip "
    "max_token_length"
)
NETWORK = "network_module network_dim network_alpha network_dropout network_args scale_weight_norms"
OPTIMISATION = (
    "learning_rate unet_lr text_encoder_lr optimizer lr_scheduler lr_warmup_steps max_grad_norm "
    "gradient_accumulation_steps gradient_checkpointing mixed_precision full_fp16 lowram cache_latents"
)
LOSS = (
    "noise_offset noise_offset_random_strength adaptive_noise_scale multires_noise_iterations multires_noise_discount "
    "ip_noise_gamma ip_noise_gamma_random_strength zero_terminal_snr min_snr_gamma debiased_estimation loss_type "
    "huber_schedule huber_c huber_scale prior_loss_weight"
)
DATASET = (
    "batch_size_per_device total_batch_size resolution color_aug flip_aug random_crop shuffle_caption keep_tokens "
    "enable_bucket bucket_no_upscale min_bucket_reso max_bucket_reso caption_dropout_rate "
    "caption_dropout_every_n_epochs caption_tag_dropout_rate num_train_images num_reg_images num_batches_per_epoch "
    "validation_split validation_seed dataset_dirs reg_dataset_dirs tag_frequency bucket_info"
)
FACTS = DatasetFacts(
    train_images=70,
    reg_images=0,
    batches_per_epoch=35,
    dirs={"10_foo": {"n_repeats": 10, "img_count": 7}},
    reg_dirs={},
    tag_frequency={"10_foo": {"a tag": 3}},
    buckets={(64, 96): 70},
    mean_ar_error=0.25,
)
BASE = Base(
    name="tiny",
    path=Path("tiny"),
    unet=torch.nn.Module(),
    text_encoders=(torch.nn.Module(),),
    vae=torch.nn.Module(),
    tokenizers=(None,),
    alphas_cumprod=torch.zeros(1),
    own_alphas_cumprod=torch.zeros(1),
    scaling_factor=0.18215,
    text_layers=12,
    prediction_type="epsilon",
    hash="0123456789abcdef",
    vae_hash="fedcba9876543210",
    old_hash="01234567",
    old_vae_hash="fedcba98",
)

Describe = Callable[..., Mapping[str, str]]


@pytest.fixture
def described(make_config: Callable[..., TrainConfig]) -> Describe:
    """Return a function that describes a run of the quick config with some values changed."""

    def describe_(**values: object) -> Mapping[str, str]:
        plan = StepPlan(steps_per_epoch=35, total_steps=350, warmup_steps=17, epochs=10)
        progressed = Progressed(epoch=2, step=70, started_at=1_700_000_000.5, finished_at=1_700_000_100.25)
        return describe(make_config(**values), SD1(), BASE, FACTS, plan, progressed)

    return describe_


def test_every_key_is_there(described: Describe) -> None:
    """The keys are sd-scripts', group by group as the reference lists them, and every value is text."""
    about = described()
    wanted = {f"ss_{key}" for group in (RUN, MODEL, NETWORK, OPTIMISATION, LOSS, DATASET) for key in group.split()}
    assert len(wanted) == 79
    assert {key for key in about if key.startswith("ss_")} == wanted
    assert all(type(value) is str for value in about.values())


def test_noise_and_loss(described: Describe) -> None:
    """Huber's settings are told with its losses only, and a part of the timesteps in modelspec's words."""
    plain, huber = described(), described(loss_type="huber", huber_c=0.2, min_timestep=10)
    assert (plain["ss_huber_c"], huber["ss_huber_c"], huber["ss_huber_schedule"]) == ("None", "0.2", "snr")
    assert "modelspec.timestep_range" not in plain
    assert huber["modelspec.timestep_range"] == "10,1000"


def test_spelling_of_values(described: Describe) -> None:
    """None, booleans, tuples, numbers and nested values are spelled as Python's str() and json.dumps() do."""
    about = described(train_resolution="512,768", flip_aug=True, keep_tokens=1, warmup_lr_ratio=0.05)
    expected = {
        "ss_vae_name": "None",
        "ss_training_comment": "None",
        "ss_flip_aug": "True",
        "ss_v2": "False",
        "ss_resolution": "(512, 768)",
        "ss_learning_rate": "0.001",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_network_module": "networks.lora",
        "ss_network_args": "{}",
        "ss_keep_tokens": "1",
        "ss_epoch": "2",
        "ss_steps": "70",
        "ss_num_epochs": "10",
        "ss_max_train_steps": "350",
        "ss_lr_warmup_steps": "17",
        "ss_output_name": "last",
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_hash": "01234567",
        "ss_new_sd_model_hash": "0123456789abcdef",
        "ss_dataset_dirs": '{"10_foo": {"n_repeats": 10, "img_count": 7}}',
        "ss_tag_frequency": '{"10_foo": {"a tag": 3}}',
        "ss_training_started_at": "1700000000.5",
    }
    assert {key: about[key] for key in expected} == expected
    assert json.loads(about["ss_bucket_info"]) == {
        "buckets": {"0": {"resolution": [64, 96], "count": 70}},
        "mean_img_ar_error": 0.25,
    }


def test_learning_rates_and_optimizer(described: Describe) -> None:
    """Parts without a learning rate of their own show the common one; the optimizer shows class and arguments."""
    about = described(text_encoder_lr=5e-5, optimizer_args=["weight_decay=0.05"], gradient_acc_steps=3)
    assert about["ss_text_encoder_lr"] == "5e-05"
    assert about["ss_unet_lr"] == "0.001"
    assert about["ss_optimizer"] == "torch.optim.AdamW(weight_decay=0.05)"
    assert about["ss_total_batch_size"] == "6"
    assert described(use_8bit_adam=True)["ss_optimizer"] == "bitsandbytes.optim.AdamW8bit"
    assert described(optimizer_type="torch.optim.RMSprop")["ss_optimizer"] == "torch.optim.RMSprop"


def test_alpha_of_zero_is_the_rank(described: Describe) -> None:
    """The alpha that is written is the one that acts."""
    assert described(alpha=0.0)["ss_network_alpha"] == "4.0"


def test_vae(described: Describe) -> None:
    """A replaced VAE is named with its hashes."""
    about = described(vae="/models/other")
    names = ("ss_vae_name", "ss_vae_hash", "ss_new_vae_hash")
    assert [about[name] for name in names] == ["other", "fedcba98", "fedcba9876543210"]


def test_no_meta_leaves_the_minimum(described: Describe) -> None:
    """`no_meta` leaves the six keys that programs need to load the file, and modelspec."""
    about = described(no_meta=True)
    minimum = "v2 base_model_version network_module network_dim network_alpha network_args"
    assert {key for key in about if not key.startswith("modelspec.")} == {f"ss_{key}" for key in minimum.split()}
    assert about["modelspec.architecture"] == "stable-diffusion-v1/lora"


def test_modelspec(described: Describe) -> None:
    """The modelspec keys have the values that the standard gives for an SD 1.x LoRA."""
    about = described(change_output_name="lumi", clip_skip=2, train_resolution="512,768", v_parameterization=True)
    spec = {key.removeprefix("modelspec."): value for key, value in about.items() if key.startswith("modelspec.")}
    assert datetime.fromisoformat(spec.pop("date")).timestamp() == 1_700_000_100
    assert spec.pop("implementation_version").startswith("lora_lab/")
    assert spec == {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-v1/lora",
        "implementation": "diffusers",
        "title": "lumi",
        "resolution": "512x768",
        "prediction_type": "v",
        "encoder_layer": "2",
    }
    assert about["ss_base_model_version"] == "sd_v1_v"
    plain = described()
    assert plain["modelspec.title"] == "LoRA@1700000000.5"
    assert plain["modelspec.prediction_type"] == "epsilon"
    assert "modelspec.encoder_layer" not in plain


def test_output_name(make_config: Callable[..., TrainConfig]) -> None:
    """The files are called `last` unless the config names them."""
    assert output_name(make_config()) == "last"
    assert output_name(make_config(change_output_name="lumi")) == "lumi"
