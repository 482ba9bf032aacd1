"""sd-scripts' `--config_file`: flat, or one level of sections whose names mean nothing."""

import difflib

from lora_lab.document.dialects.draft import Draft
from lora_lab.document.dialects.names import DIFFUSERS, EVERY_NAME, GUI_ONLY, is_known, theirs
from lora_lab.document.dialects.sd_scripts import defaults_for, settle, take
from lora_lab.document.document import Document
from lora_lab.document.tree import Item, Tree

NAME = "sd-scripts"
TITLE = "an sd-scripts --config_file"

_MOST_GUESSES = 200
"""After so many settings without a counterpart no more slips of the hand are looked for."""


def convert(tree: Tree) -> Document:
    """Return the document. Keys that no program of the family has stay as they are, for a slip of the hand to show.

    argparse's types do not apply to such a file: a number in quotes stays a text there, and is one here.
    """
    draft = Draft(tree)
    for item in tree.items:
        if len(item.place) > 2:
            draft.drop(item, "sd-scripts flattens one level of sections only; it does not see this")
        elif item.key in GUI_ONLY:
            draft.drop(item, "a name of kohya's GUI, which sd-scripts passes over in silence")
        elif is_known(item.key):
            take(draft, item)
        else:
            _unknown(draft, item)
    settle(draft)
    return draft.document(NAME, TITLE, theirs("sd-scripts"), defaults_for(draft))


def _unknown(draft: Draft, item: Item) -> None:
    """Keep a key that looks like a misspelt one; others may belong to a fork."""
    if item.key in DIFFUSERS:
        draft.drop(item, "a name of diffusers' scripts, which sd-scripts passes over in silence")
    elif len(draft.dropped) < _MOST_GUESSES and difflib.get_close_matches(item.key[:60], EVERY_NAME, n=1, cutoff=0.85):
        draft.put(item.key, item, item.value)
    else:
        draft.drop(item, "sd-scripts does not know it either, as far as lora_lab can tell")
