"""`lora-lab train` on what people really give it: one clear line for what is wrong, nothing half-written."""

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lora_lab
from lora_lab.cli import group, main
from lora_lab.cli.train_log import LOGS
from lora_lab.failure import Stopped

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"

Answer = tuple[int, str]
Train = Callable[..., Answer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two of the quickstart's pictures."""
    subset = tmp_path / "pictures" / "1_lumi"
    subset.mkdir(parents=True)
    for name in ("01.png", "01.txt", "02.png", "02.txt"):
        shutil.copy(PACKAGED / "pictures" / "4_lumi" / name, subset)
    return tmp_path


@pytest.fixture
def train(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Return a function that trains a config of two steps with some values changed: exit code and all output."""

    def run(text: str | None = None, **values: object) -> Answer:
        config = {
            "base_model": str(PACKAGED / "base"),
            "img_folder": "pictures",
            "output_folder": "out",
            "mixed_precision": "no",
            "train_resolution": 64,
            "min_bucket_resolution": 64,
            "max_bucket_resolution": 128,
            "max_steps": 2,
            **values,
        }
        (folder / "config.json").write_text(text if text is not None else json.dumps(config))
        monkeypatch.setattr(sys, "argv", ["lora-lab", "train", str(folder / "config.json"), "--no-tracking"])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(str(left.value.code)), said.out + said.err

    return run


def written(folder: Path) -> list[str]:
    """Every file below the output folder but the logs."""
    files = (path for path in (folder / "out").rglob("*") if path.is_file() and LOGS not in path.parts)
    return sorted(path.name for path in files)


def refused(answer: Answer, code: int, *words: str) -> None:
    """The answer has that exit code and these words, and no traceback."""
    assert answer[0] == code, answer[1]
    assert "Traceback" not in answer[1]
    for word in words:
        assert word in answer[1]


def test_trains(train: Train, folder: Path) -> None:
    """A sound config leaves exactly a LoRA, and says where."""
    code, said = train(change_output_name="lumi")
    assert code == 0, said
    assert str(folder / "out" / "lumi.safetensors") in said
    assert written(folder) == ["lumi.safetensors"]


def test_missing_config(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A config that is not there is named, with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["lora-lab", "train", "nowhere.json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "nowhere.json" in capsys.readouterr().err


def test_broken_json(train: Train, folder: Path) -> None:
    """A config cut off in the middle is told with its line, and nothing is trained."""
    refused(train('{"base_model": "x", "img_fol'), 1, "config.json:1:", "nothing was trained")
    assert written(folder) == []


def test_missing_base(train: Train) -> None:
    """A base model that is not there is found by lint."""
    refused(train(base_model="nowhere"), 1, "nowhere", "nothing was trained")


def test_base_that_is_no_model(train: Train, folder: Path) -> None:
    """A folder without a model in it is not taken for one."""
    (folder / "empty").mkdir()
    refused(train(base_model="empty"), 1, "empty", "nothing was trained")


def test_damaged_base(train: Train, folder: Path) -> None:
    """A base whose weights are cut off is named before anything is trained."""
    shutil.copytree(PACKAGED / "base", folder / "base")
    weights = folder / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    refused(train(base_model="base"), 2, str(folder / "base" / "unet"), "damaged")
    assert written(folder) == []


def test_empty_picture_folder(train: Train, folder: Path) -> None:
    """A folder without pictures is told, with where pictures go."""
    shutil.rmtree(folder / "pictures")
    (folder / "pictures").mkdir()
    refused(train(), 1, "pictures", "10_name")


def test_picture_that_is_none(train: Train, folder: Path) -> None:
    """A text file that is called .png is named, with what to do."""
    (folder / "pictures" / "1_lumi" / "03.png").write_text("hello")
    code, said = train()
    assert code in (1, 2)
    assert "03.png" in said
    assert "Traceback" not in said
    assert written(folder) == []


def test_output_that_cannot_be_made(train: Train, folder: Path) -> None:
    """An output folder whose place a file takes is told."""
    (folder / "out").write_text("a file")
    code, said = train()
    assert code in (1, 2)
    assert "out" in said
    assert "Traceback" not in said


def test_save_json_only(train: Train, folder: Path) -> None:
    """`save_json_only` writes the effective config, every key in it, and trains nothing."""
    code, said = train(save_json_only=True, save_json_folder="saved")
    assert code == 0, said
    (saved,) = (folder / "saved").glob("config-*.json")
    values = json.loads(saved.read_text())
    assert len(values) >= 65
    assert values["max_steps"] == 2
    assert not (folder / "out").exists()


def test_trains_a_config_of_sd_scripts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A --config_file trains as it stands, paths from its folder, after a line on how it was understood."""
    text = f'''
[any_name]
pretrained_model_name_or_path = "{PACKAGED / "base"}"
train_data_dir = "pictures"
output_dir = "out"
output_name = "lumi"
network_dim = 2
resolution = "64,64"
max_train_steps = 1
max_data_loader_n_workers = 0
caption_extension = ".txt"
wandb_run_name = "x"
'''
    path = folder / "config.toml"
    path.write_text(text)
    code = group(["train", str(path), "--no-tracking"], standalone_mode=False)
    said = capsys.readouterr()
    assert code == 0, said
    assert "read as an sd-scripts --config_file" in said.err
    assert written(folder) == ["lumi.safetensors"]


def test_reads_our_yaml(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A YAML file in our keys is read like JSON."""
    keys = {"base_model": str(PACKAGED / "base"), "img_folder": "pictures", "output_folder": "out", "net_dim": 3}
    lines = [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    path = folder / "config.yaml"
    path.write_text("\n".join([*lines, "save_json_only: true", "save_json_folder: saved  # a comment"]))
    assert group(["train", str(path), "--no-tracking"], standalone_mode=False) == 0
    (saved,) = (folder / "saved").iterdir()
    assert json.loads(saved.read_text())["net_dim"] == 3
    assert "read as" not in capsys.readouterr().err


def test_multi_run_folder(train: Train, folder: Path) -> None:
    """Runs go to run1, run2, ... of the folder, never over an older one, and each leaves its config and its note."""
    assert train(multi_run_folder="many", change_output_name="lumi", net_dim=4)[0] == 0
    first = (folder / "many" / "run1" / "lumi.safetensors").read_bytes()
    assert train(multi_run_folder="many", change_output_name="lumi", net_dim=8)[0] == 0
    assert sorted(path.name for path in (folder / "many").iterdir()) == ["run1", "run2"]
    assert (folder / "many" / "run1" / "lumi.safetensors").read_bytes() == first
    assert json.loads((folder / "many" / "run2" / "config.json").read_text())["net_dim"] == 8
    assert json.loads((folder / "many" / "run2" / "run.json").read_text())["status"] == "FINISHED"
    assert not (folder / "out").exists()


@pytest.mark.parametrize("values", [{}, {"multi_run_folder": "many"}])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_exit_code_is_the_signals(
    number: int, values: dict[str, str], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends a training hears that it was heard, wherever the run's folder is."""

    def stopped(runs: object, progress: object) -> None:
        raise Stopped("stopped after step 1 of 2", number)

    monkeypatch.setattr("lora_lab.cli.train.built_in_trainer", lambda: stopped)
    assert train(**values)[0] == 128 + number


def test_log_dir(train: Train, folder: Path) -> None:
    """TensorBoard's own reader finds the loss of every step below the folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, said = train(log_dir="logs", change_output_name="lumi")
    assert code == 0, said
    (run,) = (folder / "logs").iterdir()
    assert run.name.startswith("lumi-20")
    events = EventAccumulator(str(run))
    events.Reload()
    assert [one.step for one in events.Scalars("loss")] == [1, 2]


def test_load_json_path(train: Train, folder: Path) -> None:
    """Keys of the other file are trained with, but not those on the skip list, nor those that the config itself has."""
    from safetensors.torch import load_file

    (folder / "other.json").write_text(json.dumps({"net_dim": 3, "alpha": 1, "max_steps": 9, "unet_only": True}))
    code, said = train(load_json_path="other.json", json_load_skip_list=["alpha"])
    assert code == 0, said
    assert "trained 2 steps" in said
    state = load_file(folder / "out" / "last.safetensors")
    assert {value.shape[0] for name, value in state.items() if name.endswith("lora_down.weight")} == {3}
    assert all(name.startswith("lora_unet_") for name in state)
    assert {float(value) for name, value in state.items() if name.endswith(".alpha")} == {16.0}
