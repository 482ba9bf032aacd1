"""Golden pairs: `cases/lint/bad/*.json` with the output that belongs to it, `ok/*.json` with none but notes.

`pytest tests/lint/test_cases.py --update` writes the outputs anew; read the difference before committing it.
"""

from pathlib import Path

import pytest

from lora_lab.document import read_document
from lora_lab.lint import lint_document
from lora_lab.lint.report import Judged, text_report

CASES = Path(__file__).parents[1] / "cases" / "lint"
BAD = sorted((CASES / "bad").glob("*.json"))
OK = sorted((CASES / "ok").glob("*.json"))


def output_of(path: Path) -> str:
    """Return the report for one case, without looking at the disk."""
    document = read_document(path)
    findings = lint_document(document, None).findings
    return "\n".join(text_report(Judged(path.name, document.text, findings)))


def test_there_are_cases() -> None:
    """The globs found files, so the tests below test something."""
    assert len(BAD) >= 5
    assert len(OK) >= 3


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_case(path: Path, update: bool) -> None:
    """Each bad file gives exactly the output beside it."""
    golden = path.with_suffix(".out")
    output = output_of(path)
    if update:
        golden.write_text(output, encoding="utf-8", newline="\n")
    assert output == golden.read_text(encoding="utf-8")
    assert output


@pytest.mark.parametrize("path", OK, ids=lambda path: path.stem)
def test_ok_case(path: Path) -> None:
    """A good file gives no finding at all."""
    assert output_of(path) == ""
