"""SimpleTuner's `config.json`: recognised; the plain numbers of it can be converted."""

from lora_lab.document.dialects.recognised import convert_known
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "simpletuner"
TITLE = "a SimpleTuner config"

_KNOWN = {
    "pretrained_model_name_or_path": "base_model",
    "output_dir": "output_folder",
    "lora_rank": "net_dim",
    "lora_alpha": "alpha",
    "learning_rate": "learning_rate",
    "lr_scheduler": "scheduler",
    "lr_warmup_steps": "lr_warmup_steps",
    "train_batch_size": "batch_size",
    "max_train_steps": "max_steps",
    "seed": "test_seed",
    "mixed_precision": "mixed_precision",
    "gradient_checkpointing": "gradient_checkpointing",
    "gradient_accumulation_steps": "gradient_acc_steps",
    "caption_dropout_probability": "caption_dropout_rate",
    "max_grad_norm": "max_grad_norm",
}


def convert(tree: Tree) -> Document:
    """Return the document."""
    return convert_known(tree, NAME, TITLE, _KNOWN)
