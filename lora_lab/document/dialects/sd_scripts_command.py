"""A command line of sd-scripts: `accelerate launch … train_network.py --network_dim=16 …`."""

import difflib
from dataclasses import replace

from lora_lab.config import PARAMETERS
from lora_lab.document.command_text import is_variable
from lora_lab.document.dialects.draft import Draft, typed
from lora_lab.document.dialects.names import REASONS, SD_SCRIPTS, is_known, theirs
from lora_lab.document.dialects.sd_scripts import defaults_for, settle, take
from lora_lab.document.document import Document, ParseProblem
from lora_lab.document.tree import Tree

NAME = "sd-scripts-command"
TITLE = "an sd-scripts command line"

_MOST_GUESSES = 200
"""Of so many unknown flags it is looked up which was meant."""


def convert(tree: Tree) -> Document:
    """Return the document. Every value is a text and becomes a number where our key takes one, as argparse does."""
    tree = _spelt_out(tree)
    draft = Draft(tree)
    config_file = "config_file" in tree.keys
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
    if config_file:
        draft.partial = "some"
    if config_file:
        draft.notes.append("the rest stands in the file of --config_file, which is not read")
    defaults = {} if config_file else defaults_for(draft)
    title = f"{TITLE} ({tree.program}.py)" if tree.program else TITLE
    return draft.document(NAME, title, theirs("sd-scripts"), defaults)


def _spelt_out(tree: Tree) -> Tree:
    """Return the tree with flags in full, which argparse lets one abbreviate, and a problem for each misspelt one."""
    known = [*SD_SCRIPTS, *(name for names, _, _ in REASONS for name in names)]
    items, problems = [], list(tree.problems)
    strangers = 0
    for item in tree.items:
        if not is_known(item.key) and strangers < _MOST_GUESSES:
            strangers += 1
            longer = [name for name in known if name.startswith(item.key)]
            if len(longer) == 1:
                item = item._replace(place=(longer[0],))
            elif close := difflib.get_close_matches(item.key[:60], known, n=1, cutoff=0.85):
                message = f"--{item.key} is no flag of {tree.program}.py, which stops at it; did you mean --{close[0]}?"
                problems.append(ParseProblem(message, item.key_span))
        items.append(item)
    return replace(tree, items=tuple(items), problems=tuple(problems))


def is_switch(name: str) -> bool:
    """Say whether our key is a switch, so that the flag stands alone."""
    return PARAMETERS[name].kind is bool
