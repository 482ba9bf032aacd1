"""`load_json_path`: a config that starts from another one."""

from collections.abc import Collection
from dataclasses import replace

from lora_lab.document.document import Document, Entry

NEVER_TAKEN = frozenset(
    {"load_json_path", "json_load_skip_list", "multi_run_folder", "save_json_folder", "save_json_only"}
)
"""Keys that speak about files of configs and not about training: each config has its own."""


def overlay(document: Document, loaded: Document, skip: Collection[str] = ()) -> Document:
    """Return `document` with the keys of `loaded` that it does not set itself.

    A key that `document` sets wins; one that it leaves null counts as not set (the tools that save such files write
    every key, null for unset). Names in `skip` are not taken. Taken entries point at the value of `load_json_path`,
    since that is where the file says that they come in.
    """
    door = document.entries.get("load_json_path")
    entries = dict(document.entries)
    for key, entry in loaded.entries.items():
        own = entries.get(key)
        if key in NEVER_TAKEN or key in skip or (own is not None and own.value is not None):
            continue
        place = (door.key_span, door.value_span) if door else (entry.key_span, entry.value_span)
        entries[key] = Entry(key, entry.value, *place)
    return replace(document, entries=entries)
