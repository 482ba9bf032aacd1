"""What is reported, as a user asks for it: settings, suppressions, colours; real processes where that counts."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import lora_lab
from lora_lab.cli import group

GOOD = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}
BAD = GOOD | {"net_dim": "32", "save_as": "pt", "flip_aug": True}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a project: settings at its top, configs in folders below."""
    for name in ("old", "new", "old/deep"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.json").write_text(json.dumps(BAD))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments: str) -> dict[str, set[str]]:
    """Return the codes that are reported for each file."""
    result = CliRunner().invoke(group, ["lint", "--no-disk", "--format", "json", *arguments])
    assert result.exit_code in (0, 1), result.stderr
    codes: dict[str, set[str]] = {}
    for one in json.loads(result.stdout)["findings"]:
        codes.setdefault(one["path"], set()).add(one["code"])
    return codes


def said(*arguments: str) -> list[str]:
    """Return the lines on stderr of a call that could not do its work."""
    result = CliRunner().invoke(group, ["lint", "--no-disk", *arguments])
    assert result.exit_code == 2
    return result.stderr.splitlines()


ALL = {"LL003", "LL701", "LL623"}


def test_without_settings_all_is_reported(folder: Path) -> None:
    """The starting point of the tests below."""
    assert found("new/c.json") == {"new/c.json": ALL}


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ('select = ["LL7"]', {"LL701"}),
        ('select = ["LL7", "wrong-type"]', {"LL701", "LL003"}),
        ('select = ["ALL"]\nignore = ["LL"]', set()),
        ('ignore = ["LL6", "pickle-format"]', {"LL003"}),
        ('select = ["LL7"]\nignore = ["LL701"]', set()),
        ('select = ["LL701"]\nignore = ["LL7"]', {"LL701"}),
        ('severity = "warning"', {"LL003", "LL701"}),
        ('severity = "error"', {"LL003"}),
        ('[per-file-ignores]\n"*.json" = ["LL003"]', {"LL701", "LL623"}),
        ('[per-file-ignores]\n"c.json" = ["ALL"]', set()),
    ],
)
def test_settings(settings: str, codes: set[str], folder: Path) -> None:
    """Each setting by itself, in lora-lab.toml and, under its heading, in pyproject.toml."""
    Path("lora-lab.toml").write_text(settings)
    assert found("new/c.json").get("new/c.json", set()) == codes
    Path("lora-lab.toml").unlink()
    inside = settings.replace("[per-file-ignores]", "[tool.lora-lab.per-file-ignores]")
    Path("pyproject.toml").write_text(f"[tool.lora-lab]\n{inside}")
    assert found("new/c.json").get("new/c.json", set()) == codes
    assert found("--isolated", "new/c.json") == {"new/c.json": ALL}


def test_the_nearest_settings_count_alone(folder: Path) -> None:
    """A folder's own file takes the place of the one above; a pyproject.toml that says nothing of lora-lab does not."""
    Path("pyproject.toml").write_text('[tool.lora-lab]\nignore = ["LL003"]')
    Path("old/lora-lab.toml").write_text('ignore = ["LL701"]')
    Path("old/deep/pyproject.toml").write_text('[project]\nname = "x"')
    below = {"old/c.json": ALL - {"LL701"}, "old/deep/c.json": ALL - {"LL701"}}
    assert found("old/c.json", "old/deep/c.json", "new/c.json") == {**below, "new/c.json": ALL - {"LL003"}}
    Path("old/pyproject.toml").write_text('[tool.lora-lab]\nignore = ["LL623"]')
    assert found("old/c.json") == {"old/c.json": ALL - {"LL701"}}


def test_settings_are_those_of_the_file_not_of_the_place_of_the_call(folder: Path) -> None:
    """From another folder, with .. in the path, the same file is judged by the same settings."""
    Path("new/lora-lab.toml").write_text('ignore = ["LL003"]')
    Path("old/lora-lab.toml").write_text('[per-file-ignores]\n"deep/*" = ["LL701"]')
    os.chdir("new")
    assert found("../old/deep/c.json") == {"../old/deep/c.json": ALL - {"LL701"}}
    assert found("../old/c.json") == {"../old/c.json": ALL}
    absolute = str(folder / "old" / "deep" / ".." / "deep" / "c.json")
    assert found(absolute) == {absolute: ALL - {"LL701"}}


