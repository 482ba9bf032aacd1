"""A command line of sd-scripts: `accelerate launch … train_network.py --network_dim=16 …`."""

from lora_lab.config import PARAMETERS
from lora_lab.document.command_text import is_variable
from lora_lab.document.dialects.draft import Draft, typed
from lora_lab.document.dialects.names import SD_SCRIPTS, is_known, theirs
from lora_lab.document.dialects.sd_scripts import defaults_for, settle, take
from lora_lab.document.document import Document
from lora_lab.document.tree import Tree

NAME = "sd-scripts-command"
TITLE = "an sd-scripts command line"


def convert(tree: Tree) -> Document:
    """Return the document. Every value is a text and becomes a number where our key takes one, as argparse does."""
    draft = Draft(tree)
    config_file = any(item.key == "config_file" for item in tree.items)
    for item in tree.items:
        name = SD_SCRIPTS.get(item.key)
        if item.value is True and name is not None and not is_switch(name):
            draft.drop(item, "the flag has no value here")
        elif name is not None or is_known(item.key):
            value = typed(name, item.value) if name and not is_variable(item.value) else item.value
            take(draft, item._replace(value=value))
        else:
            draft.drop(item)
    settle(draft, script=tree.program)
    draft.partial = config_file or any(item.key == "dataset_config" for item in tree.items)
    if config_file:
        draft.notes.append("the rest stands in the file of --config_file, which is not read")
    defaults = {} if config_file else defaults_for(draft)
    title = f"{TITLE} ({tree.program}.py)" if tree.program else TITLE
    return draft.document(NAME, title, theirs("sd-scripts"), defaults)


def is_switch(name: str) -> bool:
    """Say whether our key is a switch, so that the flag stands alone."""
    return PARAMETERS[name].kind is bool
