"""A command line of diffusers' example scripts: recognised; the plain numbers of it can be converted."""

from lora_lab.document.dialects.draft import typed
from lora_lab.document.dialects.recognised import convert_known, whole_number
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "diffusers-command"
TITLE = "a command line of diffusers' example scripts"

_KNOWN = {
    "pretrained_model_name_or_path": "base_model",
    "output_dir": "output_folder",
    "rank": "net_dim",
    "learning_rate": "learning_rate",
    "text_encoder_lr": "text_encoder_lr",
    "lr_scheduler": "scheduler",
    "lr_warmup_steps": "lr_warmup_steps",
    "lr_num_cycles": "cosine_restarts",
    "train_batch_size": "batch_size",
    "max_train_steps": "max_steps",
    "num_train_epochs": "num_epochs",
    "seed": "test_seed",
    "mixed_precision": "mixed_precision",
    "gradient_checkpointing": "gradient_checkpointing",
    "gradient_accumulation_steps": "gradient_acc_steps",
    "resolution": "train_resolution",
    "max_grad_norm": "max_grad_norm",
    "snr_gamma": "min_snr_gamma",
    "random_flip": "flip_aug",
    "use_8bit_adam": "use_8bit_adam",
    "optimizer": "optimizer_type",
    "dataloader_num_workers": "num_workers",
    "noise_offset": "noise_offset",
    "logging_dir": "log_dir",
}


def _first(value: object) -> object:
    """Return the one number of a flag that takes several."""
    return typed("text_encoder_lr", value[0] if isinstance(value, list) and value else value)


def convert(tree: Tree) -> Document:
    """Return the document."""
    return convert_known(tree, NAME, TITLE, _KNOWN, {"resolution": whole_number, "text_encoder_lr": _first})
