"""HTML as a tree, so that what other people wrote is text in it and can't be anything else."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from lora_lab.printable import printable_lines

Child = Element | str | None


def node(tag: str, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """Return an element; `class_` is class, `data_run` is data-run. A child that is None is left out."""
    names = {key.rstrip("_").replace("_", "-"): clean(str(value)) for key, value in attributes.items()}
    found = Element(tag, names)
    for child in children:
        parts = [child] if child is None or isinstance(child, (str, Element)) else child
        for part in parts:
            _append(found, part)
    return found


def _append(parent: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, Element):
        parent.append(child)
        return
    text = clean(child)
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def raw(tag: str, text: str, **attributes: object) -> Element:
    """Return a script or style element, whose text HTML takes as it is.

    Raises `ValueError` for a text that would end it.
    """
    if "</" in text:
        raise ValueError("a text that could end its element")
    found = node(tag, **attributes)
    found.text = text
    return found


def clean(text: str) -> str:
    """Return a text without control characters, signs that turn the reading direction, and broken letters."""
    return printable_lines(text)


def markup(element: Element) -> str:
    """Return the HTML of an element and all in it."""
    return tostring(element, encoding="unicode", method="html")
