"""JUnit's XML, which Jenkins, GitLab and Azure show as test results: a suite for each file, a test for each finding.

The form is that of https://github.com/testmoapp/junitxml without what Jenkins' schema does not know (`file`, `line`);
notes are tests that pass.
"""

from collections.abc import Iterator, Sequence
from html import escape

from lora_lab.lint.finding import Finding
from lora_lab.lint.report import Judged
from lora_lab.printable import printable


def render(files: Sequence[Judged]) -> str:
    """Return the document."""
    failed = sum(_failures(one) for one in files)
    tests = sum(max(len(one.findings), 1) for one in files)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="lora-lab" tests="{tests}" failures="{failed}">',
    ]
    for one in files:
        lines.extend(_suite(one))
    return "\n".join([*lines, "</testsuites>"])


def _suite(judged: Judged) -> Iterator[str]:
    """Yield the lines of one file."""
    name = _attribute(judged.name)
    tests = max(len(judged.findings), 1)
    yield f'  <testsuite name="{name}" tests="{tests}" failures="{_failures(judged)}" errors="0">'
    if not judged.findings:
        yield f'    <testcase name="no findings" classname="{name}"/>'
    for finding in judged.findings:
        yield from _case(name, finding)
    yield "  </testsuite>"


def _case(name: str, finding: Finding) -> Iterator[str]:
    """Yield the lines of one finding."""
    line = finding.span.line if finding.span else 1
    title = f"{finding.code} {finding.name}, line {line}"
    yield f'    <testcase name="{title}" classname="{name}">'
    message, remedy = _attribute(finding.message), _attribute(finding.remedy)
    if finding.severity == "info":
        yield f"      <system-out>{message}; {remedy}</system-out>"
    else:
        yield f'      <failure message="{message}" type="{finding.severity}">{name}:{line}: {remedy}</failure>'
    yield "    </testcase>"


def _failures(judged: Judged) -> int:
    return sum(finding.severity != "info" for finding in judged.findings)


def _attribute(text: str) -> str:
    """Return a text without signs that XML does not allow."""
    return escape(printable(text.encode("utf-8", "replace").decode("utf-8")))
