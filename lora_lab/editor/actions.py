"""What an editor offers to do about findings: their fixes, all safe fixes at once, and to ignore a rule."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lora_lab.document import Document
from lora_lab.document.edit import with_value
from lora_lab.editor.positions import Replacement, difference
from lora_lab.lint import Finding, Fix
from lora_lab.lint.fixing import Judge, applied_to, fixed
from lora_lab.lint.suppression import KEY, can_be_ignored

_LONGEST_TITLE = 80


class Action(NamedTuple):
    """A change of the text with its title; `finding` is what it is about, None for all."""

    title: str
    change: Replacement
    finding: Finding | None
    preferred: bool = False


def fixes(document: Document, findings: Iterable[Finding]) -> Iterator[Action]:
    """Yield a change for each finding that has a fix; a safe one is what an editor may do without asking."""
    for finding in findings:
        after = applied_to(document, finding.fix) if finding.fix and not document.broken else None
        if finding.fix is None or after is None:
            continue
        risk = "" if finding.fix.safe else " (changes the training)"
        title = f"{_said(document, finding, finding.fix)}{risk}"
        yield Action(title, difference(document.text, after.text), finding, finding.fix.safe)


def all_fixes(document: Document, judge: Judge) -> Action | None:
    """Return the change that `lora-lab lint --fix` makes, or None where there is nothing to mend."""
    done = fixed(document, judge)
    if not done.applied:
        return None
    return Action("Fix all that is safe", difference(document.text, done.document.text), None)


def suppressions(document: Document, findings: Iterable[Finding]) -> Iterator[Action]:
    """Yield the ways to ignore each finding's rule: in its line, as a comment, or in the whole file, as a key.

    The reason is for the writer to add; until then a finding asks for it.
    """
    for finding in findings:
        if not can_be_ignored(finding):
            continue
        comment = _comment(document, finding)
        if comment is not None:
            yield Action(f"Ignore {finding.code} in this line", comment, finding)
        if document.origin is None and not document.broken:
            yield _for_the_file(document, finding)


def _comment(document: Document, finding: Finding) -> Replacement | None:
    """Return the comment to insert, with the others of its line; None where there is no room for one."""
    form = document.origin.form if document.origin else "json"
    foreign = document.origin is not None and document.origin.foreign
    if finding.span is None or (form == "json" and foreign):
        return None  # another program's reader of JSON stops at a comment
    text = document.text
    start, end = _line(text, finding.span.start)
    if form == "command":
        start = _first_of_command(text, start)
        return Replacement(start, start, f"# lora-lab: ignore[{finding.code}] {_newline(text)}")
    sign = "//" if form == "json" else "#"
    if any(text[start:end].count(mark) for mark in ('"""', "'''", "/*")) or text[start:end].rstrip().endswith("|"):
        return None
    if "lora-lab:" in text[start:end] or _within_text(document, end):
        return None
    return Replacement(end, end, f" {sign} lora-lab: ignore[{finding.code}] ")


def _within_text(document: Document, at: int) -> bool:
    """Say whether an offset is within a value that goes over several lines."""
    return any(entry.value_span.start < at < entry.value_span.end for entry in document.entries.values())


def _for_the_file(document: Document, finding: Finding) -> Action:
    """Return the change that adds a rule to the file's own list."""
    entry = document.entries.get(KEY)
    listed = entry.value if entry and isinstance(entry.value, dict) else {}
    after = with_value(document, KEY, {**listed, finding.code: ""})
    return Action(f"Ignore {finding.code} in this file", difference(document.text, after), finding)


def _said(document: Document, finding: Finding, fix: Fix) -> str:
    """Return what a fix does, in the file's own names: "LL202: remove keep_tokens"."""
    origin = document.origin

    def name(key: str) -> str:
        return (origin.spellings.get(key) or origin.names.get(key) or key) if origin else key

    words = {
        "set": "set {key} to {value}",
        "remove": "remove {key}",
        "rename": "rename {key} to {name}",
        "deduplicate": "keep the last {key} only",
        "respell": "write {key} as JSON",
    }
    parts = [
        words[edit.action].format(
            key=name(edit.key), value=json.dumps(edit.value, ensure_ascii=False), name=name(str(edit.value))
        )
        for edit in fix.edits
    ]
    text = f"{finding.code}: {', '.join(parts)}"
    return text if len(text) <= _LONGEST_TITLE else text[: _LONGEST_TITLE - 1] + "…"


def _line(text: str, offset: int) -> tuple[int, int]:
    """Return the offsets where the line of an offset begins and ends."""
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    ends = [at for at in (text.find("\n", offset), text.find("\r", offset)) if at != -1]
    return start, min(ends, default=len(text))


def _first_of_command(text: str, start: int) -> int:
    """Return where the command begins whose continued line begins at `start`."""
    while start > 0:
        before, end = _line(text, start - 1 - (text[start - 2 : start] == "\r\n"))
        if not text[before:end].rstrip().endswith(("\\", "^", "`")):
            break
        start = before
    return start


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
