"""What the dialects that are only recognised have in common: a table of the few settings that mean the same."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from lora_lab.document.command_text import is_variable
from lora_lab.document.dialects.draft import Draft, typed
from lora_lab.document.document import Document
from lora_lab.document.tree import Item, Tree

Read = Callable[[object], object]


def convert_known(
    tree: Tree, dialect: str, title: str, known: Mapping[str, str], readings: Mapping[str, Read] | None = None
) -> Document:
    """Return the document with the settings of a table; nobody claims that the rest means nothing.

    `known` maps the program's name (without leading dashes, in a section as `section.name`) to ours, `readings` some
    names to a function of the value.
    """
    draft = Draft(tree)
    for item in _flat(tree.items):
        key = ".".join(str(part) for part in item.place if not isinstance(part, int)).removeprefix("--")
        name = known.get(key)
        if name is None:
            draft.drop(item, "lora_lab has no such setting")
        elif is_variable(item.value):
            draft.leave_open(name, item)
        else:
            read = (readings or {}).get(key)
            value = read(item.value) if read else typed(name, item.value)
            draft.put(name, item, None if value == "" else value)
    document = draft.document(dialect, title, {})
    return replace(document, origin=replace(document.origin, readable=False) if document.origin else None)


def whole_number(value: object) -> object:
    """Return the number that a text or number is, "" where it is none or a list of several."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else ""


def _flat(items: tuple[Item, ...]) -> list[Item]:
    """Return the items with those inside objects as items of their own."""
    found: list[Item] = []
    for item in items:
        if isinstance(item.value, dict) and item.value and len(item.place) < 12:
            inner = tuple(
                item._replace(place=(*item.place, str(key)), value=value) for key, value in item.value.items()
            )
            found += _flat(inner)
        elif isinstance(item.value, list) and item.value and all(isinstance(one, dict) for one in item.value):
            inner = tuple(item._replace(place=(*item.place, at), value=one) for at, one in enumerate(item.value[:50]))
            found += _flat(inner)
        else:
            found.append(item)
    return found
