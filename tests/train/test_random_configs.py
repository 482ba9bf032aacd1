"""Some of what benchmarks/random_configs.py tries: random valid configs train, save, load and go on from a state."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, seed, settings

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from drawing.scene import Scene, configs, lay_out, shown
from drawing.trial import judge, try_out
from drawing.values import NOT_OF_A_RUN, OUT_OF_REACH, SET_BY_THE_SCENE, STRATEGIES

from lora_lab.config import PARAMETERS

EXAMPLES = 16
SEED = 7
BY_THE_BASE = {
    *("reg_img_folder", "mask_folder", "lora_model_for_resume", "base_weights"),
    *("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"),
}
"""Keys that the scene draws itself: files that must fit, numbers that the base's blocks count."""


@pytest.fixture(scope="module")
def scene(base_folder: Path, xl_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Pictures, and the two bases that other tests have made."""
    return lay_out(tmp_path_factory.mktemp("drawn") / "data", {"sd1": base_folder, "sdxl": xl_base})


def test_every_parameter_is_drawn() -> None:
    """A new parameter is drawn by its definition, or this says that somebody has to say how."""
    assert OUT_OF_REACH == BY_THE_BASE
    assert set(PARAMETERS) >= SET_BY_THE_SCENE | NOT_OF_A_RUN
    assert len(STRATEGIES) > 80


@pytest.mark.filterwarnings("ignore")  # of libraries about settings that are odd and valid
def test_configs_that_lint_passes_can_be_trained(scene: Scene, tmp_path: Path) -> None:
    """What is without an error for lint trains, saves, loads and goes on bit for bit, whatever it combines."""
    trained: list[dict[str, Any]] = []

    def each(values: dict[str, Any]) -> None:
        if len(trained) >= EXAMPLES:
            return
        verdict = judge(scene, values)
        note(shown(values))
        assume(not verdict.errors)
        try_out(verdict.config, tmp_path / "runs")
        trained.append(values)

    draw_all(scene, each)
    assert len(trained) == EXAMPLES
    assert len({key for values in trained for key in values}) > 24


def draw_all(scene: Scene, each: Callable[[dict[str, Any]], None]) -> None:
    """Call a function with drawn configs, always the same ones."""
    limits = settings(
        max_examples=10 * EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(SEED)(limits(given(configs(scene))(each)))()
