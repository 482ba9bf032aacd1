"""Grid files under lint: at which line what is said."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lora_lab.cli import group
from lora_lab.document.yaml_text import parse_yaml
from lora_lab.failure import Failure
from lora_lab.lint import Disk
from lora_lab.sweep.lint_grid import is_grid, lint_grid

GRID = """\
base:
  base_model: model
  img_folder: data
  output_folder: out
  keep_tokens: 2
parameters:
  net_dim: [8, 16]
  clip_skip: [1, 22]
linked:
  - {scheduler: constant, warmup_lr_ratio: 0.1}
  - {scheduler: cosine, warmup_lr_ratio: 0.2}
"""


def said(text: str) -> list[tuple[str, int, str]]:
    """Return code, line and message of what is found in a grid, without looking at the disk."""
    found = lint_grid(parse_yaml(text, Path("/grids/g.yaml")), None, None)
    return [(finding.code, finding.span.line if finding.span else 0, finding.message) for finding in found]


def test_findings_stand_where_the_grid_speaks_of_the_key() -> None:
    """A setting of the base is found at its line in the grid, an axis at its own, with the runs that it is true of."""
    found = said(GRID)
    by_code = {code: (line, message) for code, line, message in found}
    assert by_code["LL202"][0] == 5
    assert "runs" not in by_code["LL202"][1], "every run has it"
    line, message = by_code["LL422"]
    assert line == 9
    assert "in 4 of 8 runs (net_dim=8 clip_skip=1 scheduler=constant warmup_lr_ratio=0.1;" in message
    assert [line for _, line, _ in found] == sorted(line for _, line, _ in found)


def test_a_space_that_is_searched_is_judged_all_over() -> None:
    """What holds in a part of the space is said with the points; an error there is a warning, everywhere an error."""
    text = GRID.replace("base:", "method: bayes\nmax_runs: 9\nbase:", 1)
    message = next(message for code, _, message in said(text) if code == "LL422")
    assert "in 4 of 8 points from all over the space" in message
    partly = text.replace("net_dim: [8, 16]", "unet_only: [true, false]\n  text_only: [true, false]")
    wholly = text.replace("  keep_tokens: 2\n", "  keep_tokens: two\n")
    of_part = lint_grid(parse_yaml(partly, Path("/grids/g.yaml")), None, None)
    part = {finding.code: (finding.severity, finding.message) for finding in of_part}
    assert part["LL305"][0] == "warning"
    assert "in 4 of 16 points from all over the space (unet_only=true text_only=true" in part["LL305"][1]
    assert "error" not in {severity for severity, _ in part.values()}
    assert "error" in {finding.severity for finding in lint_grid(parse_yaml(wholly, Path("/g.yaml")), None, None)}


def test_mistakes_of_the_language_are_findings() -> None:
    """Each mistake is said at its place, and then nothing of the runs."""
    assert said(GRID + "exclude: 3\n") == [
        ("LL001", 12, "exclude must be a list of mappings like {net_dim: 16}, or of expressions")
    ]


def test_a_base_in_another_file_needs_the_disk(tmp_path: Path) -> None:
    """Without the disk only the language is judged; with it, a base that is not there is a failure."""
    assert said("base: none.json\nparameters: {net_dim: [8]}") == []
    with pytest.raises(Failure, match=r"none\.json"):
        lint_grid(parse_yaml("base: none.json", tmp_path / "g.yaml"), Disk(tmp_path), None)


def test_the_command_takes_grids_and_configs(tmp_path: Path) -> None:
    """`lora-lab lint` says of a grid what lint_grid finds, in its own form, and exits as for a config."""
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    result = CliRunner().invoke(group, ["lint", "--no-disk", "--no-machine", "--select", "LL202", str(path)])
    assert result.exit_code == 1
    assert f"{path}:5:3: LL202 warning: keep_tokens has no effect" in result.output
    assert "  5 |   keep_tokens: 2\n" in result.output
    config = "base: {base_model: m, img_folder: d, output_folder: o}\n"
    path.write_text(config + "parameters: {net_dim: [8, 16], alpha: net_dim / 2}\n")
    clean = CliRunner().invoke(group, ["lint", "--no-disk", "--no-machine", str(path)])
    assert clean.exit_code == 0, clean.output


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (GRID, True),
        ("base: a.json\nseeds: 3", True),
        ("metod: random\nbase: a.json\nparameters: {net_dim: [8]}", True),
        ("base_model: m\nparameters: {net_dim: 8}", False),
        ("parameters: {net_dim: 8}", False),
        ("- a", False),
        ("job: extension\nconfig: {name: x}", False),
    ],
)
def test_what_is_a_grid(text: str, is_one: bool) -> None:
    """A grid is told from configs of ours and of other programs by its keys, with a slip or two in them."""
    assert is_grid(parse_yaml(text)) == is_one
