"""All findings as one JSON object, with everything that is known about each."""

import json
from collections.abc import Iterator, Mapping, Sequence

from lora_lab.lint.report import Judged


def render(files: Sequence[Judged]) -> str:
    """Return `{"findings": [...]}`."""
    return json.dumps({"findings": [data for one in files for data in as_data(one)]}, indent=2, default=str)


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
