"""ai-toolkit's YAML: recognised; the plain numbers of it can be converted."""

from lora_lab.document.dialects.recognised import convert_known
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "ai-toolkit"
TITLE = "an ai-toolkit config"

_PROCESS = "config.process."
_KNOWN = {
    _PROCESS + "network.linear": "net_dim",
    _PROCESS + "network.linear_alpha": "alpha",
    _PROCESS + "train.batch_size": "batch_size",
    _PROCESS + "train.steps": "max_steps",
    _PROCESS + "train.gradient_accumulation_steps": "gradient_acc_steps",
    _PROCESS + "train.gradient_checkpointing": "gradient_checkpointing",
    _PROCESS + "train.lr": "learning_rate",
    _PROCESS + "train.optimizer": "optimizer_type",
    _PROCESS + "train.dtype": "mixed_precision",
    _PROCESS + "save.dtype": "save_precision",
    _PROCESS + "datasets.caption_dropout_rate": "caption_dropout_rate",
    _PROCESS + "datasets.shuffle_tokens": "shuffle_captions",
    _PROCESS + "datasets.cache_latents_to_disk": "cache_latents_to_disk",
    _PROCESS + "model.name_or_path": "base_model",
    _PROCESS + "training_folder": "output_folder",
    "config.name": "change_output_name",
}
_PRECISIONS = {"float16": "fp16", "bfloat16": "bf16", "fp16": "fp16", "bf16": "bf16"}


def convert(tree: Tree) -> Document:
    """Return the document."""
    return convert_known(
        tree,
        NAME,
        TITLE,
        _KNOWN,
        {
            _PROCESS + "train.dtype": lambda value: _PRECISIONS.get(str(value), ""),
            _PROCESS + "save.dtype": lambda value: _PRECISIONS.get(str(value), ""),
        },
    )
