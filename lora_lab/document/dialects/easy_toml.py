"""The TOML of LoRA Easy Training Scripts' window: `[[subsets]]` and groups like `[general_args.args]`."""

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects.dataset_toml import subsets
from lora_lab.document.dialects.draft import Draft, typed
from lora_lab.document.dialects.names import SD_SCRIPTS, theirs
from lora_lab.document.dialects.sd_scripts import defaults_for, settle, take
from lora_lab.document.document import Document, Entry
from lora_lab.document.tree import Item, Tree

NAME = "easy-toml"
TITLE = "a LoRA Easy Training Scripts TOML"

_NAMES = {**SD_SCRIPTS, "warmup_ratio": "warmup_lr_ratio"}


def convert(tree: Tree) -> Document:
    """Return the document; the groups `args` and `dataset_args` hold sd-scripts' own names."""
    draft = Draft(tree)
    optimizer_args: list[Item] = []
    for item in tree.items:
        if item.place[0] == "subsets":
            continue
        if "optimizer_args" in item.place[1:-1]:
            optimizer_args.append(item)
        elif len(item.place) > 3 or "lr_scheduler_args" in item.place[1:-1]:
            draft.drop(item)
        elif item.key in ("warmup_ratio", *_NAMES) or item.key not in PARAMETERS:
            name = _NAMES.get(item.key)
            take(draft, item._replace(value=typed(name, item.value)) if name else item, _NAMES)
        else:
            draft.drop(item)
    if optimizer_args:
        first, last = optimizer_args[0], optimizer_args[-1]
        value = {item.key: item.value for item in optimizer_args}
        span = first.key_span._replace(end=last.value_span.end)
        draft.entries["optimizer_args"] = Entry("optimizer_args", value, first.key_span, span)
        draft.spellings["optimizer_args"] = "optimizer_args"
    subsets(draft, [item for item in tree.items if item.place[0] == "subsets"], depth=2)
    settle(draft)
    return draft.document(NAME, TITLE, {**theirs("sd-scripts"), **theirs("easy_ui")}, defaults_for(draft))
