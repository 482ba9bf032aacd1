"""Findings as text for people; `formats` has the forms for tools. Nothing here prints."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from lora_lab.document import Span
from lora_lab.lint.finding import Finding
from lora_lab.printable import printable
from lora_lab.secrets import masked

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


def fixable(findings: Iterable[Finding]) -> str:
    """Return the line about what could be fixed, or ""."""
    safe = [finding.fix.safe for finding in findings if finding.fix]
    if not safe:
        return ""
    sure, risky = safe.count(True), safe.count(False)
    parts = [f"{sure} can be fixed with --fix"] if sure else []
    if risky:
        parts.append(f"{risky} {'more ' if sure else ''}with --fix --unsafe-fixes, which changes the training")
    return f"{', '.join(parts)}; --diff shows how"


def _source(line: str, span: Span, style: Style) -> Iterator[str]:
    """Yield the source line and the line with the caret under the span."""
    start = span.column - 1
    marked = max(min(span.end - span.start, len(line) - start), 1)
    first = max(start - WIDEST // 3, 0) if len(line) > WIDEST else 0
    cut = line[first : first + WIDEST]
    line = masked(line)
    before, after = ("…" if first else ""), ("…" if first + WIDEST < len(line) else "")
    shown = printable(before + cut + after)
    indent = _columns(printable(before + line[first:start]))
    under = _columns(printable(cut[start - first : start - first + marked])) or 1
    number = str(span.line)
    bar = style("|", "gutter")
    yield f"  {style(number, 'gutter')} {bar} {shown}"
    yield f"  {' ' * len(number)} {bar} {' ' * indent}{style('^' * under, 'error')}"


def _columns(text: str) -> int:
    """Return how many columns a terminal takes for the text: Chinese and Japanese signs take two, marks none."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 -- a megabyte that few files need

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
