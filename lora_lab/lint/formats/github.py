"""Workflow commands: GitHub Actions shows each finding at its line of a pull request.

https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

from collections.abc import Sequence

from lora_lab.lint.finding import Finding
from lora_lab.lint.report import Judged
from lora_lab.printable import printable

_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}


def render(files: Sequence[Judged]) -> str:
    """Return one command a line."""
    return "\n".join(_command(one.name, finding) for one in files for finding in one.findings)


def _command(name: str, finding: Finding) -> str:
    """Return the command for one finding."""
    where = {"file": name, "title": f"{finding.code} {finding.name}"}
    if finding.span:
        where |= {"line": str(finding.span.line), "col": str(finding.span.column)}
    properties = ",".join(f"{key}={_property(value)}" for key, value in where.items())
    text = printable(f"{finding.message} ({finding.remedy})" if finding.remedy else finding.message)
    return f"::{_COMMANDS[finding.severity]} {properties}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
