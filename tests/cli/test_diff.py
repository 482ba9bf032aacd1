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


def test_values_as_people_write_them(tmp_path: Path) -> None:
    """A default has its usual spelling, arguments are pairs, and an empty path is not set."""
    other = tmp_path / "b.toml"
    other.write_text('pretrained_model_name_or_path = "b"\noptimizer_args = ["d=0.5", "e=1"]\n')
    said = run(config(tmp_path / "a.json", optimizer_type="Lion", optimizer_args={"d": "0.7"}), other).stdout
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in said.splitlines()[1:]}
    assert rows["optimizer_type"] == "Lion (AdamW)"
    assert rows["optimizer_args"] == "d=0.7 d=0.5, e=1"
    assert rows["output_folder"] == "o (not set)"


def test_across_dialects(tmp_path: Path) -> None:
    """A file and its conversion do not differ."""
    out = tmp_path / "a.yaml"
    CliRunner().invoke(group, ["convert", str(CASES / "kohya-gui.json"), "-o", str(out)])
    assert run(CASES / "kohya-gui.json", out).exit_code == 0


def test_unreadable(tmp_path: Path) -> None:
    """A file that is not there is the user's failure."""
    with pytest.raises(Failure):
        run(tmp_path / "no.json", tmp_path / "no.json")


def test_json(tmp_path: Path) -> None:
    """Tools get both meanings, whether the files say them, and what was not compared."""
    other = tmp_path / "b.toml"
    other.write_text(
        'pretrained_model_name_or_path = "b"\ntrain_data_dir = "i"\noutput_dir = "o"\nnetwork_dim = 16\n'
        "fp8_base = true\n"
    )
    result = run("--format", "json", config(tmp_path / "a.json", net_dim=8), other)
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    rows = {row.pop("key"): row for row in said["differences"]}
    assert rows["net_dim"] == {"a": 8, "b": 16, "a_is_written": True, "b_is_written": True}
    assert (rows["alpha"]["b"], rows["alpha"]["b_is_written"]) == (1.0, False)
    assert said["b"]["not_compared"] == ["fp8_base"]
    assert "sd-scripts" in said["b"]["read_as"]
    same = run("--format", "json", tmp_path / "a.json", tmp_path / "a.json")
    assert (same.exit_code, json.loads(same.stdout)["differences"]) == (0, [])


def test_columns_and_colours(tmp_path: Path) -> None:
    """Columns line up where signs are two columns wide; colours are for terminals only."""
    first = config(tmp_path / "a.json", change_output_name="猫の絵", net_dim=8)
    second = config(tmp_path / "b.json", change_output_name="cat", net_dim=16)
    head, *lines = run(first, second).stdout.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert rows["net_dim"].index("16") == head.index(str(second))
    assert rows["change_output_name"].index("cat") + len("猫の絵") == head.index(str(second))
    coloured = CliRunner().invoke(group, ["diff", str(first), str(second)], color=True).output
    assert "\x1b[31m8" in coloured
    assert "\x1b" not in run(first, second).output


def test_a_lora_file(tmp_path: Path) -> None:
    """A LoRA's own settings are compared with those of a config."""
    meta = {"ss_network_dim": "16", "ss_network_alpha": "8.0", "ss_learning_rate": "0.0001", "ss_seed": "1"}
    header = json.dumps({"__metadata__": meta}).encode()
    (tmp_path / "l.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    result = run(tmp_path / "l.safetensors", config(tmp_path / "b.json", net_dim=8, alpha=8, test_seed=1))
    assert result.exit_code == 1
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()[1:]}
    assert rows["net_dim"] == ["16", "8"]
    assert not {"alpha", "test_seed"} & rows.keys()
    assert not {"base_model", "img_folder", "output_folder"} & rows.keys(), "nobody recorded them"
    assert "not recorded in" in result.stderr
