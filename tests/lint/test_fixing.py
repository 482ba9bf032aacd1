"""Fixes: what is safe changes no result, and after all of them there is nothing left to fix."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.config import PARAMETERS, TrainConfig, check, learning_rate_of, scale, trained_parts
from lora_lab.document import Document, decode_document, parse_json
from lora_lab.lint import RULES, Edit, Finding, Fix, Rule, lint_document
from lora_lab.lint.fixing import Fixed, applied_to, fixed

REQUIRED = {"base_model": "b", "img_folder": "i", "output_folder": "o"}


def judge(document: Document) -> tuple[Finding, ...]:
    """Lint without the disk."""
    return lint_document(document, None).findings


def fix(text: str, *, unsafe: bool = False) -> Fixed:
    """Fix a text."""
    return fixed(parse_json(text), judge, unsafe=unsafe)


def with_safe_fixes() -> dict[str, dict[str, object]]:
    """Return the bad examples, as values, of the rules that have a safe fix for them."""
    found = {}
    for rule in RULES:
        block = rule.sections["Bad"].partition("```json\n")[2].partition("```")[0]
        document = parse_json(block)
        if document.broken or rule.sees == "disk":
            continue
        values = REQUIRED | document.values
        own = [f for f in judge(parse_json(json.dumps(values))) if f.code == rule.code]
        if any(finding.fix and finding.fix.safe for finding in own):
            found[rule.code] = values
    return found


SAFE = with_safe_fixes()
BY_CODE: dict[str, Rule] = {rule.code: rule for rule in RULES}


def result_of(config: TrainConfig, but: set[str]) -> dict[str, object]:
    """Return what the training depends on: the settings, and what is computed from several of them."""
    idle = "learning_rate" in but  # a rule that says so of it says so of every part's rate
    parts = {} if idle else {part: learning_rate_of(config, part) for part in trained_parts(config)}
    settled = {key: value for key, value in config.model_dump().items() if key not in but}
    return settled | {"rates": parts, "scale": scale(config)}


def test_there_are_safe_fixes() -> None:
    """The search found rules, so the test below tests something."""
    assert len(SAFE) >= 15


@pytest.mark.parametrize("code", SAFE)
def test_safe_fix_keeps_the_result(code: str) -> None:
    """The config that the trainer sees is the same, but for keys that the rule lists as idle there.

    Where a value was invalid the trainer refused the file: then there was no result that could change.
    """
    document = parse_json(json.dumps(SAFE[code]))
    before = lint_document(document, None)
    (finding, *_) = [f for f in before.findings if f.code == code and f.fix and f.fix.safe]
    assert finding.fix
    after_document = applied_to(document, finding.fix)
    assert after_document
    after = lint_document(after_document, None)
    changed = {key for key in PARAMETERS if getattr(before.config, key, None) != getattr(after.config, key, None)}
    keys = {edit.key for edit in finding.fix.edits}
    if before.usable:
        assert changed <= set(BY_CODE[code].idle)
        assert result_of(before.config, changed) == result_of(after.config, changed)
    else:
        assert changed <= keys
    assert finding.message not in {f.message for f in after.findings}


def valid_values() -> dict[str, list[object]]:
    """Return values of each key that the trainer takes, the default among them."""
    tried = [
        None,
        True,
        False,
        0,
        1,
        2,
        4,
        8,
        64,
        75,
        512,
        768,
        0.05,
        0.5,
        1.5,
        1e-4,
        1.0,
        "a.txt",
        ".txt",
        "AdamW",
        "Lion",
    ]
    found = {}
    for key, known in PARAMETERS.items():
        own = [*tried, *known.choices, *([] if known.required else [known.default])]
        found[key] = [value for value in own if key not in check({key: value}).invalid]
    return found


VALID = valid_values()
OF_RUNS = st.lists(
    st.sampled_from(sorted(VALID)).flatmap(lambda key: st.tuples(st.just(key), st.sampled_from(VALID[key]))), max_size=8
)


@given(st.sampled_from(sorted(SAFE)), OF_RUNS)
@settings(deadline=None, max_examples=400)
def test_no_safe_fix_changes_a_result(code: str, more: list[tuple[str, object]]) -> None:
    """Whatever else the config says: for every safe fix offered for a usable config, the resolved configs agree.

    The bad example of each rule with a safe fix is mixed with up to eight other settings.
    """
    document = parse_json(json.dumps(SAFE[code] | dict(more)))
    before = lint_document(document, None)
    for finding in before.findings if before.usable else ():
        if not (finding.fix and finding.fix.safe):
            continue
        after_document = applied_to(document, finding.fix)
        if after_document is None:
            continue
        after = lint_document(after_document, None)
        changed = {key for key in PARAMETERS if getattr(before.config, key) != getattr(after.config, key)}
        assert changed <= set(BY_CODE[finding.code].idle), finding
        assert result_of(before.config, changed) == result_of(after.config, changed), finding


def test_rules_with_idle_keys_have_safe_fixes() -> None:
    """A rule lists keys as idle because its fix changes them."""
    assert {rule.code for rule in RULES if rule.idle} <= set(SAFE)


def test_text_around_a_fix_stays() -> None:
    """Comments, order, line ends, indentation and the trailing comma survive; the removed key takes its line along."""
    text = (
        '{\r\n\t"base_model": "b", // mine\r\n\t"img_folder": "i",\r\n\t"keep_tokens": 1,\r\n'
        '\t/* numbers */ "net_dim": "8",\r\n\t"alpha": 8.0,\r\n\t"output_folder": "o",\r\n}\r\n'
    )
    done = fix(text)
    assert done.document.text == text.replace('\t"keep_tokens": 1,\r\n', "").replace('"8"', "8")
    assert {finding.code for finding in done.applied} == {"LL003", "LL202"}


def test_unsafe_fixes_only_when_wanted() -> None:
    """A fix that changes the result waits to be asked for."""
    text = json.dumps(REQUIRED | {"save_as": "pt"})
    assert fix(text).document.text == text
    assert fix(text, unsafe=True).document.values["save_as"] == "safetensors"


@pytest.mark.parametrize("text", ['{"net_dim": "8", "alp', "[1]", "", '{"net_dim": "8" "alpha": 1}'])
def test_broken_text_stays(text: str) -> None:
    """Where a part could not be read nothing is changed."""
    done = fix(text, unsafe=True)
    assert (done.document.text, done.applied) == (text, ())


def test_keys_of_a_loaded_file_stay() -> None:
    """A key removed here would come from the loaded file: it is left, while a value can be set."""
    document = parse_json('{"load_json_path": "x.json", "keep_tokens": 1, "net_dim": "8"}')
    assert applied_to(document, Fix((Edit("keep_tokens", "remove"),), safe=True)) is None
    assert applied_to(document, Fix((Edit("keep_tokens", "set", None),), safe=True)) is None
    changed = applied_to(document, Fix((Edit("net_dim", "set", 8),), safe=True))
    assert changed
    assert changed.values["net_dim"] == 8


def test_byte_order_mark_is_remembered() -> None:
    """The document after a fix still knows that the file began with a mark."""
    document = decode_document(("\ufeff" + json.dumps(REQUIRED | {"net_dim": "8"})).encode(), Path("c.json"))
    after = fixed(document, judge).document
    assert [problem.kind for problem in after.problems] == ["bom"]


def test_duplicates_of_the_same_value_go() -> None:
    """An earlier setting of the same value can go; of another value only when asked."""
    same = '{"base_model": "b", "img_folder": "i", "output_folder": "o", "net_dim": 8, "alpha": 8, "net_dim": 8}'
    assert fix(same).document.text == same.replace('"net_dim": 8, "alpha"', '"alpha"')
    other = same.replace('"net_dim": 8, "alpha"', '"net_dim": 9, "alpha"')
    assert fix(other).document.text == other
    assert fix(other, unsafe=True).document.values["net_dim"] == 8


def test_spelling_is_mended() -> None:
    """Python's words, single quotes and bare keys become JSON."""
    text = "{'base_model': 'b', img_folder: 'i', \"output_folder\": \"o\", \"shuffle_captions\": True}"
    assert json.loads(fix(text).document.text) == REQUIRED | {"shuffle_captions": True}


values = st.sampled_from(
    [None, True, False, 0, 1, 2, 8, 512, 0.5, 1e-4, "", "8", "1e-4", "true", "cosine", "Lion", "x"]
)


@given(st.dictionaries(st.sampled_from([*PARAMETERS, "net_dimm", "network_dim", "locon_dim"]), values, max_size=8))
@settings(deadline=None, max_examples=150)
@pytest.mark.parametrize("unsafe", [False, True])
def test_fixing_twice_changes_nothing(unsafe: bool, given_values: dict[str, object]) -> None:
    """After the fixes there is none left, whatever the file says, and the fixed text is one that can be read."""
    text = json.dumps(REQUIRED | given_values, indent=2)
    once = fix(text, unsafe=unsafe)
    assert not once.document.broken
    again = fixed(once.document, judge, unsafe=unsafe)
    assert again.document.text == once.document.text
    assert again.applied == ()
