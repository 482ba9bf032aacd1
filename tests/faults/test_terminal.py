"""What other people wrote never steers the terminal: no command prints a control character, whatever a file holds."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lora_lab
from lora_lab.cli import _run, group
from lora_lab.failure import Failure
from lora_lab.lint.formats import FORMATS
from lora_lab.printable import printable, printable_lines

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"
EVIL = "x\x1b]0;owned\x07\x1b[2J\x9b31m\x08\x7f\u202ey\r"
"""Sets a title, clears the screen, colours, goes back, deletes, turns the reading direction, overwrites the line."""

SAY = sys.modules["lora_lab.cli.say"]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is printed goes to a terminal, and this is the working folder."""
    monkeypatch.setattr(SAY, "_is_terminal", lambda err: True)
    monkeypatch.chdir(tmp_path)


def printed(*words: str) -> str:
    """Return what a command prints, its failure included, as `main` does."""
    result = CliRunner().invoke(group, list(words))
    failure = result.exception
    if isinstance(failure, Failure):
        return result.output + printable(str(failure))
    assert failure is None or isinstance(failure, SystemExit), (words, failure)
    return result.output


def config(**values: object) -> dict[str, object]:
    """A config that names what nobody would."""
    base = {"base_model": f"b{EVIL}", "img_folder": f"i{EVIL}", "output_folder": "out", "net_dim": f"8{EVIL}"}
    return {**base, f"key{EVIL}": EVIL, "scheduler": f"cos{EVIL}", "sample_prompts": [EVIL], **values}


def commands() -> dict[str, list[str]]:
    """Every command that reads what others wrote."""
    lint = ["lint", "--isolated", "c.json"]
    return {
        "lint": lint,
        **{f"lint {form}": [*lint, "--format", form] for form in FORMATS},
        "lint --diff": [*lint, "--diff", "--unsafe-fixes"],
        "lint --statistics": [*lint, "--statistics"],
        "lint a name": ["lint", f"no{EVIL}.json"],
        "convert": ["convert", "c.json"],
        "convert yaml": ["convert", "k.json"],
        "diff": ["diff", "c.json", "k.json"],
        "diff --format json": ["diff", "c.json", "k.json", "--format", "json"],
        "train": ["train", "c.json", "--no-tracking"],
        "train a name": ["train", f"no{EVIL}.json"],
        "sweep": ["sweep", "--dry-run", "grid.yaml"],
        "sweep broken": ["sweep", "--dry-run", "broken.yaml"],
        "status": ["status", "sweeps"],
        "status json": ["status", "sweeps", "--format", "json"],
        "explain": ["explain", EVIL],
        "sync": ["sync", f"no{EVIL}"],
    }


@pytest.mark.parametrize("name", commands())
def test_no_command(name: str, tmp_path: Path) -> None:
    """Keys, values, paths, captions, names of runs and of files: each is shown, none is obeyed."""
    Path("c.json").write_text(json.dumps(config(), ensure_ascii=False), encoding="utf-8")
    kohya = {"LoRA_type": "Standard", "network_dim": EVIL, "pretrained_model_name_or_path": EVIL, "output_name": EVIL}
    Path("k.json").write_text(json.dumps(kohya))
    values = json.dumps([f"{EVIL}{n}" for n in range(2)])
    base = json.dumps(config(net_dim=8))
    Path("grid.yaml").write_text(f"base: {base}\nparameters:\n  training_comment: {values}\n", encoding="utf-8")
    Path("broken.yaml").write_text(f'name: {json.dumps(EVIL)}\nbase: {{}}\nparameters: {{"{chr(0x85)}a": 1}}\n')
    folder = tmp_path / "sweeps" / "a"
    folder.mkdir(parents=True)
    run = {"name": EVIL, "identity": "i", "axes": {EVIL: EVIL}}
    record = {"name": EVIL, "metric": EVIL, "goal": "minimize", "axes": [EVIL], "runs": [run]}
    (folder / "sweep.json").write_text(json.dumps(record))
    said = printed(*commands()[name])
    assert said.strip()
    assert not CONTROL.search(said), CONTROL.search(said)


def test_captions(tmp_path: Path) -> None:
    """A caption and a picture's name are shown without what they hold."""
    pictures = tmp_path / "pictures" / "1_x"
    pictures.mkdir(parents=True)
    for number, source in enumerate(sorted((PACKAGED / "pictures").glob("*/*.png"))[:3]):
        shutil.copy(source, pictures / f"{number}{EVIL[:5]}.png")
        (pictures / f"{number}{EVIL[:5]}.txt").write_text(f"{EVIL} " * 60)
    values = {"base_model": str(PACKAGED / "base"), "img_folder": "pictures", "output_folder": "out", "net_dim": 8}
    Path("c.json").write_text(json.dumps(values))
    said = printed("lint", "--isolated", "c.json")
    assert "caption" in said
    assert not CONTROL.search(said)


def test_failures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What `main` says of a failure, and click of a wrong option."""
    for words in (["lint", f"--no{EVIL}"], ["train", f"{EVIL}.json"], [EVIL]):
        monkeypatch.setattr("sys.argv", ["lora-lab", *words])
        assert _run() == 2
        said = capsys.readouterr()
        assert said.err.strip()
        assert not CONTROL.search(said.err), words


def test_programs_get_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is piped into a program is not changed: a converted config says what it said."""
    monkeypatch.setattr(SAY, "_is_terminal", lambda err: False)
    Path("c.json").write_text(json.dumps({"base_model": "b", "training_comment": EVIL}))
    said = CliRunner().invoke(group, ["convert", "c.json"]).stdout
    assert json.loads(said)["training_comment"] == EVIL


def test_printable() -> None:
    """Each sign that is not printable becomes one that is; Chinese, Japanese and emoji stay."""
    assert printable("日本語 é 😀") == "日本語 é 😀"
    assert printable("a\tb\u3000c\nd") == "a b c�d"
    assert printable_lines("a\tb\nc\x1bd") == "a\tb\nc�d"
    assert len(printable(EVIL)) == len(EVIL)
