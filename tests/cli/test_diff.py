"""`lora-lab diff`: differences of meaning, not of spelling."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli import group
from lora_lab.failure import Failure

CASES = Path(__file__).parents[1] / "cases" / "dialects"


def run(*arguments: str | Path) -> Result:
    """Run the command; an exception is a failure of the test, unless it is the user's `Failure`."""
    result = CliRunner().invoke(group, ["diff", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def config(path: Path, **values: object) -> Path:
    """Write a config."""
    path.write_text(json.dumps({"base_model": "b", "img_folder": "i", "output_folder": "o", **values}))
    return path


def test_same_meaning(tmp_path: Path) -> None:
    """Defaults that are written out, and other spellings of a value, are no difference."""
    first = config(tmp_path / "a.json", net_dim=32, train_resolution=512, optimizer_args={"d": "0.5"})
    second = config(tmp_path / "b.json", train_resolution="512,512", optimizer_args=["d=0.5"], unet_lr=1e-4)
    result = run(first, second)
    assert (result.exit_code, result.stdout) == (0, "no difference\n")


def test_differences(tmp_path: Path) -> None:
    """A row for each key that differs; a value that the file does not say is in brackets."""
    result = run(config(tmp_path / "a.json", net_dim=8, flip_aug=True), config(tmp_path / "b.json", net_dim=16))
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert rows == [["net_dim", "8", "16"], ["flip_aug", "true", "(false)"]]
    assert len({line.rindex("  ") for line in result.stdout.splitlines()}) == 1


def test_across_dialects(tmp_path: Path) -> None:
    """A file and its conversion do not differ."""
    out = tmp_path / "a.yaml"
    CliRunner().invoke(group, ["convert", str(CASES / "kohya-gui.json"), "-o", str(out)])
    assert run(CASES / "kohya-gui.json", out).exit_code == 0


def test_unreadable(tmp_path: Path) -> None:
    """A file that is not there is the user's failure."""
    with pytest.raises(Failure):
        run(tmp_path / "no.json", tmp_path / "no.json")
