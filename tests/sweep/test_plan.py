"""From a grid to its runs."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document.yaml_text import parse_yaml
from lora_lab.failure import Failure
from lora_lab.sweep.grid import Grid, axis, labels
from lora_lab.sweep.plan import make_plan, read_base
from lora_lab.sweep.read_grid import read_grid


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
    assert labels("base_model", ["/m/a", "/n/a"]) == ["/m/a", "/n/a"]
    assert labels("base_model", ["/m/a", "/n/b"]) == ["a", "b"]
    assert labels("vae", [None, "/n/a/"]) == ["null", "a"]
    assert labels("flip_aug", [True, False]) == ["true", "false"]
    assert labels("unet_lr", [1e-5, 0.5]) == ["1e-05", "0.5"]


def points_of(text: str, base: dict[str, object] | None = None) -> list[dict[str, object]]:
    """Return the varied and the derived values of each run."""
    plan = make_plan(grid_of("base: {}\n" + text), base or {})
    return [{**run.axes, **run.derived} for run in plan.runs]


def test_linked_values_move_together() -> None:
    """A linked group is one axis: its rows are not mixed."""
    found = points_of("linked: [{net_dim: 8, alpha: 4}, {net_dim: 16, alpha: 1}]\nparameters: {batch_size: [1, 2]}")
    assert found == [
        {"batch_size": 1, "net_dim": 8, "alpha": 4},
        {"batch_size": 1, "net_dim": 16, "alpha": 1},
        {"batch_size": 2, "net_dim": 8, "alpha": 4},
        {"batch_size": 2, "net_dim": 16, "alpha": 1},
    ]


def test_presets_are_chosen_by_name() -> None:
    """A preset sets its values and names the run; without a choice all presets are tried."""
    text = "presets: {small: {net_dim: 8, alpha: 4}, large: {net_dim: 64}}"
    plan = make_plan(grid_of("base: {}\n" + text), {})
    assert [(run.name, dict(run.axes)) for run in plan.runs] == [
        ("preset=small", {"net_dim": 8, "alpha": 4}),
        ("preset=large", {"net_dim": 64}),
    ]
    (run,) = make_plan(grid_of(f"base: {{}}\n{text}\nparameters: {{preset: large}}"), {}).runs
    assert run.values == {"net_dim": 64}


def test_derived_values_follow() -> None:
    """An expression is calculated for each point from its values, the base's and the defaults; whole where needed."""
    text = "parameters: {net_dim: [8, 16], alpha: net_dim / 2, batch_size: net_dim / 8 + num_epochs}"
    assert points_of(text, {"num_epochs": 3}) == [
        {"net_dim": 8, "alpha": 4.0, "batch_size": 4},
        {"net_dim": 16, "alpha": 8.0, "batch_size": 5},
    ]
    assert points_of("parameters: {net_dim: [8], alpha: net_dim + batch_size}") == [{"alpha": 9}]


def test_an_expression_without_value_is_a_failure() -> None:
    """The failure names the parameter and the point."""
    with pytest.raises(Failure, match=r"alpha: .* by zero .*net_dim=8"):
        points_of("parameters: {net_dim: [8, 16], alpha: 1 / (net_dim - 8)}")


def test_a_condition_leaves_an_axis_out() -> None:
    """Where `when` does not hold the axis is not varied, and no point is made twice for it."""
    text = (
        "parameters:\n  scheduler: [cosine, cosine_with_restarts]\n"
        '  cosine_restarts: {values: [2, 3], when: scheduler == "cosine_with_restarts"}'
    )
    assert points_of(text) == [
        {"scheduler": "cosine"},
        {"scheduler": "cosine_with_restarts", "cosine_restarts": 2},
        {"scheduler": "cosine_with_restarts", "cosine_restarts": 3},
    ]


def test_exclusions_by_list_and_by_expression() -> None:
    """A list excludes each of its values, an expression what it holds for, derived values included."""
    text = "parameters: {net_dim: [4, 8, 16, 32], alpha: net_dim / 2}\nexclude: [{net_dim: [4, 8]}, alpha > 10]"
    assert points_of(text) == [{"net_dim": 16, "alpha": 8.0}]


