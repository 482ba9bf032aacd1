"""OneTrainer's JSON: recognised; the plain numbers of it can be converted."""

from lora_lab.document.dialects.draft import typed
from lora_lab.document.dialects.recognised import convert_known, whole_number
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "onetrainer"
TITLE = "an OneTrainer config"

_KNOWN = {
    "base_model_name": "base_model",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "lora_rank": "net_dim",
    "lora_alpha": "alpha",
    "resolution": "train_resolution",
    "epochs": "num_epochs",
    "gradient_accumulation_steps": "gradient_acc_steps",
    "optimizer.optimizer": "optimizer_type",
    "learning_rate_warmup_steps": "lr_warmup_steps",
    "clip_grad_norm": "max_grad_norm",
    "learning_rate_scheduler": "scheduler",
    "output_dtype": "save_precision",
    "train_dtype": "mixed_precision",
    "aspect_ratio_bucketing": "buckets",
    "latent_caching": "cache_latents",
}
_SAVED = {"FLOAT_32": "float", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}
_TRAINED = {**_SAVED, "FLOAT_32": "no"}


def convert(tree: Tree) -> Document:
    """Return the document."""
    return convert_known(
        tree,
        NAME,
        TITLE,
        _KNOWN,
        {
            "learning_rate_scheduler": lambda value: str(value).lower(),
            "output_dtype": lambda value: _SAVED.get(str(value), ""),
            "train_dtype": lambda value: _TRAINED.get(str(value), ""),
            "resolution": whole_number,
            "learning_rate_warmup_steps": lambda value: typed("lr_warmup_steps", value),
        },
    )
