"""What would waste a training run, found before it starts."""

from lora_lab.lint.disk import Disk
from lora_lab.lint.engine import LintResult, lint_document, lint_values
from lora_lab.lint.finding import Edit, Finding, Fix, Severity
from lora_lab.lint.register import RULES
from lora_lab.lint.rule import TARGETS, Rule, Target

__all__ = [
    "RULES",
    "TARGETS",
    "Disk",
    "Edit",
    "Finding",
    "Fix",
    "LintResult",
    "Rule",
    "Severity",
    "Target",
    "lint_document",
    "lint_values",
]
