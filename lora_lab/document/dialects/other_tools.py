"""Files of which nothing is converted: they are recognised so that the answer names the program."""

from dataclasses import replace

from lora_lab.document.dialects.recognised import convert_known
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

TITLES = {
    "simpletuner-data": "a SimpleTuner multidatabackend.json",
    "civitai": "a Civitai trainer's parameters",
    "diffusion-pipe": "a LoRA Easy Training Scripts TOML for diffusion-pipe",
    "colab": "the form of a Colab notebook",
    "lora-scripts": "the variables of lora-scripts' train.ps1 or train.sh",
}


def convert(tree: Tree, name: str) -> Document:
    """Return a document with nothing in it but what was dropped."""
    return convert_known(replace(tree, problems=()), name, TITLES[name], {})
