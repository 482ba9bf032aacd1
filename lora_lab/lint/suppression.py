"""Findings that the writer of a file wants to hear no more of, with the reason why.

`// lora-lab: ignore[LL403, no-warmup] reason` counts for its line, or, alone on a line, for the next one that is no
comment; TOML, YAML and scripts have `#` for `//`, and in a script it counts for the whole command. The key
`"lora_lab:ignore": {"LL403": "reason"}` (or a list of texts "LL403 reason") counts for the whole file.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from lora_lab.document import Document, Span
from lora_lab.document.document import Lines
from lora_lab.lint.finding import Finding
from lora_lab.lint.rule import Rule

KEY = "lora_lab:ignore"

_COMMENT = re.compile(r"lora-lab:\s*ignore\[([^\]]*)\][\s:,-]*(.*?)\s*(?:\*/)?$", re.DOTALL)
_HASHED = re.compile(r"^([^\r\n]*?)(#[ \t]*lora-lab:[^\r\n]*)", re.MULTILINE)
_REFUSED = ("LL001", "LL002", "LL003", "LL004", "LL005", "LL006", "LL009", "LL011", "LL9")


class Suppression(NamedTuple):
    """One code or name of a rule that is not to be reported in a line, or in the whole file where `line` is None."""

    rule: str
    reason: str
    span: Span
    line: int | None


class Idle(NamedTuple):
    """A suppression that suppressed nothing, and why."""

    suppression: Suppression
    why: str


def names(rule: Rule, text: str) -> bool:
    """Say whether a text names a rule: by its code, the beginning of its code (LL4) or its name."""
    return text == rule.name or (text.startswith("LL") and rule.code.startswith(text))


def can_be_ignored(finding: Finding) -> bool:
    """Say whether a finding can be hidden: an error about what the trainer can't even read can't."""
    return not (finding.severity == "error" and finding.code.startswith(_REFUSED))


def suppressions(document: Document) -> Iterator[Suppression]:
    """Yield what the file asks not to be told."""
    origin = document.origin
    entry = document.entries.get(KEY)
    if entry:
        yield from (Suppression(rule, why, entry.value_span, None) for rule, why in _listed(entry.value))
    for one in origin.dropped if origin else ():
        if one.key == KEY:
            yield from (Suppression(rule, why, one.span, None) for rule, why in _listed(one.value))
    if "lora-lab:" not in document.text:
        return
    for span in _comments(document):
        found = _COMMENT.search(document.text[span.start : span.end])
        if found:
            line = None if origin and origin.form == "command" else _line_meant(document, span)
            rules = filter(None, (name.strip() for name in found.group(1).split(",")))
            yield from (Suppression(rule, found.group(2), span, line) for rule in rules)


def split(
    findings: Iterable[Finding], asked: Iterable[Suppression], rules: Collection[Rule], ran: Collection[str]
) -> tuple[list[Finding], list[Idle]]:
    """Return the findings that nothing suppresses, and the suppressions without effect.

    Of a rule that did not run (`ran` are the codes of those that did) nothing is said. An error about what the
    trainer can't even read stays: to hide it would not make the run start.
    """
    kept = list(findings)
    idle: list[Idle] = []
    for one in asked:
        meant = {rule.code for rule in rules if names(rule, one.rule)}
        hit = [f for f in kept if f.code in meant and one.line in (None, f.span.line if f.span else 1)]
        hidden = [f for f in hit if can_be_ignored(f)]
        kept = [f for f in kept if f not in hidden]
        if not meant:
            idle.append(Idle(one, f'there is no rule "{one.rule}"'))
        elif hit and not hidden:
            idle.append(Idle(one, f"{hit[0].code} can't be ignored: the trainer refuses the file"))
        elif not hit and meant.issubset(ran):
            idle.append(Idle(one, f"{one.rule} finds nothing {'in this file' if one.line is None else 'there'}"))
    return kept, idle


def _comments(document: Document) -> Iterator[Span]:
    """Yield where the comments stand that may be meant for the linter."""
    if document.origin is None or document.origin.form == "json":
        yield from (problem.span for problem in document.problems if problem.kind == "comment")
        return
    lines = Lines(document.text)
    for line in _HASHED.finditer(document.text):
        if not _is_quoted(line[1]):
            yield lines.span(line.start(2), line.end(2))


def _is_quoted(before: str) -> bool:
    """Say whether a text that begins a line ends within quotes."""
    quote = ""
    for char in before:
        if char in "\"'" and quote in ("", char):
            quote = "" if quote else char
    return bool(quote)


def _listed(value: object) -> Iterator[tuple[str, str]]:
    """Yield rule and reason from the value of the key."""
    if isinstance(value, dict):
        yield from ((str(rule), why.strip() if isinstance(why, str) else "") for rule, why in value.items())
        return
    for one in value if isinstance(value, list) else [value]:
        rule, _, why = str(one).strip().partition(" ")
        yield rule.rstrip(":,"), why.strip(" :-")


def _line_meant(document: Document, span: Span) -> int:
    """Return the line that a comment speaks about."""
    lines = document.text.splitlines()
    if lines[span.line - 1][: span.column - 1].strip():
        return span.line
    last = span.line + document.text.count("\n", span.start, span.end)
    if document.text[span.end :].split("\n", 1)[0].strip():
        return last
    following = range(last + 1, len(lines) + 1)
    return next((line for line in following if not lines[line - 1].lstrip().startswith(("//", "#"))), last + 1)
