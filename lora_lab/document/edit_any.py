"""Changes of a config's text, whatever format and keys it is in.

What a change of one of our keys means in another program's file is not computed but tried: the text is changed where
the setting stands, read again by the caller, and what comes out must be what was wanted.
"""

import re
from typing import Literal

from lora_lab.document import edit, edit_command, edit_lines
from lora_lab.document.compose import toml_value, yaml_value
from lora_lab.document.document import Document, Entry, Origin
from lora_lab.document.json_text import parse_json

Action = Literal["set", "remove", "rename", "deduplicate", "respell"]

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def edited(document: Document, action: Action, key: str, value: object = None) -> str:
    """Return the text after one change of our `key`; the text as it was where the change can't be placed.

    For "set", `value` is the new value; for "rename" the new name, which is ours too.
    """
    origin = document.origin
    if origin is None:
        return _in_json(document, action, key, value)
    name = _theirs(origin, key)
    if origin.form == "json":
        raw = parse_json(document.text, document.path)
        return _in_json(raw, action, name, _theirs(origin, str(value)) if action == "rename" else value)
    entry = document.entries.get(key)
    if entry is None:
        return _with_new(document, name, value, origin.form) if action == "set" and value is not None else document.text
    if action == "rename":
        return _with_name(document.text, entry, _theirs(origin, str(value)), origin.form)
    if action == "remove" or (action == "set" and value is None and origin.form == "toml"):
        without = edit_command.without if origin.form == "command" else edit_lines.without
        return without(document.text, entry)
    return _with_value(document.text, entry, value, origin.form) if action == "set" else document.text


def _theirs(origin: Origin, key: str) -> str:
    """Return the file's own name of one of our keys, or the program's."""
    return origin.spellings.get(key) or origin.names.get(key) or key


def _in_json(document: Document, action: Action, key: str, value: object) -> str:
    """Return the text of a JSON object after one change."""
    if action == "remove":
        return edit.without_key(document, key)
    if action == "rename":
        return edit.with_name(document, key, str(value))
    if action == "deduplicate":
        return edit.without_duplicates(document, key)
    if action == "respell":
        return edit.with_json_spelling(document, key)
    return edit.with_value(document, key, value)


def _with_name(text: str, entry: Entry, name: str, form: str) -> str:
    """Return the text in which an entry has another key; in a command line that is a flag."""
    if not _PLAIN.fullmatch(name):
        return text
    return edit_lines.with_name(text, entry, f"--{name}" if form == "command" else name)


def _with_value(text: str, entry: Entry, value: object, form: str) -> str:
    """Return the text in which an entry has another value."""
    if form == "command":
        return edit_command.with_value(text, entry, value)
    before = text[entry.value_span.start : entry.value_span.end].strip("\"' ")
    return edit_lines.with_value(text, entry, before if _is_written_so(before, value, form) else _written(value, form))


def _is_written_so(before: str, value: object, form: str) -> bool:
    """Say whether a number that stood in quotes is this value, so that the writer's 1e-4 need not become 0.0001.

    Old YAML readers take 1e-4 for a text, but not 1.0e-4.
    """
    if not _NUMBER.fullmatch(before) or (form == "yaml" and "e" in before.lower() and "." not in before):
        return False
    whole = before.lstrip("+-").isdigit()
    return not isinstance(value, bool) and value == float(before) and isinstance(value, int if whole else float)


def _with_new(document: Document, name: str, value: object, form: str) -> str:
    """Return the text with a new key below the last one."""
    last = max(document.entries.values(), key=lambda entry: entry.key_span.start, default=None)
    if last is None or form == "command" or not _PLAIN.fullmatch(name):
        return document.text
    sign = " = " if form == "toml" else ": "
    return edit_lines.with_new(document.text, last, f"{name}{sign}{_written(value, form)}")


def _written(value: object, form: str) -> str:
    return toml_value(value) if form == "toml" else yaml_value(value)
