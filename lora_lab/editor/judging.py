"""A text in an editor, judged: by itself with every key stroke, with what is on the disk when it is opened or saved."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lora_lab.config import PARAMETERS
from lora_lab.document import Document
from lora_lab.document.dialects import decode_config
from lora_lab.failure import Failure
from lora_lab.lint import RULES, Disk, Finding, lint_document
from lora_lab.lint.fixing import makeable
from lora_lab.lint.machine import Machine
from lora_lab.lint.settings import Settings, settings_for

OF_TEXT = frozenset(rule.code for rule in RULES if rule.sees not in ("disk", "machine"))
"""Rules that need nothing but the text."""


@dataclass(frozen=True)
class Look:
    """What may be looked at beside the text when a file is opened or saved."""

    disk: bool = True
    machine: Machine | None = None


@dataclass(frozen=True)
class Opened:
    """What is known of a text. `document` is None where it is no training config. `failure` is about the settings.

    `of_disk` are the findings of the last look at the disk with the values that they were about.
    """

    text: str
    document: Document | None
    findings: tuple[Finding, ...] = ()
    failure: Failure | None = None
    of_disk: tuple[tuple[Finding, tuple[object, ...]], ...] = ()


def opened(text: str, path: Path | None, before: Opened | None = None, look: Look | None = None) -> Opened:
    """Judge a text. Without `look`, what was seen before on the disk and the machine still counts for what stayed.

    Offsets in the result are those of `text` without a byte-order mark, which editors take off.
    """
    document = decode_config(text.encode("utf-8", "replace"), path)
    if _is_other(document):
        return Opened(text, None)
    try:
        settings, failure = settings_for(document.folder), None
    except Failure as wrong:
        settings, failure = Settings(), wrong
    disk = Disk(document.folder) if look and look.disk else None
    result = lint_document(document, disk, settings.target, look.machine if look else None)
    found = [finding for finding in result.findings if finding.code in OF_TEXT]
    if look:
        of_disk = tuple((one, _values(document, one)) for one in result.findings if one.code not in OF_TEXT)
    else:
        of_disk = tuple(_still_true(document, before.of_disk)) if before else ()
    shown = sorted([*found, *(one for one, _ in of_disk)], key=_place)
    wanted = settings.wanted(shown, path)
    return Opened(text, document, tuple(makeable(document, wanted)), failure, of_disk)


def judge_for(path: Path | None) -> Callable[[Document], Iterable[Finding]]:
    """Return the judge of the text alone whose findings' fixes are wanted in this file."""
    settings = _settings(path)

    def judge(document: Document) -> Iterable[Finding]:
        return settings.wanted(lint_document(document, None, settings.target).findings, path)

    return judge


def _settings(path: Path | None) -> Settings:
    try:
        return settings_for(path.parent if path else Path())
    except Failure:
        return Settings()


def _is_other(document: Document) -> bool:
    """Say whether a file has nothing to do with training, as most files of an editor have not."""
    if not PARAMETERS.keys() & document.entries.keys():
        return True
    return any(finding.code == "LL009" for finding in lint_document(document, None).findings)


def _values(document: Document, finding: Finding) -> tuple[object, ...]:
    """Return what the file says of the keys of a finding."""
    return tuple(_value(document, key) for key in finding.keys)


def _value(document: Document, key: str) -> object:
    ours = next((name for name, theirs in _spellings(document) if theirs == key), key)
    entry = document.entries.get(ours)
    return entry.value if entry else None


def _spellings(document: Document) -> Iterable[tuple[str, str]]:
    return document.origin.spellings.items() if document.origin else ()


def _still_true(
    document: Document, seen: Iterable[tuple[Finding, tuple[object, ...]]]
) -> Iterator[tuple[Finding, tuple[object, ...]]]:
    """Yield what was seen on the disk about values that are still there, at the place where they are now."""
    for finding, values in seen:
        if values != _values(document, finding):
            continue
        named = {theirs: ours for ours, theirs in _spellings(document)}
        entries = [document.entries.get(named.get(key, key)) for key in finding.keys]
        spans = [entry.value_span for entry in entries if entry]
        yield replace(finding, span=spans[0] if spans else None), values


def _place(finding: Finding) -> float:
    return finding.span.start if finding.span else float("inf")
