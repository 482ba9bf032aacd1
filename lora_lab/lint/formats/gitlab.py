"""GitLab's code quality report: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from lora_lab.lint.report import Judged
from lora_lab.printable import printable

_SEVERITIES = {"error": "major", "warning": "minor", "info": "info"}


def render(files: Sequence[Judged]) -> str:
    """Return a JSON list; a fingerprint stays when lines move, and no two findings share one."""
    issues: list[dict[str, object]] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for one in files:
        path = PurePath(one.name).as_posix().lstrip("/") or "."  # an absolute one is no path of a repository
        for finding in one.findings:
            identity = (path, finding.code, finding.message, *finding.keys)
            seen[identity] += 1
            print_of = "\0".join((*identity, str(seen[identity]))).encode("utf-8", "replace")
            issues.append({
                "description": printable(f"{finding.code}: {finding.message}"),
                "check_name": finding.name,
                "fingerprint": hashlib.sha256(print_of).hexdigest(),
                "severity": _SEVERITIES[finding.severity],
                "location": {"path": path, "lines": {"begin": finding.span.line if finding.span else 1}},
            })  # fmt: skip
    return json.dumps(issues, indent=2)
