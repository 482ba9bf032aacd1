"""What would waste a training run, found before it starts."""

from lora_lab.lint.disk import Disk
from lora_lab.lint.engine import LintResult, lint_document, lint_values
from lora_lab.lint.finding import Edit, Finding, Fix, Severity
from lora_lab.lint.register import RULES
from lora_lab.lint.rule import Rule

__all__ = [
    "RULES",
    "Disk",
    "Edit",
    "Finding",
    "Fix",
    "LintResult",
    "Rule",
    "Severity",
    "lint_document",
    "lint_values",
]
