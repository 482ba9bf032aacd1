"""A folder of configs as a sweep."""

import json
from pathlib import Path

import pytest

from lora_lab.failure import Failure
from lora_lab.sweep.config_folder import plan_of_configs


def write(folder: Path, name: str, **values: object) -> Path:
    """Write a config into the folder."""
    path = folder / name
    path.write_text(json.dumps({"base_model": "m", "img_folder": "p", "output_folder": "o", **values}))
    return path


def test_each_config_is_a_run(tmp_path: Path) -> None:
    """The runs come in counting order, named by their files; only what differs is an axis; paths are absolute."""
    paths = [write(tmp_path, f"{number}.json", net_dim=number, alpha=8) for number in (10, 2, 1)]
    plan = plan_of_configs("many", paths)
    assert [run.name for run in plan.runs] == ["1", "2", "10"]
    assert plan.axes == ("net_dim",)
    assert [dict(run.axes) for run in plan.runs] == [{"net_dim": 1}, {"net_dim": 2}, {"net_dim": 10}]
    assert plan.runs[0].values["img_folder"] == str(tmp_path / "p")
    assert plan.runs[0].values["alpha"] == 8


def test_a_setting_that_some_leave_out(tmp_path: Path) -> None:
    """A setting that one file has and another has not differs; true is not 1; all runs go to the first one's folder."""
    first = write(tmp_path, "a.json", flip_aug=True)
    second = write(tmp_path, "b.json", clip_skip=2, output_folder="elsewhere")
    plan = plan_of_configs("many", [first, second])
    assert plan.axes == ("flip_aug", "clip_skip")
    assert "clip_skip" not in plan.runs[0].values
    assert {run.values["output_folder"] for run in plan.runs} == {str(tmp_path / "o")}


def test_equal_stems_are_told_apart(tmp_path: Path) -> None:
    """Two files of one stem are named with their suffixes."""
    toml = tmp_path / "a.toml"
    toml.write_text('base_model = "m"\nimg_folder = "p"\noutput_folder = "o"\nnet_dim = 4\n')
    plan = plan_of_configs("many", [write(tmp_path, "a.json"), toml])
    assert [run.name for run in plan.runs] == ["a.json", "a.toml"]


def test_a_broken_config_is_a_failure(tmp_path: Path) -> None:
    """The file that can't be read is named, before anything is trained."""
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(Failure, match=r"bad\.json"):
        plan_of_configs("many", [write(tmp_path, "a.json"), tmp_path / "bad.json"])
