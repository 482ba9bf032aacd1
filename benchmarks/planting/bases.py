"""Clean configs: what sensible people train with, by sd-scripts' names."""

from typing import Final

from planting.writing import Settings

_COMMON: Final[Settings] = {
    "pretrained_model_name_or_path": "models/base",
    "train_data_dir": "pictures",
    "output_dir": "out",
    "output_name": "cat",
    "network_module": "networks.lora",
    "resolution": "512,512",
    "enable_bucket": True,
    "min_bucket_reso": 256,
    "max_bucket_reso": 1024,
    "cache_latents": True,
    "caption_extension": ".txt",
    "mixed_precision": "fp16",
    "save_precision": "fp16",
    "save_model_as": "safetensors",
    "seed": 42,
    "max_train_epochs": 10,
    "train_batch_size": 2,
}

BASES: Final[dict[str, Settings]] = {
    "character": {
        **_COMMON,
        "network_dim": 32,
        "network_alpha": 16,
        "learning_rate": 1e-4,
        "lr_scheduler": "cosine",
        "optimizer_type": "AdamW8bit",
        "shuffle_caption": True,
        "keep_tokens": 1,
        "clip_skip": 2,
    },
    "style": {
        **_COMMON,
        "network_dim": 64,
        "network_alpha": 32,
        "unet_lr": 1e-4,
        "text_encoder_lr": 5e-5,
        "lr_scheduler": "cosine_with_restarts",
        "lr_scheduler_num_cycles": 3,
        "optimizer_type": "AdamW",
        "max_train_epochs": 12,
        "min_snr_gamma": 5.0,
        "save_every_n_epochs": 2,
    },
    "prodigy": {
        **_COMMON,
        "network_dim": 16,
        "network_alpha": 16,
        "learning_rate": 1.0,
        "lr_scheduler": "cosine",
        "optimizer_type": "Prodigy",
        "optimizer_args": ["decouple=True", "weight_decay=0.01"],
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
    },
    "adafactor": {
        **_COMMON,
        "network_dim": 16,
        "network_alpha": 8,
        "learning_rate": 2e-4,
        "lr_scheduler": "constant_with_warmup",
        "lr_warmup_steps": 50,
        "max_grad_norm": 0.0,
        "optimizer_type": "AdaFactor",
        "optimizer_args": ["scale_parameter=False", "relative_step=False", "warmup_init=False"],
    },
    "lion": {
        **_COMMON,
        "network_dim": 32,
        "network_alpha": 16,
        "learning_rate": 3e-5,
        "lr_scheduler": "cosine",
        "optimizer_type": "Lion",
        "noise_offset": 0.05,
    },
    "unet": {
        **_COMMON,
        "network_dim": 32,
        "network_alpha": 16,
        "unet_lr": 2e-4,
        "network_train_unet_only": True,
        "lr_scheduler": "constant",
        "optimizer_type": "AdamW8bit",
        "flip_aug": False,
    },
}

SDXL: Final[dict[str, Settings]] = {
    "sdxl": {
        **_COMMON,
        "sdxl": True,
        "resolution": "1024,1024",
        "max_bucket_reso": 2048,
        "mixed_precision": "bf16",
        "network_dim": 32,
        "network_alpha": 16,
        "unet_lr": 1e-4,
        "network_train_unet_only": True,
        "lr_scheduler": "cosine",
        "optimizer_type": "AdamW8bit",
        "no_half_vae": True,
        "gradient_checkpointing": True,
        "cache_text_encoder_outputs": True,
    },
    "sdxl-text": {
        **_COMMON,
        "sdxl": True,
        "resolution": "1024,1024",
        "max_bucket_reso": 2048,
        "mixed_precision": "fp16",
        "network_dim": 16,
        "network_alpha": 8,
        "unet_lr": 1e-4,
        "text_encoder_lr": 5e-5,
        "no_half_vae": True,
        "lr_scheduler": "cosine",
        "optimizer_type": "AdamW",
        "shuffle_caption": True,
        "keep_tokens": 1,
    },
}

DATA_SETS: Final[dict[str, str]] = {
    "one-folder": """[general]
enable_bucket = true
caption_extension = ".txt"

[[datasets]]
resolution = 512
batch_size = 2

  [[datasets.subsets]]
  image_dir = "pictures/cat"
  num_repeats = 10
""",
    "two-folders": """[general]
shuffle_caption = true
keep_tokens = 1
caption_extension = ".txt"

[[datasets]]
resolution = [768, 512]
batch_size = 4
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "pictures/cat"
  class_tokens = "sks cat"
  num_repeats = 5

  [[datasets.subsets]]
  image_dir = "reg/cat"
  is_reg = true
  num_repeats = 1
""",
    "sdxl": """[[datasets]]
resolution = 1024
batch_size = 1
enable_bucket = true
max_bucket_reso = 2048

  [[datasets.subsets]]
  image_dir = "pictures/style"
  caption_extension = ".txt"
  num_repeats = 4
  caption_dropout_rate = 0.05
""",
    "validated": """[general]
caption_extension = ".txt"
flip_aug = false

[[datasets]]
resolution = 512
batch_size = 1
enable_bucket = true
validation_split = 0.1
validation_seed = 7

  [[datasets.subsets]]
  image_dir = "pictures/cat"
  num_repeats = 8
""",
}
