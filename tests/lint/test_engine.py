"""The engine runs every rule that can be run, and points at the right places."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.config import PARAMETERS
from lora_lab.document import decode_document, parse_json
from lora_lab.lint import Disk, Finding, LintResult, lint_document, lint_values

REQUIRED = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}
HERE = Path("here")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def lint(**values: object) -> LintResult:
    """Lint values without looking at the disk."""
    return lint_values(REQUIRED | values, HERE, None)


def codes(result: LintResult) -> list[str]:
    """Return the codes of the findings."""
    return [finding.code for finding in result.findings]


def only(result: LintResult, code: str) -> Finding:
    """Return the one finding of that code."""
    (finding,) = [finding for finding in result.findings if finding.code == code]
    return finding


def test_a_small_clean_config_has_no_findings() -> None:
    """What can be left to the defaults can be left out."""
    result = lint()
    assert result.findings == ()
    assert result.usable


def test_defaults_spelled_out_have_no_findings() -> None:
    """A file that writes every default has nothing to answer for."""
    defaults = {name: known.default for name, known in PARAMETERS.items() if not known.required}
    assert lint(**defaults).findings == ()


def test_all_problems_come_at_once() -> None:
    """One broken value does not keep the rules about others from speaking."""
    result = lint(net_dim="8", scheduler="cosin", alpha=64.0, unet_only=True, text_only=True, foo=1)
    assert {"LL002", "LL003", "LL005", "LL305"} <= set(codes(result))
    assert not result.usable


def test_rules_on_an_invalid_key_are_silent() -> None:
    """A rule that reads net_dim says nothing about a net_dim that is no number."""
    assert "LL301" in codes(lint(net_dim=512))
    assert codes(lint(net_dim="512", alpha=64.0)) == ["LL003"]


def test_misconception_replaces_the_type_finding() -> None:
    """One answer about a value, the one that knows what was meant."""
    assert codes(lint(clip_skip=True)) == ["LL801"]
    assert codes(lint(text_encoder_lr=0)) == ["LL401"]
    assert codes(lint(caption_extension="txt")) == ["LL201"]


def test_only_errors_make_a_config_unusable() -> None:
    """Warnings and notes let the trainer go on."""
    assert lint(save_as="pt").usable
    assert lint(flip_aug=True).usable
    assert not lint(batch_size=0).usable


def test_finding_points_at_the_value() -> None:
    """The span is that of the value that the rule blames first; for an unknown key that of the key."""
    text = '{"base_model": "b", "img_folder": "i", "output_folder": "o",\n "net_dim": 512, "net_dimm": 3}'
    result = lint_document(parse_json(text, HERE / "c.json"), None)
    span = only(result, "LL301").span
    assert span is not None
    assert text[span.start : span.end] == "512"
    assert (span.line, span.column) == (2, 13)
    span = only(result, "LL002").span
    assert span is not None
    assert text[span.start : span.end] == '"net_dimm"'


def test_findings_come_in_the_order_of_the_file() -> None:
    """A reader goes through the file from top to bottom once; what has no place comes last."""
    result = lint_document(parse_json('{"zz": 1, "net_dim": "8", "keep_tokens": 1, "base_model": "b"}'), None)
    starts = [finding.span.start if finding.span else None for finding in result.findings]
    placed = [start for start in starts if start is not None]
    assert placed == sorted(placed)
    assert starts[len(placed) :] == [None] * (len(starts) - len(placed))


def test_points_of_a_grid_have_no_place() -> None:
    """Values that stand in no file can't be pointed at."""
    assert all(finding.span is None for finding in lint(net_dim="8", save_as="pt").findings)


@pytest.mark.parametrize("rate", [1e-4, 5e-4, 1.0])
def test_learning_rate_is_judged_by_the_optimizer(rate: float) -> None:
    """1.0 ruins AdamW and is right for Prodigy, 1e-4 the other way round; 5e-4 is in use with AdamW."""
    assert ("LL402" in codes(lint(learning_rate=rate))) == (rate == 1.0)
    assert ("LL404" in codes(lint(learning_rate=rate, optimizer_type="prodigy"))) == (rate < 1)
    relative = lint(learning_rate=rate, optimizer_type="AdaFactor")
    assert codes(relative) == ["LL410"]
    fixed = lint(learning_rate=rate, optimizer_type="AdaFactor", optimizer_args=["relative_step=False"])
    assert ("LL402" in codes(fixed)) == (rate == 1.0)


