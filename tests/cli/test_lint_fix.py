"""`lora-lab lint --fix` on real files: links, permissions, formats, the standard input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli import group

REQUIRED = {"base_model": "b", "img_folder": "i", "output_folder": "o"}
TOML = 'base_model = "b" # mine\r\nimg_folder = "i"\r\noutput_folder = "o"\r\nnet_dim = "8" # eight\r\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command on the text alone."""
    result = CliRunner().invoke(group, ["lint", "--no-disk", "--isolated", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_toml_through_a_link(folder: Path) -> None:
    """The file behind the link changes where it must, the link stays one, and so does the file's mode."""
    Path("real.toml").write_bytes(b"\xef\xbb\xbf" + TOML.encode())
    Path("real.toml").chmod(0o604)
    Path("link.toml").symlink_to("real.toml")
    assert "fixed LL003 net_dim" in run("--fix", "link.toml").output
    assert Path("real.toml").read_bytes() == b"\xef\xbb\xbf" + TOML.replace('"8"', "8").encode()
    assert Path("link.toml").is_symlink()
    assert Path("real.toml").stat().st_mode & 0o777 == 0o604
    assert sorted(path.name for path in folder.iterdir()) == ["link.toml", "real.toml"]


def test_read_only_file_is_left(folder: Path) -> None:
    """One clear line, exit code 2, nothing changed; the other file is mended all the same."""
    for name in ("locked.toml", "open.toml"):
        Path(name).write_bytes(TOML.encode())
    Path("locked.toml").chmod(0o444)
    result = run("--fix", "locked.toml", "open.toml")
    assert result.exit_code == 2
    assert [line for line in result.stderr.splitlines() if line] == [
        "error: can't write locked.toml: it is read-only; make it writable, or leave --fix out"
    ]
    assert Path("locked.toml").read_bytes() == TOML.encode()
    assert Path("open.toml").read_bytes() == TOML.replace('"8"', "8").encode()


@pytest.mark.parametrize("data", [b'\xff\xfe{\x00"\x00', b'{"net_dim": "8", \xe4', b"\xef\xbb\xbfnet_dim = 8\r\n", b""])
def test_what_is_not_mended_comes_back_as_it_was(folder: Path, data: bytes) -> None:
    """From the standard input to the standard output, every byte."""
    assert run("--fix", "-", stdin=data).stdout_bytes == data


def test_fixes_that_meet_in_one_key(folder: Path) -> None:
    """Of two fixes for one key the first decides; the result is fixed, read and judged again."""
    values = {**REQUIRED, "keep_tokens": "1", "max_steps": "100", "num_epochs": 3}
    Path("c.json").write_text(json.dumps(values, indent=1))
    run("--fix", "c.json")
    once = Path("c.json").read_bytes()
    assert json.loads(once) == {**REQUIRED, "max_steps": 100}
    assert "fixed" not in run("--fix", "c.json").output
    assert Path("c.json").read_bytes() == once


def test_diff_of_another_programs_file(folder: Path) -> None:
    """It shows what --fix would write, in the file's own keys, and writes nothing."""
    text = 'pretrained_model_name_or_path = "b"\ntrain_data_dir = "i"\nnetwork_dim = "8"\n'
    Path("sd.toml").write_text(text)
    result = run("--diff", "sd.toml")
    assert result.exit_code == 1
    assert '-network_dim = "8"\n+network_dim = 8\n' in result.stdout
    assert Path("sd.toml").read_text() == text
