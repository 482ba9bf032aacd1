"""Findings as text for people and as data for tools. Nothing here prints."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from lora_lab.document import Span
from lora_lab.lint.finding import Finding

WIDEST = 100
"""Columns of a source line that are shown; a longer one is cut around the place in question."""

Style = Callable[[str, str], str]
"""Gives a text the looks of a role: error, warning, info, place, gutter, help."""


class Judged(NamedTuple):
    """The findings of one file, with the name to show for it and its text."""

    name: str
    text: str
    findings: tuple[Finding, ...]


def plain(text: str, role: str) -> str:
    """Return the text as it is."""
    return text


def printable(text: str) -> str:
    """Return the text with one harmless sign for every control character: a file must not steer the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _stand_in(char) for char in text)


def text_report(judged: Judged, style: Style = plain) -> Iterator[str]:
    """Yield the lines for one file: place, code, severity, message and name; the source with a caret; what to do."""
    lines = judged.text.splitlines() if judged.findings else []
    for finding in judged.findings:
        line, column = (finding.span.line, finding.span.column) if finding.span else (1, 1)
        place = style(f"{printable(judged.name)}:{line}:{column}:", "place")
        label = style(f"{finding.code} {finding.severity}", finding.severity)
        yield f"{place} {label}: {printable(finding.message)} {style(f'[{finding.name}]', 'gutter')}"
        if finding.span and line <= len(lines):
            yield from _source(lines[line - 1], finding.span, style)
        if finding.remedy:
            yield f"  {style('= help:', 'help')} {printable(finding.remedy)}"
        yield ""


def summary(severities: Iterable[str], files: int) -> str:
    """Return the last line: how many findings of each severity in how many files."""
    counts = Counter(severities)
    where = f"in {files} file{'' if files == 1 else 's'}"
    if not counts:
        return f"nothing found {where}"
    names = {"error": "errors", "warning": "warnings", "info": "notes"}
    shown = [f"{counts[one]} {many if counts[one] != 1 else many[:-1]}" for one, many in names.items() if counts[one]]
    return f"{', '.join(shown)} {where}"


def as_data(judged: Judged) -> Iterator[Mapping[str, object]]:
    """Yield each finding of a file as JSON-like data; line and column count from 1, offsets in characters from 0."""
    for finding in judged.findings:
        span = finding.span
        yield {
            "path": judged.name,
            "line": span.line if span else None,
            "column": span.column if span else None,
            "start": span.start if span else None,
            "end": span.end if span else None,
            "code": finding.code,
            "name": finding.name,
            "severity": finding.severity,
            "message": finding.message,
            "keys": list(finding.keys),
            "help": finding.remedy,
            "fix": None if finding.fix is None else {
                "safe": finding.fix.safe,
                "edits": [{"key": e.key, "action": e.action, "value": e.value} for e in finding.fix.edits],
            },
        }  # fmt: skip


def _source(line: str, span: Span, style: Style) -> Iterator[str]:
    """Yield the source line and the line with the caret under the span."""
    start = span.column - 1
    marked = max(min(span.end - span.start, len(line) - start), 1)
    first = max(start - WIDEST // 3, 0) if len(line) > WIDEST else 0
    cut = line[first : first + WIDEST]
    before, after = ("…" if first else ""), ("…" if first + WIDEST < len(line) else "")
    shown = printable(before + cut + after)
    indent = _columns(printable(before + line[first:start]))
    under = _columns(printable(cut[start - first : start - first + marked])) or 1
    number = str(span.line)
    bar = style("|", "gutter")
    yield f"  {style(number, 'gutter')} {bar} {shown}"
    yield f"  {' ' * len(number)} {bar} {' ' * indent}{style('^' * under, 'error')}"


def _stand_in(char: str) -> str:
    """Return one printable sign for one that is not."""
    return " " if char == "\t" or unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"


def _columns(text: str) -> int:
    """Return how many columns a terminal takes for the text: Chinese and Japanese signs take two, marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
