"""The grids in experiments/ run as they stand."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lora_lab.cli import group

GRIDS = sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml"))


def test_there_are_experiments() -> None:
    """The folder has the quickstart and six questions, so that the test below tests something."""
    assert len(GRIDS) >= 7


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.stem)
def test_experiment_is_clean(grid: Path) -> None:
    """Each grid expands to at least two runs, and lint has neither errors nor warnings for any of them."""
    result = CliRunner().invoke(group, ["sweep", str(grid), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert int(result.output.split("runs over")[0].split(":")[1]) >= 2
    assert "error:" not in result.output
    assert "warning:" not in result.output
