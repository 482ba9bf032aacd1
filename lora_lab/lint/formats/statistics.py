"""How often each rule fired."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lora_lab.lint.report import Judged


class Count(NamedTuple):
    """How often a rule fired, and how many of its findings a safe fix would remove."""

    code: str
    name: str
    severity: str
    times: int
    fixable: int


def counts(files: Sequence[Judged]) -> list[Count]:
    """Return the rules that fired, the most frequent first."""
    findings = [finding for one in files for finding in one.findings]
    often = Counter((finding.code, finding.name) for finding in findings)
    safe = Counter(finding.code for finding in findings if finding.fix and finding.fix.safe)
    worst = {finding.code: finding.severity for finding in reversed(findings)}
    return [
        Count(code, name, worst[code], times, safe[code])
        for (code, name), times in sorted(often.items(), key=lambda item: (-item[1], item[0]))
    ]


def table(files: Sequence[Judged]) -> Iterator[str]:
    """Yield a line for each rule that fired."""
    found = counts(files)
    width = len(str(found[0].times)) if found else 0
    for one in found:
        mark = f"  ({one.fixable} fixable)" if one.fixable else ""
        yield f"{one.times:>{width}}  {one.code}  {one.severity:<7}  {one.name}{mark}"
