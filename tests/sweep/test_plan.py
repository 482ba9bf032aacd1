"""From a grid to its runs."""

import itertools
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document.yaml_text import parse_yaml
from lora_lab.failure import Failure
from lora_lab.sweep.grid import Axis, Grid, Metric, read_grid
from lora_lab.sweep.plan import axis_labels, make_plan, read_base


def grid_of(text: str, path: Path = Path("/grids/g.yaml")) -> Grid:
    """Return the grid of a text that has no mistakes."""
    read = read_grid(parse_yaml(text, path))
    assert read.problems == ()
    assert read.grid is not None
    return read.grid


def test_the_last_axis_turns_fastest() -> None:
    """The order of the runs is that of nested loops in the order of the file."""
    plan = make_plan(grid_of("base: {}\nparameters: {net_dim: [8, 16], unet_lr: [1e-3, 1e-5]}\nseeds: [1, 2]"), {})
    assert plan.axes == ("net_dim", "unet_lr", "test_seed")
    assert [tuple(run.axes.values()) for run in plan.runs] == list(itertools.product([8, 16], [1e-3, 1e-5], [1, 2]))
    assert plan.runs[0].name == "net_dim=8 unet_lr=0.001 test_seed=1"
    assert [run.index for run in plan.runs] == list(range(8))


def test_values_are_the_base_with_the_point_on_top() -> None:
    """A single value of the grid is set in every run and is no axis."""
    plan = make_plan(
        grid_of("base: {}\nparameters: {net_dim: [8, 16], scheduler: [constant], alpha: {value: 4}}"),
        {"net_dim": 1, "scheduler": "cosine", "batch_size": 2},
    )
    assert plan.axes == ("net_dim",)
    assert plan.runs[1].values == {"net_dim": 16, "scheduler": "constant", "batch_size": 2, "alpha": 4}


def test_without_axes_there_is_one_run_with_the_sweeps_name() -> None:
    """A grid without parameters is a sweep of one."""
    (run,) = make_plan(grid_of("base: {}\nname: alone"), {}).runs
    assert (run.name, dict(run.axes)) == ("alone", {})


def test_excluded_points_are_left_out() -> None:
    """An exclusion takes out every point that matches all it names, and the numbering closes up."""
    grid = grid_of(
        "base: {}\nparameters: {net_dim: [8, 16], alpha: [1, 2], unet_lr: [1e-3]}\n"
        "exclude: [{net_dim: 16, alpha: 2}, {net_dim: 8, alpha: 1, unet_lr: 1e-3}]"
    )
    plan = make_plan(grid, {})
    assert [tuple(run.axes.values()) for run in plan.runs] == [(8, 2), (16, 1)]
    assert [run.index for run in plan.runs] == [0, 1]


def test_a_grid_that_excludes_everything_is_a_failure() -> None:
    """Nothing to train is said, not shown as an empty table."""
    with pytest.raises(Failure, match="every one"):
        make_plan(grid_of("base: {}\nparameters: {net_dim: [8]}\nexclude: [{net_dim: 8}]"), {})


def test_paths_start_from_the_file_that_they_stand_in(tmp_path: Path) -> None:
    """The base config's relative paths belong to its folder, the grid's to the grid's."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.json").write_text(json.dumps({"img_folder": "data", "net_dim": 4}))
    grid = grid_of("base: configs/base.json\nparameters: {base_model: [a, b]}", tmp_path / "grid.yaml")
    plan = make_plan(grid, read_base(grid))
    assert plan.runs[1].values == {
        "img_folder": str(tmp_path / "configs" / "data"),
        "net_dim": 4,
        "base_model": str(tmp_path / "b"),
    }
    assert plan.runs[1].name == "base_model=b"


def test_a_base_of_another_program(tmp_path: Path) -> None:
    """An sd-scripts base gives our keys, with what sd-scripts takes for the rest; what was assumed is told."""
    text = 'pretrained_model_name_or_path = "m"\ntrain_data_dir = "p"\noutput_dir = "o"\nnetwork_dim = 8\n'
    (tmp_path / "base.toml").write_text(text)
    said: list[str] = []
    base = read_base(grid_of("base: base.toml", tmp_path / "grid.yaml"), said.append)
    assert (base["img_folder"], base["net_dim"], base["alpha"]) == (str(tmp_path / "p"), 8, 1.0)
    assert len(said) == 1
    assert "sd-scripts" in said[0]


def test_a_base_in_yaml(tmp_path: Path) -> None:
    """A base in our keys may be YAML; nothing needs telling."""
    (tmp_path / "base.yaml").write_text("net_dim: 8\nimg_folder: p")
    said: list[str] = []
    base = read_base(grid_of("base: base.yaml", tmp_path / "grid.yaml"), said.append)
    assert (base, said) == ({"net_dim": 8, "img_folder": str(tmp_path / "p")}, [])


def test_a_base_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """A missing or broken base config is one line that names it."""
    with pytest.raises(Failure, match=r"none\.json"):
        read_base(grid_of("base: none.json", tmp_path / "grid.yaml"))
    (tmp_path / "bad.json").write_text('{"net_dim": ')
    with pytest.raises(Failure, match=r"bad\.json"):
        read_base(grid_of("base: bad.json", tmp_path / "grid.yaml"))


def test_labels_of_paths_are_short_where_that_is_enough() -> None:
    """Paths are named by their last part unless two of them end alike."""
    assert axis_labels(Axis("base_model", ("/m/a", "/m/b"))) == ["a", "b"]
    assert axis_labels(Axis("base_model", ("/m/a", "/n/a"))) == ["/m/a", "/n/a"]
    assert axis_labels(Axis("vae", (None, "/n/a/"))) == ["null", "a"]
    assert axis_labels(Axis("flip_aug", (True, False))) == ["true", "false"]
    assert axis_labels(Axis("unet_lr", (1e-5, 0.5))) == ["1e-05", "0.5"]


@given(
    st.dictionaries(
        st.sampled_from(["net_dim", "alpha", "num_epochs", "batch_size"]),
        st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True),
    )
)
def test_a_plan_is_the_whole_product_without_repetition(axes: dict[str, list[int]]) -> None:
    """The plan has as many runs as the product of the axes, all different, with different names."""
    grid = Grid("g", {}, Path("/"), Metric(), tuple(Axis(name, tuple(values)) for name, values in axes.items()), ())
    runs = make_plan(grid, {}).runs
    size = 1
    for values in axes.values():
        size *= len(values)
    assert len(runs) == size
    assert len({tuple(sorted(run.values.items())) for run in runs}) == size  # type: ignore[type-var]
    assert len({run.name for run in runs}) == size


def test_a_hundred_thousand_points_are_planned_at_once() -> None:
    """A huge grid takes seconds at most: a tenth of the goal, so that a busy machine does not matter."""
    axes = tuple(
        Axis(name, tuple(range(1, 11))) for name in ("net_dim", "alpha", "num_epochs", "batch_size", "test_seed")
    )
    start = time.process_time()
    plan = make_plan(Grid("g", {}, Path("/"), Metric(), axes, ({"net_dim": 3, "alpha": 2},)), {"clip_skip": 2})
    assert len(plan.runs) == 99_000
    assert time.process_time() - start < 10
