"""The flat JSON of LoRA_Easy_Training_Scripts until May 2023: lora_lab's own keys, in every version of the tool.

The linter reads such a file as it stands, because its rules know the tool's old names; this is for turning one into
the keys of today. The tool's loader also took keys of kohya's GUI and renamed them, and where a file has both names of
one setting the GUI's won.
"""

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects.draft import Draft, typed
from lora_lab.document.dialects.names import KOHYA_GUI
from lora_lab.document.document import Document
from lora_lab.document.tree import Item, Tree

NAME = "easy"
TITLE = "a config in the keys of lora_lab and LoRA Easy Training Scripts"

_RENAMED = {"save_at_n_epochs": "save_every_n_epochs", "resume": "load_previous_save_state"}
_SWITCHES = {"use_lion": "Lion"}


def convert(tree: Tree) -> Document:
    """Return the document with the old names resolved and what nobody needs any more taken out."""
    draft = Draft(tree)
    for item in tree.items:
        _take(draft, item)
    height = next((item for item in tree.items if item.key == "height_resolution" and item.value), None)
    width = draft.value("train_resolution")
    if height is not None and isinstance(width, int) and isinstance(height.value, int):
        draft.change("train_resolution", f"{width},{height.value}" if width != height.value else width)
        draft.dropped = [one for one in draft.dropped if one.key != "height_resolution"]
    if draft.value("optimizer_type") and draft.value("use_8bit_adam"):
        draft.take_out("use_8bit_adam", "optimizer_type wins over it in the tool")
    return draft.document(NAME, TITLE, {})


def _take(draft: Draft, item: Item) -> None:
    """Put one key."""
    name = item.key if item.key in PARAMETERS else _RENAMED.get(item.key) or KOHYA_GUI.get(item.key)
    if item.key in _SWITCHES and item.value is True:
        draft.put("optimizer_type", item, _SWITCHES[item.key])
    elif item.key in _SWITCHES or item.key == "list_of_json_to_run" or item.key.startswith(("$", "//", "#")):
        draft.drop(item, "nothing that a run depends on", asks=False)
    elif name is None:
        draft.drop(item)
    elif name != item.key and item.value is None and name in draft.entries:
        return
    else:
        value = typed(name, item.value)
        unset = value == "" or (value == 0 and not isinstance(value, bool) and name.startswith("save_every"))
        if item.key == "lr_warmup" and isinstance(value, int | float):
            value = value / 100
        draft.put(name, item, None if unset else value)
