"""The derived files: fresh in the repository, and written or checked by the command."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lora_lab.catalog import OUTPUTS, parameter_table, render, stale
from lora_lab.cli.catalog import command
from lora_lab.config import PARAMETERS
from lora_lab.failure import Failure

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_committed_files_are_fresh() -> None:
    """Nobody changed a parameter or a rule without running `lora-lab catalog`."""
    assert list(stale(REPOSITORY)) == []
    assert (REPOSITORY / "schemas" / "train.schema.json").is_file()


def test_every_schema_in_the_repository_is_derived() -> None:
    """No schema is written by hand."""
    committed = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "schemas").glob("*.json")}
    assert committed
    assert committed <= set(OUTPUTS)


def checkout(folder: Path) -> Path:
    """Make a folder that looks like a checkout, with a README that has the markers."""
    (folder / "pyproject.toml").write_text("")
    (folder / "README.md").write_text("# Title\n\n<!-- parameters -->\nold\n<!-- /parameters -->\n\nend\n")
    return folder


def test_the_command_writes_what_is_missing_and_then_is_content(tmp_path: Path) -> None:
    """The first run writes every file, the second none, and nothing temporary is left."""
    root = checkout(tmp_path)
    first = CliRunner().invoke(command, ["--root", str(root)], standalone_mode=False)
    assert sorted(first.output.splitlines()) == sorted(f"wrote {path}" for path in OUTPUTS)
    assert {path.relative_to(root) for path in root.rglob("*") if path.is_file()} == {*OUTPUTS, Path("pyproject.toml")}
    second = CliRunner().invoke(command, ["--root", str(root)], standalone_mode=False)
    assert (second.output, second.return_value) == ("", 0)
    assert json.loads((root / "schemas" / "train.schema.json").read_text(encoding="utf-8"))["required"]


def test_check_names_the_stale_file_and_writes_nothing(tmp_path: Path) -> None:
    """--check exits with 1 while a file differs, and with 0 after it was written."""
    root = checkout(tmp_path)
    CliRunner().invoke(command, ["--root", str(root)], standalone_mode=False)
    (root / "schemas" / "train.schema.json").write_text("{}")
    stale_run = CliRunner().invoke(command, ["--check", "--root", str(root)], standalone_mode=False)
    assert stale_run.return_value == 1
    assert stale_run.output == "schemas/train.schema.json is out of date: run `lora-lab catalog`\n"
    assert (root / "schemas" / "train.schema.json").read_text() == "{}"
    CliRunner().invoke(command, ["--root", str(root)], standalone_mode=False)
    assert CliRunner().invoke(command, ["--check", "--root", str(root)], standalone_mode=False).return_value == 0


def test_only_the_table_of_the_readme_changes(tmp_path: Path) -> None:
    """What stands outside the markers stays; without markers, or without the file, nothing is derived."""
    text = render(checkout(tmp_path))[Path("README.md")]
    assert text.startswith("# Title\n\n<!-- parameters -->\n| key |")
    assert text.endswith("|\n<!-- /parameters -->\n\nend\n")
    (tmp_path / "README.md").write_text("no markers")
    assert render(tmp_path)[Path("README.md")] == "no markers"
    (tmp_path / "README.md").unlink()
    assert Path("README.md") not in stale(tmp_path)


def test_the_table_has_a_row_of_four_cells_for_every_key() -> None:
    """Two head lines and the keys in their order, no cell broken by a stray bar."""
    lines = parameter_table().splitlines()
    assert [len(re.split(r"(?<!\\)\|", line)) for line in lines] == [6] * (len(PARAMETERS) + 2)
    assert [line.split("`")[1] for line in lines[2:]] == list(PARAMETERS)
    assert "| `net_dim` | whole number from 1 to 100000 | `32` | Rank of the LoRA" in lines[14]


def test_elsewhere_than_in_a_checkout_it_says_so(tmp_path: Path) -> None:
    """Without a pyproject.toml nothing is written into a stranger's folder."""
    with pytest.raises(Failure, match="not a checkout"):
        CliRunner().invoke(command, ["--root", str(tmp_path)], standalone_mode=False, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []
