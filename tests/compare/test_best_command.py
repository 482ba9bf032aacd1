"""`lora-lab best`: the config that trains the best run again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_runs import make_sweep, seeded

from lora_lab.cli.best import command
from lora_lab.compare import best_config
from lora_lab.config import UNDECIDING, TrainConfig, check
from lora_lab.document.trainable import read_trainable
from lora_lab.failure import Failure
from lora_lab.lint import lint_document
from lora_lab.lint.disk import Disk


def ask(*words: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, list(map(str, words)), standalone_mode=False, catch_exceptions=False)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a sweep: rank 8 has the best mean, a lucky seed of rank 4 the best run; lint looks at no disk."""
    monkeypatch.setattr(best_config, "judge_in", lambda folder: lambda document: lint_document(document, None).findings)
    runs = [*seeded(4, 0.19, 0.31), *seeded(8, 0.20, 0.21)]
    return make_sweep(tmp_path, [replace(run, values={"keep_tokens": 2, "output_folder": "/o"}) for run in runs])


def config_in(path: Path) -> TrainConfig:
    """Return the config that `lora-lab train` reads from a file."""
    return check(read_trainable(path).values).config


def test_the_config_is_the_best_runs(sweep: Path, tmp_path: Path) -> None:
    """Whatever decides what is learned is as it was; the LoRA goes to a folder of its own; lint's safe fix is made."""
    result = ask(sweep, "-o", tmp_path / "b.json", "--lora", tmp_path / "b.safetensors")
    assert result.return_value == 0
    written = config_in(tmp_path / "b.json")
    trained = check(json.loads((sweep / "run1" / "config.json").read_text())).config
    differs = {key for key in type(written).model_fields if getattr(written, key) != getattr(trained, key)}
    assert differs - UNDECIDING == {"keep_tokens"}
    assert written.output_folder == str(sweep / "best")
    assert "mended, with the same result: keep_tokens has no effect" in result.stderr
    assert lint_document(read_trainable(tmp_path / "b.json"), None).usable
    assert "net_dim" in json.loads((tmp_path / "b.json").read_text())
    assert "buckets" not in json.loads((tmp_path / "b.json").read_text())
    assert (tmp_path / "b.safetensors").read_bytes() == b"lora"
    assert f"lora-lab train {tmp_path}/b.json trains it again" in result.output
    assert "one seed did well: over all seeds run3, run4 (val_loss 0.205) is better on average" in result.output


def test_the_mean_over_seeds_can_decide(sweep: Path, tmp_path: Path) -> None:
    """With --seed-mean the setting with the best mean wins, by its best run; TOML and YAML can be written too."""
    for name in ("b.toml", "b.yaml"):
        result = ask(sweep, "--seed-mean", "-o", tmp_path / name)
        assert (config_in(tmp_path / name).net_dim, config_in(tmp_path / name).test_seed) == (8, 1)
        assert "best: net_dim=8: val_loss 0.2050 ± 0.0071" in result.output
        assert "within the noise" in result.output
        assert " ~ " not in result.output


def test_nothing_is_written_over(sweep: Path, tmp_path: Path) -> None:
    """What is there stays without --force; with it, it is replaced."""
    for option, name in (("-o", "b.json"), ("--lora", "b.safetensors")):
        (tmp_path / name).write_text("mine")
        with pytest.raises(Failure, match="is there already"):
            ask(sweep, option, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
        ask(sweep, option, tmp_path / name, "--force")
        assert (tmp_path / name).read_text() != "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_what_can_not_be_done_is_one_line(sweep: Path, tmp_path: Path) -> None:
    """No run with the metric, an ending that nobody knows, a LoRA that is gone."""
    with pytest.raises(Failure, match="no run has finished with a speed"):
        ask(sweep, "--metric", "speed")
    with pytest.raises(Failure, match=r"can't write a \.txt there"):
        ask(sweep, "-o", tmp_path / "b.txt")
    (sweep / "run1" / "l.safetensors").unlink()
    assert "its LoRA is not there any more" in ask(sweep).output
    with pytest.raises(Failure, match="is not there any more"):
        ask(sweep, "--lora", tmp_path / "b.safetensors")


def test_an_error_of_lint_is_told_by_the_exit_code(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the pictures are gone the config is written all the same, and lint's error is shown."""
    monkeypatch.setattr(
        best_config,
        "judge_in",
        lambda folder: lambda document: lint_document(document, Disk(folder)).findings,
    )
    result = ask(sweep, "-o", tmp_path / "b.json")
    assert result.return_value == 1
    assert "error: " in result.stderr
    assert (tmp_path / "b.json").is_file()
