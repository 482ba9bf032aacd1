"""A trainer's settings and `[[datasets]]` in one TOML file. It is a natural wish, but sd-scripts reads no such file."""

from lora_lab.document.dialects.dataset_toml import subsets
from lora_lab.document.dialects.draft import Draft
from lora_lab.document.dialects.names import is_known, theirs
from lora_lab.document.dialects.sd_scripts import defaults_for, settle, take
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "mixed"
TITLE = "sd-scripts settings and a data set in one TOML file"


def convert(tree: Tree) -> Document:
    """Return the document: what the sections mean where they would be read."""
    draft = Draft(tree)
    inside = [item for item in tree.items if "subsets" in item.place]
    for item in tree.items:
        if item in inside:
            continue
        if len(item.place) > 2 and item.place[0] != "datasets":
            draft.drop(item)
        elif is_known(item.key):
            take(draft, item)
        else:
            draft.drop(item, "sd-scripts does not know it either, as far as lora_lab can tell")
    subsets(draft, inside, depth=4)
    settle(draft)
    draft.notes.append("sd-scripts wants the data set in a file of its own, for --dataset_config")
    return draft.document(NAME, TITLE, theirs("sd-scripts"), defaults_for(draft))
