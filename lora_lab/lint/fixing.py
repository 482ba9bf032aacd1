"""Applying the fixes of findings to a document's text."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from lora_lab.document import Document, parse_json
from lora_lab.document.edit_any import edited
from lora_lab.lint.finding import Edit, Finding, Fix

MOST_FIXES = 200
"""So many fixes in one file are enough; it has fewer keys."""

Judge = Callable[[Document], Iterable[Finding]]
"""Lints a document and returns the findings whose fixes are wanted."""


class Fixed(NamedTuple):
    """A document after its fixes, and the findings that they removed, in the order in which they went."""

    document: Document
    applied: tuple[Finding, ...]


def fixed(document: Document, judge: Judge, *, unsafe: bool = False) -> Fixed:
    """Apply the safe fixes, or all, until no finding has one that changes anything.

    One fix at a time, and the file is judged anew after each: what two fixes both change, the first one decides, and
    no fix acts on what is no longer so. A file whose text was not understood in whole stays as it is.
    """
    applied: list[Finding] = []
    seen = {document.text}
    while not document.broken and len(applied) < MOST_FIXES:
        for finding in judge(document):
            if finding.fix is None or not (finding.fix.safe or unsafe):
                continue
            changed = applied_to(document, finding.fix)
            if changed is not None and changed.text not in seen:
                break
        else:
            break
        seen.add(changed.text)
        document = changed
        applied.append(finding)
    return Fixed(document, tuple(applied))


def applied_to(document: Document, fix: Fix) -> Document | None:
    """Return the document after a fix; None where it can't be made in this file's text.

    In another program's file a change is one of its own setting, and counts only where all the rest of the file still
    means what it did. A key that comes from the file of `load_json_path` can't be removed here, and one that is removed
    here would come from there.
    """
    loads = document.entries.get("load_json_path")
    lost = _lost(document)
    for edit in fix.edits:
        takes_away = edit.action == "remove" or (edit.action == "set" and edit.value is None)
        absent = edit.action != "set" and edit.key not in document.entries
        if absent or (takes_away and loads is not None and loads.value):
            return None
        wanted = _values_after(document, edit)
        document = _read_again(document, edited(document, edit.action, edit.key, edit.value))
        if document.broken or document.values != wanted or _lost(document) != lost:
            return None
    return document


def makeable(document: Document, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings, without the fixes that can't be made in this file's text."""
    for finding in findings:
        possible = finding.fix is None or (not document.broken and applied_to(document, finding.fix) is not None)
        yield finding if possible else replace(finding, fix=None)


def _values_after(document: Document, edit: Edit) -> dict[str, object]:
    """Return the values that the text must have after an edit; TOML has no null."""
    values = document.values
    if edit.action in {"remove", "rename"}:
        value = values.pop(edit.key)
        return values | {str(edit.value): value} if edit.action == "rename" else values
    if edit.action == "set" and edit.value is None and document.origin and document.origin.form == "toml":
        values.pop(edit.key, None)
        return values
    return values | {edit.key: edit.value} if edit.action == "set" else values


def _lost(document: Document) -> tuple[object, ...]:
    """Return what a file says beside the values: what a change must leave alone."""
    origin = document.origin
    return (origin.unknown, *((one.key, one.value) for one in origin.dropped)) if origin else ()


def _read_again(document: Document, text: str) -> Document:
    """Return the document of a new text; that there was a byte-order mark is not forgotten."""
    mark = "\ufeff" if any(problem.kind == "bom" for problem in document.problems) else ""
    if document.origin is None:
        return parse_json(mark + text, document.path)
    from lora_lab.document.dialects import decode_config  # noqa: PLC0415 -- only for such files

    return decode_config((mark + text).encode("utf-8", "replace"), document.path, document.origin.dialect)