def test_learning_rate_is_judged_with_alpha() -> None:
    """1e-3 is the usual rate at alpha 1, and too high only where alpha is large and the rate larger still."""
    assert "LL402" not in codes(lint(learning_rate=2e-3, net_dim=32, alpha=1.0))
    assert "LL402" in codes(lint(learning_rate=2e-3, net_dim=32, alpha=32.0))


def test_rate_of_a_frozen_part_is_not_judged() -> None:
    """A part that is not trained has no too high learning rate, only one without effect."""
    assert codes(lint(unet_only=True, text_encoder_lr=1.0)) == ["LL306"]


def test_foreign_file_is_said_once() -> None:
    """A kohya GUI file gives one finding that says so, not one for each key."""
    gui = {"pretrained_model_name_or_path": "x", "train_data_dir": "y", "network_dim": 8, "LoRA_type": "Standard"}
    result = lint_document(parse_json(json.dumps(gui | {"learning_rate": "1e-4"})), None)
    assert codes(result) == ["LL009"]
    assert "kohya" in result.findings[0].message
    assert "network_dim → net_dim" in result.findings[0].remedy


def test_other_tools_names_are_understood() -> None:
    """A single foreign name among ours is answered with our name, and with the unit where it differs."""
    assert only(lint(network_dim=8), "LL002").remedy == "did you mean net_dim?"
    percent = only(lint(lr_warmup=10), "LL002")
    assert "100" in percent.remedy
    assert percent.fix is None
    assert only(lint(net_dim=4, alpha=4.0, network_dim=8), "LL002").severity == "warning"


def test_unset_values_of_old_files_are_read_as_null() -> None:
    """Empty text and 0 for "every so many" are how many files say "not set"; they do not stop a training."""
    result = lint(sample_every_n_epochs=0, max_steps="", vae="", save_every_n_steps=0.0)
    assert codes(result) == ["LL011"] * 4
    assert result.usable
    assert codes(lint(batch_size=0, text_encoder_lr=0)) == ["LL004", "LL401"]


def test_schema_link_is_no_finding() -> None:
    """Editors want `$schema`; it is not a setting."""
    assert codes(lint(**{"$schema": "train.schema.json"})) == []


def test_broken_file_misses_no_keys() -> None:
    """Where part of the text was lost, a missing key may stand in it."""
    assert codes(lint_document(parse_json('{"net_dim": 32, "alp'), None)) == ["LL001", "LL001"]


def test_loaded_file_fills_what_is_not_set(lay_out: Callable[[str], Path]) -> None:
    """`load_json_path` is read relative to the config, its own paths relative to itself, the skip list is obeyed."""
    folder = lay_out('sub/start.json: {"net_dim": 8, "alpha": 4, "base_model": "b", "img_folder": "i", "clip_skip": 2}')
    text = (
        '{"load_json_path": "sub/start.json", "json_load_skip_list": ["clip_skip"], "alpha": 2, "output_folder": "o"}'
    )
    result = lint_document(parse_json(text, folder / "c.json"), Disk(folder))
    assert (result.config.net_dim, result.config.alpha, result.config.clip_skip) == (8, 2.0, 1)
    assert Path(result.config.base_model) == folder / "sub" / "b"
    assert "LL006" not in codes(result)


def test_without_disk_nothing_is_missing_that_may_be_loaded() -> None:
    """The loaded file is not read then, so what it may hold is not called missing."""
    assert codes(lint_document(parse_json('{"load_json_path": "x.json"}'), None)) == []


@given(st.dictionaries(st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=5), json_values, max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_values_are_judged(values: dict[str, object]) -> None:
    """Whatever JSON holds, the linter answers and does not raise."""
    lint_values(values, HERE, None)
    lint_values(REQUIRED | values, HERE, Disk(HERE))


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_are_judged(data: bytes) -> None:
    """Whatever a file holds, the linter answers and does not raise."""
    lint_document(decode_document(b'{"net_dim": ' + data), Disk(HERE))


def test_safe_fix_keeps_the_result() -> None:
    """What a safe fix removes or rewrites was without effect: the config that the trainer sees keeps its meaning."""
    values: dict[str, Any] = {
        "keep_tokens": 1,
        "cosine_restarts": 3,
        "persistent_workers": True,
        "alpha": 0,
        "test_seed": "8",
        "save_precision": 16,
    }
    fixes = [finding.fix for finding in lint(**values).findings if finding.fix and finding.fix.safe]
    assert len(fixes) >= 5
    for fix in fixes:
        for edit in fix.edits:
            assert edit.key in values
            if edit.action == "set":
                values[edit.key] = edit.value
            else:
                del values[edit.key]
    assert lint(**values).findings == ()
