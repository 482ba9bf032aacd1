"""lora_lab's own keys in TOML or YAML (and, without any change, in JSON)."""

from lora_lab.document.dialects.draft import Draft
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "own"
TITLE = "a lora_lab config"


def convert(tree: Tree) -> Document:
    """Return the document; what stands in a section counts as if it stood at the top."""
    draft = Draft(tree)
    for item in tree.items:
        draft.put(item.key, item, item.value)
    return draft.document(NAME, f"{TITLE} in {tree.form.upper()}", {})