def test_included_points_come_last_and_once() -> None:
    """An included point is run with each seed, unless the grid has it already."""
    text = "parameters: {net_dim: [8]}\ninclude: [{net_dim: 64}, {net_dim: 64}]\nseeds: [1, 2]"
    assert points_of(text) == [
        {"test_seed": 1},
        {"test_seed": 2},
        {"net_dim": 64, "test_seed": 1},
        {"net_dim": 64, "test_seed": 2},
    ]


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_drawn_points(method: str) -> None:
    """As many points as asked are drawn, the same every time, in their bounds, and another seed draws others."""
    if method == "sobol":
        pytest.importorskip("scipy", reason="the extra 'search' brings it")
    text = (
        f"method: {method}\nmax_runs: 16\nparameters:\n  unet_lr: {{min: 1e-5, max: 1e-3, distribution: log_uniform}}\n"
    )
    text += "  net_dim: {min: 4, max: 64}"
    found = points_of(text)
    assert len(found) == 16
    assert found == points_of(text)
    assert found != points_of(text + "\nseed: 1")
    assert all(1e-5 <= point["unet_lr"] <= 1e-3 and 4 <= point["net_dim"] <= 64 for point in found)  # type: ignore[operator]
    low = sum(point["unet_lr"] < 1e-4 for point in found)  # type: ignore[operator]
    assert low == 8 if method == "sobol" else 2 <= low <= 14


def test_a_longer_random_sweep_begins_alike() -> None:
    """More runs are drawn after those that were drawn before, so nothing is trained again; so with another axis."""
    axes = "parameters: {unet_lr: {min: 1e-5, max: 1e-3}"
    short = points_of(f"method: random\nmax_runs: 4\n{axes}}}")
    assert points_of(f"method: random\nmax_runs: 9\n{axes}}}")[:4] == short
    more = points_of(f"method: random\nmax_runs: 4\n{axes}, net_dim: [4, 8]}}")
    assert [point["unet_lr"] for point in more] == [point["unet_lr"] for point in short]


def test_probabilities() -> None:
    """A value is drawn as often as its probability says; 0 is never drawn."""
    text = (
        "method: random\nmax_runs: 400\nseeds: 1\nparameters: {net_dim: {values: [4, 8, 16], probabilities: [3, 1, 0]}"
    )
    plan = make_plan(grid_of("base: {}\n" + text + ", unet_lr: {min: 1e-5, max: 1}}"), {})
    ranks = [run.axes["net_dim"] for run in plan.runs]
    assert 16 not in ranks
    assert 0.65 < ranks.count(4) / len(ranks) < 0.85


def test_the_budget_counts_runs() -> None:
    """max_runs counts runs, seeds included, and says how many points of a grid it cuts off."""
    plan = make_plan(grid_of("base: {}\nparameters: {net_dim: [4, 8, 16]}\nseeds: 2\nmax_runs: 4"), {})
    assert (len(plan.runs), plan.left_out) == (4, 2)
    drawn = points_of("method: random\nmax_runs: 9\nseeds: 2\nparameters: {unet_lr: {min: 1e-5, max: 1e-3}}")
    assert len(drawn) == 8


@given(
    st.dictionaries(
        st.sampled_from(["net_dim", "alpha", "num_epochs", "batch_size"]),
        st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True),
    )
)
def test_a_plan_is_the_whole_product_without_repetition(axes: dict[str, list[int]]) -> None:
    """The plan has as many runs as the product of the axes, all different, with different names."""
    grid = Grid(name="g", base={}, folder=Path("/"), axes=tuple(axis(name, values) for name, values in axes.items()))
    runs = make_plan(grid, {}).runs
    size = 1
    for values in axes.values():
        size *= len(values)
    assert len(runs) == size
    assert len({tuple(sorted(run.values.items())) for run in runs}) == size  # type: ignore[type-var]
    assert len({run.name for run in runs}) == size


def test_a_hundred_thousand_points_are_planned() -> None:
    """A huge grid is planned whole, its exclusions taken out."""
    names = ("net_dim", "alpha", "num_epochs", "batch_size", "test_seed")
    axes = tuple(axis(name, range(1, 11)) for name in names)
    exclude = ({"net_dim": (3,), "alpha": (2,)},)
    plan = make_plan(Grid(name="g", base={}, folder=Path("/"), axes=axes, exclude=exclude), {"clip_skip": 2})
    assert len(plan.runs) == 99_000
