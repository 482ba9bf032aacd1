"""Findings as text: carets in their place, nothing from the file that steers a terminal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document import parse_json
from lora_lab.lint import lint_document
from lora_lab.lint.report import Judged, printable, summary, text_report

START = '{"base_model": "b", "img_folder": "i", "output_folder": "o",'


def report(text: str) -> list[str]:
    """Lint a text without the disk and return the report's lines."""
    document = parse_json(text, Path("c.json"))
    return list(text_report(Judged("c.json", document.text, lint_document(document, None).findings)))


def test_caret_is_under_the_value() -> None:
    """The carets underline exactly the value in question."""
    lines = report(START + '\n  "net_dim": 512}')
    assert lines[0].startswith("c.json:2:14: LL301 warning: ")
    assert lines[0].endswith(" [rank-above-layer-width]")
    source, caret = lines[1], lines[2]
    assert source.removesuffix("}").endswith("512")
    assert caret.index("^") == source.index("512")
    assert caret.count("^") == 3
    assert lines[3].startswith("  = help: ")


def test_caret_counts_wide_signs_twice() -> None:
    """Before the value stand Chinese signs, which take two columns each."""
    source, caret = report(START + '\n "training_comment": "日本", "net_dim": 512}')[1:3]
    assert caret.index("^") == source.index("512") + 2


@pytest.mark.parametrize("before", [0, 40, 3000])
def test_long_lines_are_cut_around_the_caret(before: int) -> None:
    """Of a long line the part with the value is shown."""
    lines = report(
        START + f'\n "training_comment": "{"x" * before}", "net_dim": 512, "log_dir": null{" " * 3000}' + "}"
    )
    source, caret = lines[1:3]
    assert len(source) < 130
    assert source[caret.index("^") :].startswith("512")


@given(st.text())
def test_nothing_unprintable_gets_out(text: str) -> None:
    """Escape sequences, bidirectional overrides and line breaks of a file or its name are replaced."""
    assert printable(text).isprintable()
    document = parse_json(START + '"net_dim": "' + text)
    findings = lint_document(document, None).findings
    for line in text_report(Judged(text, document.text, findings)):
        assert line.isprintable()


@pytest.mark.parametrize(
    ("severities", "files", "line"),
    [
        ([], 1, "nothing found in 1 file"),
        (["error"], 1, "1 error in 1 file"),
        (["info", "warning", "error", "error"], 3, "2 errors, 1 warning, 1 note in 3 files"),
    ],
)
def test_summary(severities: list[str], files: int, line: str) -> None:
    """The last line counts, worst first."""
    assert summary(severities, files) == line
