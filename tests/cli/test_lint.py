"""`lora-lab lint`: what it prints and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lora_lab
from lora_lab.cli import group
from lora_lab.failure import Failure

GOOD = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a clean, a bad and a broken config and what the clean one names."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "pictures" / "10_cat").mkdir(parents=True)
    for name in "abcde":
        Image.new("RGB", (512, 512)).save(tmp_path / "pictures" / "10_cat" / f"{name}.png")
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    (tmp_path / "bad.json").write_text(json.dumps(GOOD | {"net_dim": "32", "save_as": "pt"}))
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
    assert "1 error, 1 warning in 2 files\n" in result.output
    assert "1 can be fixed with --fix, 1 more with --fix --unsafe-fixes" in result.output.splitlines()[-1]


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
    """Configs of every format are judged; other files, hidden folders and environments are passed over silently."""
    for name in (".hidden", "venv", "own_env"):
        (folder / name).mkdir()
        Path(name, "bad.json").write_text(json.dumps(GOOD | {"net_dim": "x"}))
    Path("own_env/pyvenv.cfg").touch()
    Path("package.json").write_text('{"name": "x", "version": "1", "scripts": {}, "vae": 1}')
    Path("compose.yaml").write_text("services:\n  a:\n    image: x\n")
    Path("build.sh").write_text("make\n")
    Path("notes.txt").write_text(json.dumps(GOOD))
    before = run(".")
    assert before.exit_code == 1
    assert "in 3 files" in before.output
    assert "passed over" not in before.output
    Path("a.toml").write_text("net_dim = 'x'\nalpha = 1\n")
    Path("b.yaml").write_text("net_dim: x\nalpha: 1\n")
    Path("c.yml").write_text("net_dim: x\nalpha: 1\n")
    Path("d.sh").write_text("accelerate launch train_network.py --network_dim=x --seed 1")
    Path("e.BAT").write_text("accelerate launch train_network.py ^\r\n--network_dim=x --seed 1")
    Path("f.ps1").write_text("python train_network.py `\n --network_dim=x --seed 1")
    after = run(".")
    assert "in 9 files" in after.output
    order = [line.partition(":")[0] for line in after.output.splitlines() if "LL003" in line]
    assert order == ["a.toml", "b.yaml", "bad.json", "c.yml", "d.sh", "e.BAT", "f.ps1"]


def test_too_large_is_one_line(folder: Path) -> None:
    """What is larger than any config ends with a line that says so, from a file and from the standard input."""
    text = json.dumps(GOOD) + " " * 2_000_000
    Path("large.json").write_text(text)
    for result in (run("large.json"), run("-", stdin=text), run("--dialect", "own", "large.json")):
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert "too large for a config" in result.stderr
    (folder / "inside").mkdir()
    Path("large.json").rename("inside/large.json")
    assert run("inside").exit_code == 0


def test_folder_without_configs(folder: Path) -> None:
    """A folder of other files is said in a line; one with no file that could be a config is an error."""
    (folder / "other").mkdir()
    Path("other/package.json").write_text("{}")
    result = run("other")
    assert result.exit_code == 0
    assert "no training config among 1 files" in result.output
    (folder / "nothing").mkdir()
    assert run("nothing").exit_code == 2


def test_globs_where_no_shell_resolves_them(folder: Path) -> None:
    """A pattern stands for what it matches, in order and once; a file that is called like a pattern is that file."""
    result = run("b*.json", "*.json", "./bad.json")
    assert "in 3 files" in result.output
    assert result.output.count("LL003 error") == 1
    assert "nothing matches x*.json" in run("x*.json").stderr
    Path("[a].json").write_text("{")
    assert "[a].json:1" in run("[a].json").output


def test_loops_of_links_are_survived(folder: Path) -> None:
    """A folder that holds itself through a link ends."""
    (folder / "deep").mkdir()
    (folder / "deep" / "again").symlink_to(folder)
    assert "in 3 files" in run(".").output


def test_json_format(folder: Path) -> None:
    """Tools get every finding with place, severity and fix; a clean file gives an empty list."""
    assert json.loads(run("--format", "json", "good.json").stdout) == {"findings": []}
    found = json.loads(run("--format", "json", "bad.json").stdout)["findings"]
    assert [one["code"] for one in found] == ["LL003", "LL701"]
    text = Path("bad.json").read_text()
    assert text[found[0]["start"] : found[0]["end"]] == '"32"'
    assert found[0]["fix"] == {"safe": True, "edits": [{"key": "net_dim", "action": "set", "value": 32}]}


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


def test_fix_mends_the_file(folder: Path) -> None:
    """The safe fix is written, said, and not done twice; what is left decides the exit code."""
    result = run("--fix", "bad.json")
    assert json.loads(Path("bad.json").read_text()) == GOOD | {"net_dim": 32, "save_as": "pt"}
    assert "bad.json: fixed LL003 net_dim\n" in result.output
    assert "LL003 error" not in result.output
    assert result.exit_code == 1
    before = Path("bad.json").stat().st_mtime_ns
    assert "fixed" not in run("--fix", "bad.json").output
    assert Path("bad.json").stat().st_mtime_ns == before
    assert run("--fix", "--unsafe-fixes", "bad.json").exit_code == 0
    assert json.loads(Path("bad.json").read_text())["save_as"] == "safetensors"
    assert sorted(path.name for path in folder.glob("*bad*")) == ["bad.json"]


def test_fix_keeps_bytes_and_permissions(folder: Path) -> None:
    """Byte-order mark, CRLF, mode and a link stay."""
    text = "\ufeff" + json.dumps(GOOD | {"net_dim": "32"}, indent=1).replace("\n", "\r\n")
    Path("crlf.json").write_bytes(text.encode())
    Path("crlf.json").chmod(0o640)
    Path("link.json").symlink_to("crlf.json")
    assert run("--fix", "link.json").exit_code == 0
    assert Path("crlf.json").read_bytes() == text.replace('"32"', "32").encode()
    assert Path("crlf.json").stat().st_mode & 0o777 == 0o640
    assert Path("link.json").is_symlink()


def test_fix_that_cannot_be_written_ends_with_2(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays as it was, and nothing lies about beside it."""
    before = Path("bad.json").read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = run("--fix", "bad.json")
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert Path("bad.json").read_text() == before
    assert not list(folder.glob("*.part"))


