"""The README says what is true."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lora_lab.cli import COMMANDS, group

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_is_described() -> None:
    """The table of commands has a row for every command and for nothing else."""
    rows = re.findall(r"^\| `lora-lab (\w+)", README, flags=re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


def test_every_option_named_exists() -> None:
    """Every long option that the command table names is one of that command's."""
    found = 0
    for row in re.findall(r"^\| `lora-lab \w+.*$", README, flags=re.MULTILINE):
        name = re.match(r"\| `lora-lab (\w+)", row)
        assert name is not None
        text = CliRunner().invoke(group, [name[1], "--help"]).output
        for option in re.findall(r"--[a-z][a-z-]+", row):
            found += 1
            assert option in text, f"{name[1]} has no {option}"
    assert found > 0


def test_ci_runs_the_readmes_test_command() -> None:
    """The block after the test-command mark, which CI runs, makes an environment and calls pytest."""
    match = re.search(r"<!-- test command -->\n```bash\n(.+)\n```", README)
    assert match is not None
    assert "-m venv" in match[1]
    assert match[1].rpartition("&& ")[2].startswith("pytest ")


def test_the_lint_example_is_what_lint_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config and the answer shown under Lint are a real pair."""
    config = re.search(r"```json\n(\{.+?\n\})\n```", README, flags=re.DOTALL)
    shown = re.search(r"\$ lora-lab lint --no-disk config.json\n(.+?)```", README, flags=re.DOTALL)
    assert config is not None
    assert shown is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(config[1])
    result = CliRunner().invoke(group, ["lint", "--no-disk", "config.json"])
    assert result.exit_code == 1
    assert result.output.strip() == shown[1].strip()


def test_files_that_the_readme_names_exist() -> None:
    """Every file of the repository that the README points to is there."""
    names = re.findall(r"\]\((?!http)([^)]+)\)|`((?:schemas|experiments)/[\w.]+)`", README)
    paths = [one or other for one, other in names]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
