"""What a sweep is going to take."""

import json
import platform
from pathlib import Path

import pytest
from PIL import Image

from lora_lab.config import TrainConfig, check
from lora_lab.lint import Disk
from lora_lab.sweep.outlook import outlook
from lora_lab.sweep.run_folder import RunRecord, claim, write_record


@pytest.fixture
def configs(tmp_path: Path) -> list[TrainConfig]:
    """Return three configs over ten pictures, each used twice; the base is a folder that says SD 1.x."""
    data = tmp_path / "data" / "2_cat"
    data.mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (512, 512)).save(data / f"{number}.png")
    (tmp_path / "sd15" / "unet").mkdir(parents=True)
    (tmp_path / "sd15" / "model_index.json").write_text("{}")
    (tmp_path / "sd15" / "unet" / "config.json").write_text('{"cross_attention_dim": 768}')
    base = {
        "base_model": str(tmp_path / "sd15"),
        "img_folder": str(tmp_path / "data"),
        "output_folder": str(tmp_path / "out"),
        "batch_size": 2,
    }
    return [check({**base, "net_dim": rank, "num_epochs": 3}).config for rank in (4, 8, 16)]


def earlier(sweep: Path, config: TrainConfig, seconds: float, **other: object) -> None:
    """Leave a finished run of 30 steps."""
    folder = claim(sweep)
    (folder / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    (folder / "l.safetensors").write_bytes(b"lora")
    known = {"machine": platform.node(), **other}
    record = RunRecord(identity=folder.name * 8, name="n", status="FINISHED", axes={}, lora="l.safetensors", steps=30)
    write_record(folder, RunRecord(**{**vars(record), "seconds": seconds, **known}))  # type: ignore[arg-type]


def test_steps_and_room(configs: list[TrainConfig], tmp_path: Path) -> None:
    """Steps are those of the buckets, room that of the files; without earlier runs the time is unknown."""
    known = outlook(configs, ["a", "b", "c"], tmp_path / "out" / "s", Disk(tmp_path))
    assert (known.runs, known.done, known.steps) == (3, 0, 3 * 30)
    assert known.disk == (4 + 8 + 16) * (165_888 + 423_936) * 2
    assert known.memory is not None
    assert known.memory > 2 << 30
    assert known.seconds(1) is None


def test_time_from_earlier_runs(configs: list[TrainConfig], tmp_path: Path) -> None:
    """The speed is the median of runs with such settings on this machine; packed ones shared their time."""
    out = tmp_path / "out"
    for seconds in (30.0, 60.0, 90.0):
        earlier(out / "before", configs[0], seconds)
    earlier(out / "packed", configs[0], 240.0, together=4)
    earlier(out / "other", configs[0], 3000.0, machine="another")
    earlier(out / "wide", configs[0].model_copy(update={"batch_size": 8}), 3000.0)
    earlier(out / "taken", configs[0], 3000.0, reason="trained in some other sweep")
    known = outlook(configs, ["a", "b", "c"], out / "s", Disk(tmp_path))
    assert (known.earlier, known.seconds_per_step) == (4, 2.0)
    assert known.seconds(1) == 180.0
    assert known.seconds(2) == 90.0
    assert known.seconds(8) == 60.0, "no more than three can be trained at a time"


def test_done_runs_cost_nothing(configs: list[TrainConfig], tmp_path: Path) -> None:
    """Runs that this sweep or a neighbour has finished are not counted."""
    earlier(tmp_path / "out" / "s", configs[0], 30.0)
    earlier(tmp_path / "out" / "s", configs[0], 30.0)
    known = outlook(configs, ["run1" * 8, "b", "run2" * 8], tmp_path / "out" / "t", Disk(tmp_path))
    assert (known.done, known.steps) == (2, 30)
