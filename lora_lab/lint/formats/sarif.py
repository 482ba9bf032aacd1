"""SARIF 2.1.0, which GitHub's code scanning and editors read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import inspect
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from lora_lab import __version__
from lora_lab.lint.finding import Finding
from lora_lab.lint.register import RULES
from lora_lab.lint.report import Judged
from lora_lab.lint.rule import Rule
from lora_lab.printable import printable

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_PLACES = {rule.code: place for place, rule in enumerate(RULES)}


def render(files: Sequence[Judged]) -> str:
    """Return a log of one run: every rule with its page, every finding with its place."""
    driver = {
        "name": "lora-lab",
        "version": __version__,
        "rules": [_rule(rule) for rule in RULES],
    }
    results = [_result(one.name, finding) for one in files for finding in one.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> dict[str, Any]:
    """Return a rule's descriptor."""
    sections = rule.sections
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": sections[""]},
        "fullDescription": {"text": sections["Why is this bad"]},
        "help": {"text": inspect.cleandoc(rule.page)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(name: str, finding: Finding) -> dict[str, Any]:
    """Return one finding."""
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(name)}}
    if finding.span:
        start, end, line, column = finding.span
        region = {"startLine": line, "startColumn": column, "charOffset": start, "charLength": max(end - start, 0)}
        place["region"] = region
    help_text = f"; {finding.remedy}" if finding.remedy else ""
    return {
        "ruleId": finding.code,
        "ruleIndex": _PLACES[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": printable(finding.message + help_text)},
        "locations": [{"physicalLocation": place}],
    }


def _uri(name: str) -> str:
    """Return a path as a URI reference."""
    path = PurePath(name)
    if path.is_absolute():
        return "file://" + quote("/" + path.as_posix().lstrip("/"), errors="replace")
    return quote(path.as_posix(), errors="replace")