def test_diff_shows_and_changes_nothing(folder: Path) -> None:
    """A unified diff, exit code 1 where there is one."""
    before = Path("bad.json").read_text()
    result = run("--diff", "bad.json")
    assert Path("bad.json").read_text() == before
    assert result.exit_code == 1
    assert [line[:2] for line in result.stdout.splitlines()] == ["--", "++", "@@", "-{", "\\ ", "+{", "\\ "]
    assert "would fix LL003" in result.stderr
    assert (run("--diff", "good.json").exit_code, run("--diff", "good.json").stdout) == (0, "")
    assert "safetensors" in run("--diff", "--unsafe-fixes", "bad.json").stdout


def test_fix_of_standard_input_goes_to_standard_output(folder: Path) -> None:
    """An editor can pipe a text through."""
    result = run("--fix", "-", stdin=json.dumps(GOOD | {"net_dim": "32"}))
    assert json.loads(result.stdout) == GOOD | {"net_dim": 32}
    assert "fixed LL003" in result.stderr


def test_unsafe_fixes_alone_are_refused(folder: Path) -> None:
    """The option says which fixes, not what to do with them."""
    assert run("--unsafe-fixes", "bad.json").exit_code == 2


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        (["--select", "LL0"], {"LL003"}),
        (["--select", "pickle-format"], {"LL701"}),
        (["--ignore", "LL003,LL7"], set()),
        (["--ignore", "LL7", "--select", "LL701"], {"LL701"}),
        (["--ignore", "LL701", "--select", "LL7"], set()),
        (["--severity", "error"], {"LL003"}),
        (["--select", "ALL"], {"LL003", "LL701"}),
    ],
)
def test_what_is_wanted(options: list[str], codes: set[str], folder: Path) -> None:
    """Codes, topics and names; the text that names a rule more exactly counts."""
    result = run("--format", "json", *options, "bad.json")
    assert {one["code"] for one in json.loads(result.stdout)["findings"]} == codes
    assert result.exit_code == (1 if codes else 0)


def test_unknown_rule_is_refused(folder: Path) -> None:
    """A slip would silently select nothing."""
    with pytest.raises(Failure, match="LL993") as caught:
        CliRunner().invoke(
            group, ["lint", "--select", "LL993", "bad.json"], standalone_mode=False, catch_exceptions=False
        )
    assert "did you mean" in caught.value.remedy


def test_settings_of_the_folder_count(folder: Path) -> None:
    """The nearest settings above the config are used, unless told not to."""
    Path("pyproject.toml").write_text('[tool.lora-lab]\nignore = ["LL003", "pickle-format"]\n')
    assert run("bad.json").exit_code == 0
    assert run("--isolated", "bad.json").exit_code == 1
    Path("lora-lab.toml").write_text('ignor = ["LL003"]\n')
    result = run("bad.json", "note.json")
    assert result.exit_code == 2
    assert "did you mean ignore?" in result.stderr


def test_statistics_count(folder: Path) -> None:
    """One line for each rule that fired."""
    result = run("--statistics", "bad.json")
    assert result.output.splitlines()[:2] == [
        "1  LL003  error    wrong-type  (1 fixable)",
        "1  LL701  warning  pickle-format",
    ]


@pytest.mark.parametrize("form", ["text", "json", "github", "gitlab", "sarif", "junit"])
def test_output_file(form: str, folder: Path) -> None:
    """The report goes to a file; the exit code stays."""
    result = run("--format", form, "--output-file", "report", "bad.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "LL003" in Path("report").read_text(encoding="utf-8")
    assert run("--output-file", "gone/report", "good.json").exit_code == 2


def test_the_collector_runs_again(folder: Path) -> None:
    """The garbage collector runs again when the command is over."""
    code = (
        "import gc; from click.testing import CliRunner; from lora_lab.cli import group\n"
        "assert CliRunner().invoke(group, ['lint', 'good.json']).exit_code == 0\n"
        "assert gc.isenabled()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(lora_lab.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_grid_in_json_is_sent_to_sweep(tmp_path: Path) -> None:
    """A grid that is not YAML is not judged as a config: lint says what it is and which command trains it."""
    (tmp_path / "grid.json").write_text('{"base": "config.json", "parameters": {"net_dim": [8, 16]}, "method": "grid"}')
    result = run(str(tmp_path / "grid.json"))
    assert result.exit_code == 1
    assert "grid of a sweep" in result.output
    assert "lora-lab sweep" in result.output
