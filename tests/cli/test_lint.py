"""`lora-lab lint`: what it prints and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli import group

GOOD = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a clean, a bad and a broken config and what the clean one names."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "pictures" / "10_cat").mkdir(parents=True)
    (tmp_path / "pictures" / "10_cat" / "a.png").touch()
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    (tmp_path / "bad.json").write_text(json.dumps(GOOD | {"net_dim": "8", "save_as": "pt"}))
    (tmp_path / "note.json").write_text(json.dumps(GOOD | {"flip_aug": True}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    """Run the command; an exception that is no exit is a failure of the test."""
    result = CliRunner().invoke(group, ["lint", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_clean_file_ends_with_0(folder: Path) -> None:
    """Nothing found is said in one line."""
    result = run("good.json")
    assert (result.exit_code, result.output) == (0, "nothing found in 1 file\n")


def test_findings_end_with_1(folder: Path) -> None:
    """Each finding has its place, and the last line counts."""
    result = run("bad.json", "good.json")
    assert result.exit_code == 1
    assert "bad.json:1:" in result.output
    assert "LL003 error" in result.output
    assert result.output.endswith("1 error, 1 warning in 2 files\n")


def test_notes_alone_end_with_0(folder: Path) -> None:
    """What is only worth knowing is printed and does not fail a script."""
    result = run("note.json")
    assert result.exit_code == 0
    assert "LL623 info" in result.output


@pytest.mark.parametrize("name", ["gone.json", "x" * 5000])
def test_unreadable_file_ends_with_2(folder: Path, name: str) -> None:
    """A file that can't be read is said on stderr, and the others are judged all the same."""
    result = run(name, "bad.json")
    assert result.exit_code == 2
    assert "error: " in result.stderr
    assert "LL003 error" in result.stdout


def test_nothing_to_do_ends_with_2(folder: Path) -> None:
    """Without a file there is nothing to judge."""
    assert run().exit_code == 2


def test_no_disk_looks_at_the_text_alone(folder: Path) -> None:
    """What the config names is not looked for."""
    Path("elsewhere.json").write_text(json.dumps(GOOD | {"base_model": "gone"}))
    assert run("elsewhere.json").exit_code == 1
    assert run("--no-disk", "elsewhere.json").exit_code == 0


def test_paths_start_from_the_config(folder: Path) -> None:
    """A config in another folder finds what lies beside it."""
    (folder / "deep").mkdir()
    Path("deep/c.json").write_text(json.dumps(GOOD))
    assert "LL101" in run("deep/c.json").output
    Path("deep/d.json").write_text(json.dumps({key: f"../{value}" for key, value in GOOD.items()}))
    assert run("deep/d.json").exit_code == 0


def test_stdin(folder: Path) -> None:
    """A dash reads the config from the standard input, bytes of any kind."""
    result = run("-", stdin=json.dumps(GOOD | {"batch_size": 0}))
    assert result.exit_code == 1
    assert "<stdin>:1:" in result.output
    assert run("-", stdin=b"\xff\xfe\x00").exit_code == 1


def test_folder_is_searched(folder: Path) -> None:
    """All .json files are judged, those of other programs and of hidden folders passed over."""
    (folder / ".hidden").mkdir()
    Path(".hidden/bad.json").write_text("{")
    result = run(".")
    assert result.exit_code == 1
    assert "in 3 files" in result.output
    assert "1 .json file(s) are no training configs" in result.output
    (folder / "nothing").mkdir()
    assert run("nothing").exit_code == 2


def test_json_format(folder: Path) -> None:
    """Tools get every finding with place, severity and fix; a clean file gives an empty list."""
    assert json.loads(run("--format", "json", "good.json").stdout) == {"findings": []}
    found = json.loads(run("--format", "json", "bad.json").stdout)["findings"]
    assert [one["code"] for one in found] == ["LL003", "LL701"]
    text = Path("bad.json").read_text()
    assert text[found[0]["start"] : found[0]["end"]] == '"8"'
    assert found[0]["fix"] == {"safe": True, "edits": [{"key": "net_dim", "action": "set", "value": 8}]}


def test_no_colours_in_a_file(folder: Path) -> None:
    """Escape sequences go to terminals only, and those of the config never."""
    Path("evil\x1b.json").write_text(json.dumps(GOOD) + "\x1b[31m")
    result = run("evil\x1b.json", "bad.json")
    assert result.exit_code == 1
    assert "\x1b" not in result.output


def test_colours_on_a_terminal(folder: Path) -> None:
    """Errors are red where colours can be seen."""
    result = CliRunner().invoke(group, ["lint", "bad.json"], color=True)
    assert "\x1b[31m" in result.output
