"""The command line as a whole: names, help, and one line for every failure."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from lora_lab import __version__
from lora_lab.cli import COMMANDS, group, main
from lora_lab.failure import Failure


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    """Each listed command can be imported and explains itself and each of its options."""
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0, result.output
    command = group.get_command(click.Context(group), name)
    assert command is not None
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert all(option.help for option in options), [option.name for option in options if not option.help]


def test_help_imports_no_command() -> None:
    """`lora-lab --help` lists every command without importing one, so that it is quick."""
    show = "import sys; from lora_lab.cli import group"
    code = f"{show}; group(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "lora_lab.cli.lint" not in out
    assert "pydantic" not in out


def test_unknown_command_is_refused() -> None:
    """A misspelt command exits with 2 and says so."""
    result = CliRunner().invoke(group, ["lnt"])
    assert result.exit_code == 2
    assert "lnt" in result.output


def test_version() -> None:
    """`--version` names the program and its version."""
    assert CliRunner().invoke(group, ["--version"]).output == f"lora-lab, version {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Failure("x.json is missing", "give a file"), 2, "error: x.json is missing\n  give a file\n"),
        (Failure("no space left"), 2, "error: no space left\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.UsageError("bad option"), 2, "Error: bad option\n"),
    ],
)
def test_errors_become_a_line_and_a_code(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command raises for its user is told on stderr in a line or two, with an exit code, without a traceback."""

    def broken(**_: object) -> None:
        raise error

    monkeypatch.setattr(group, "main", broken)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    assert capsys.readouterr().err == text


def test_a_commands_answer_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that a command returns is the process's exit code; None is 0."""
    for answer, code in ((1, 1), (0, 0), (None, 0)):
        monkeypatch.setattr(group, "main", lambda answer=answer, **_: answer)
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code