@pytest.mark.parametrize(
    "pattern", ["old/*", "old/**", "./old/*", "old\\\\*", "old/c.json", "*/c.json", "ol?/[c].json"]
)
def test_patterns_start_from_the_settings(pattern: str, folder: Path) -> None:
    """A pattern is relative to the settings' folder, written with / or, as on Windows, with \\."""
    Path("lora-lab.toml").write_text(f'[per-file-ignores]\n"{pattern}" = ["LL701"]')
    assert found("old/c.json") == {"old/c.json": ALL - {"LL701"}}
    assert ("LL701" in found("new/c.json")["new/c.json"]) == (pattern != "*/c.json")


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ('ignore = ["LL998"]', 'ignore: there is no rule "LL998"; did you mean LL'),
        ('select = ["pickle-fromat"]', 'select: there is no rule "pickle-fromat"; did you mean pickle-format?'),
        ('[per-file-ignores]\n"a" = ["LLX"]', 'per-file-ignores: there is no rule "LLX"'),
        ('ignroe = ["LL701"]', 'there is no setting "ignroe"; did you mean ignore?'),
        ('severity = "fatal"', "severity is 'fatal'; it is one of error, warning, info"),
        ('ignore = "LL701"', 'ignore is no list of texts; write ignore = ["LL403"]'),
        ("ignore = [", "can't read the settings"),
    ],
)
def test_settings_that_cannot_be_used_are_said_once(settings: str, remedy: str, folder: Path) -> None:
    """One line for all files: where, what, and what to do; exit code 2."""
    Path("lora-lab.toml").write_text(settings)
    (line,) = said("old/c.json", "new/c.json", "old/deep/c.json")
    assert line.startswith("error: ")
    assert "lora-lab.toml" in line
    assert remedy in line


def test_suppressions_and_their_ends(folder: Path) -> None:
    """With a reason a finding is gone; the suppression that hides nothing any more is reported, and can be selected."""
    text = json.dumps(BAD, indent=1).replace('"pt",', '"pt", // lora-lab: ignore[LL701] an old viewer')
    Path("c.json").write_text(text)
    assert found("c.json") == {"c.json": ALL - {"LL701"}}
    Path("c.json").write_text(text.replace('"pt"', '"safetensors"'))
    assert found("c.json") == {"c.json": (ALL - {"LL701"}) | {"LL013"}}
    assert found("--select", "suppression-without-effect", "c.json") == {"c.json": {"LL013"}}


def process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process with a pipe, and only those variables about colours that are given."""
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"PYTHONPATH": str(Path(lora_lab.__file__).parents[1])} | variables
    command = [sys.executable, "-m", "lora_lab", "lint", "--no-disk", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
def test_colours_in_a_pipe(variables: dict[str, str], coloured: bool, folder: Path) -> None:
    """None, unless asked for; what is for tools never has any, nor has a file."""
    done = process("new/c.json", "gone.json", **variables)
    assert done.returncode == 2
    assert ("\x1b[" in done.stdout) == ("\x1b[" in done.stderr) == coloured
    if coloured:
        assert "\x1b" not in process("--format", "json", "new/c.json", **variables).stdout
        process("--output-file", "report.txt", "new/c.json", **variables)
        assert "\x1b" not in Path("report.txt").read_text()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return the two ends of a terminal."""
    ends = pty.openpty()
    yield ends
    os.close(ends[0])


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_on_a_terminal(no_color: str, folder: Path, terminal: tuple[int, int]) -> None:
    """They are there, unless NO_COLOR is set."""
    reader, writer = terminal
    environment = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"}
    environment |= {"PYTHONPATH": str(Path(lora_lab.__file__).parents[1]), "NO_COLOR": no_color, "TERM": "xterm"}
    command = [sys.executable, "-m", "lora_lab", "lint", "--no-disk", "--select", "LL701", "new/c.json"]
    subprocess.run(command, env=environment, stdout=writer, stderr=writer, stdin=subprocess.DEVNULL, check=False)
    os.close(writer)
    assert (b"\x1b[" in os.read(reader, 100_000)) == (no_color == "")
