"""Every run is linted, and equal findings are said once."""

from dataclasses import replace
from pathlib import Path

from lora_lab.lint import Disk, lint_values
from lora_lab.sweep.expression import parse_expression
from lora_lab.sweep.grid import Derived, Grid, axis
from lora_lab.sweep.judge import judge
from lora_lab.sweep.plan import make_plan


def test_findings_are_those_of_each_run_grouped(tmp_path: Path) -> None:
    """Each run has what lint says of its values; a finding that runs share stands once with their numbers."""
    base = {"base_model": str(tmp_path / "none"), "img_folder": str(tmp_path / "none"), "output_folder": "o"}
    axes = (axis("net_dim", (8, 16)), axis("clip_skip", (1, 99)))
    plan = make_plan(Grid(name="g", base={}, folder=tmp_path, axes=axes), base)
    judged = judge(plan, tmp_path, Disk(tmp_path))
    assert len(judged.configs) == len(judged.findings) == 4
    for run, config, findings in zip(plan.runs, judged.configs, judged.findings, strict=True):
        alone = lint_values(run.values, tmp_path, Disk(tmp_path))
        assert (alone.config, alone.findings) == (config, findings)
    groups = [(group.finding.code, group.finding.keys, group.runs) for group in judged.groups]
    assert len(groups) == len(set(groups))
    assert ("LL004", ("clip_skip",), (1, 3)) in groups
    assert any(runs == (0, 1, 2, 3) for _, _, runs in groups), "the missing folders are wrong in every run"
    assert judged.bad == (0, 1, 2, 3)
    (clip,) = [group for group in judged.groups if group.finding.code == "LL004"]
    assert clip.wordings == 1
    severities = [group.finding.severity for group in judged.groups]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)


def test_one_rule_in_many_words_is_one_group(tmp_path: Path) -> None:
    """A rule that names each run's value is said once, with the number of its wordings."""
    base = {"base_model": "b", "img_folder": "d", "output_folder": "o"}
    plan = make_plan(Grid(name="g", base={}, folder=tmp_path, axes=(axis("clip_skip", (1, 98, 99)),)), base)
    (group,) = [group for group in judge(plan, tmp_path, None).groups if group.finding.code == "LL004"]
    assert (group.runs, group.wordings) == ((1, 2), 2)
    assert "98" in group.finding.message


def test_derived_values_are_judged(tmp_path: Path) -> None:
    """A value that follows from the others is judged like one that is varied."""
    base = {"base_model": "b", "img_folder": "d", "output_folder": "o"}
    axes = (axis("net_dim", (4, 8, 16, 32, 64)),)
    plan = make_plan(Grid(name="g", base={}, folder=tmp_path, axes=axes), base)
    runs = tuple(replace(run, derived={"clip_skip": 99 if run.index == 2 else 1}) for run in plan.runs)
    judged = judge(replace(plan, runs=runs), tmp_path, None)
    assert judged.bad == (2,)
    for run, findings in zip(runs, judged.findings, strict=True):
        assert findings == lint_values(run.values, tmp_path, None).findings


def test_an_expression_is_judged(tmp_path: Path) -> None:
    """What an expression gives is linted like what is written down."""
    axes, derived = (axis("net_dim", (8, 16)),), (Derived("clip_skip", parse_expression("net_dim * 10")),)
    plan = make_plan(Grid(name="g", base={}, folder=tmp_path, axes=axes, derived=derived), {})
    judged = judge(plan, tmp_path, None)
    assert [group.runs for group in judged.groups if group.finding.keys == ("clip_skip",)] == [(0, 1)]
