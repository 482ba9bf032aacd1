"""Findings for tools: one module for each form, with a function `render`; imported only when it is asked for."""

import importlib
from collections.abc import Sequence

from lora_lab.lint.report import Judged

FORMATS = {
    "json": "json_list",
    "github": "github",
    "gitlab": "gitlab",
    "sarif": "sarif",
    "junit": "junit",
}
"""The name of each form with its module."""


def rendered(form: str, files: Sequence[Judged]) -> str:
    """Return the findings of all files in a form of `FORMATS`."""
    text: str = importlib.import_module(f"{__name__}.{FORMATS[form]}").render(files)
    return text
