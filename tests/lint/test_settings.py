"""Which findings are wanted, by file and by command line."""

from pathlib import Path

import pytest

from lora_lab.failure import Failure
from lora_lab.lint import Finding, lint_values
from lora_lab.lint.settings import Settings, settings_for

VALUES = {"base_model": "b", "img_folder": "i", "output_folder": "o", "save_as": "pt", "flip_aug": True, "net_dim": "8"}
FINDINGS = lint_values(VALUES, Path(), None).findings


def codes(findings: tuple[Finding, ...]) -> set[str]:
    """Return the codes of findings."""
    return {finding.code for finding in findings}


def test_all_severities_are_there() -> None:
    """The findings that the tests filter are an error, a warning and a note."""
    assert {finding.severity for finding in FINDINGS} == {"error", "warning", "info"}
    assert Settings().wanted(FINDINGS, None) == FINDINGS


@pytest.mark.parametrize(("severity", "rest"), [("error", {"LL003"}), ("warning", {"LL003", "LL701"})])
def test_severity_is_a_threshold(severity: str, rest: set[str]) -> None:
    """What is less severe is left out."""
    settings = Settings().overridden(severity=next(one for one in ("error", "warning") if one == severity))
    assert codes(settings.wanted(FINDINGS, None)) == rest


def test_own_file_comes_first_and_the_nearest_counts(tmp_path: Path) -> None:
    """lora-lab.toml before pyproject.toml; one without our table is passed over; nothing is merged."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.lora-lab]\nselect = ["LL7"]\n')
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert settings_for(deep).select == ("LL7",)
    (tmp_path / "lora-lab.toml").write_text('severity = "error"\n')
    assert (settings_for(deep).select, settings_for(deep).severity) == ((), "error")
    (deep / "pyproject.toml").write_text('[tool.lora-lab]\nignore = ["pickle-format"]\n')
    assert codes(settings_for(deep).wanted(FINDINGS, None)) == {"LL003", "LL623"}


def test_command_line_replaces_and_adds() -> None:
    """`--select` and `--severity` take the place of the file's, `--ignore` comes on top; commas separate."""
    settings = Settings(select=("LL7",), ignore=("LL1",), severity="error")
    assert settings.overridden(["LL3, LL4"], ["LL2"], "info") == Settings(("LL3", "LL4"), ("LL1", "LL2"), "info")
    assert settings.overridden() == settings


@pytest.mark.parametrize("pattern", ["old/*.json", "c.json", "*.json"])
def test_per_file_ignores(pattern: str, tmp_path: Path) -> None:
    """Patterns are relative to the settings' folder, or name the file; they win over `select`."""
    (tmp_path / "lora-lab.toml").write_text(f'select = ["LL701"]\n[per-file-ignores]\n"{pattern}" = ["LL7"]\n')
    settings = settings_for(tmp_path)
    assert settings.wanted(FINDINGS, tmp_path / "old" / "c.json") == ()
    assert codes(settings.wanted(FINDINGS, tmp_path / "new" / "d.toml")) == {"LL701"}


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("select = 3", "select"),
        ('selct = ["LL3"]', "did you mean select?"),
        ('ignore = ["LL703x"]', "did you mean"),
        ('ignore = ["pickel-format"]', "did you mean pickle-format?"),
        ('ignore = ["nothing like it at all"]', "LL403"),
        ('severity = "bad"', "warning"),
        ("per-file-ignores = 3", "heading"),
        ("[per-file-ignores]\nx = 3", "write per-file-ignores"),
        ("select = [", "mend"),
    ],
)
def test_mistakes_in_settings_are_said(text: str, remedy: str, tmp_path: Path) -> None:
    """A setting that does nothing would be the very thing that this linter looks for."""
    (tmp_path / "lora-lab.toml").write_text(text)
    with pytest.raises(Failure) as caught:
        settings_for(tmp_path)
    assert remedy in caught.value.remedy
    assert "lora-lab.toml" in caught.value.what
