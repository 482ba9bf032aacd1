"""Golden pairs: `cases/lint/bad/*.json` with the output that belongs to it, `ok/*.json` with none but notes.

`real/` has files in the shapes of those that people share, of every program; `NAME.TARGET.out` is what is said of them
for a trainer.

`pytest tests/lint/test_cases.py --update` writes the outputs anew; read the difference before committing it.
"""

from pathlib import Path

import pytest

from lora_lab.document import read_document
from lora_lab.document.dialects import read_config
from lora_lab.lint import Target, lint_document
from lora_lab.lint.report import Judged, text_report

CASES = Path(__file__).parents[1] / "cases" / "lint"
BAD = sorted((CASES / "bad").glob("*.json"))
OK = sorted((CASES / "ok").glob("*.json"))
REAL = sorted(path for path in (CASES / "real").iterdir() if path.suffix != ".out")


def targets_of(path: Path) -> tuple[Target, ...]:
    """Return the trainers that a file of `real/` is judged for: ours, and the one that it was written for."""
    if path.name.startswith("easy"):
        return "lora_lab", "easy"
    kohya = ("gui", "toml", "dataset", "cmd", "hybrid")
    return ("lora_lab", "sd-scripts") if path.name.startswith(kohya) else ("lora_lab",)


BY_TARGET = [(path, target) for path in REAL for target in targets_of(path)]


def output_of(path: Path) -> str:
    """Return the report for one case, without looking at the disk."""
    document = read_document(path)
    findings = lint_document(document, None).findings
    return "\n".join(text_report(Judged(path.name, document.text, findings)))


def test_there_are_cases() -> None:
    """The globs found files, so the tests below test something."""
    assert len(BAD) >= 5
    assert len(OK) >= 3
    assert len(REAL) >= 40


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


@pytest.mark.parametrize(("path", "target"), BY_TARGET, ids=lambda one: one if isinstance(one, str) else one.name)
def test_real_shape(path: Path, target: Target, update: bool) -> None:
    """Each file gives exactly the output beside it, which is empty where nothing is wrong."""
    golden = path.with_name(f"{path.name}.{target}.out")
    document = read_config(path)
    findings = lint_document(document, None, target).findings
    output = "\n".join(text_report(Judged(path.name, document.text, findings)))
    if update:
        golden.write_text(output, encoding="utf-8", newline="\n")
    assert output == golden.read_text(encoding="utf-8")
