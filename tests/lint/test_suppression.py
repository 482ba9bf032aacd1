"""What a file asks not to be told is not told, and asking in vain is."""

from pathlib import Path

import pytest

from lora_lab.document import parse_json
from lora_lab.document.dialects import decode_config
from lora_lab.lint import Finding, lint_document, lint_values

START = '{"base_model": "b", "img_folder": "i",\n"output_folder": "o",\n'


def findings(text: str) -> list[Finding]:
    """Lint a text without the disk."""
    return list(lint_document(parse_json(START + text + "\n}"), None).findings)


def codes(text: str) -> list[str]:
    """Return the codes of the findings of a text."""
    return [finding.code for finding in findings(text)]


@pytest.mark.parametrize(
    "text",
    [
        '"save_as": "pt" // lora-lab: ignore[LL701] an old plugin',
        '// lora-lab: ignore[LL701] an old plugin\n"save_as": "pt"',
        '# lora-lab: ignore[pickle-format]: an old plugin\n"save_as": "pt"',
        '/* lora-lab: ignore[LL7] an old plugin */ "save_as": "pt"',
        '/* lora-lab: ignore[LL701] an\n old plugin */\n"save_as": "pt"',
        '// lora-lab: ignore[LL701] an old plugin\n// and more\n"save_as": "pt"',
        '"save_as": "pt", "lora_lab:ignore": {"LL701": "an old plugin"}',
        '"save_as": "pt", "lora_lab:ignore": ["LL701: an old plugin"]',
        '"save_as": "pt", "lora_lab:ignore": "pickle-format an old plugin"',
    ],
)
def test_finding_is_suppressed(text: str) -> None:
    """A comment on the line or above it, or the key, for the whole file."""
    assert codes(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"save_as": "pt" // lora-lab: ignore[LL701]', ["LL012"]),
        ('"save_as": "pt", "lora_lab:ignore": ["LL701"]', ["LL012"]),
        ('"save_as": "pt", "lora_lab:ignore": {"LL701": 3}', ["LL012"]),
        ('// lora-lab: ignore[LL701] why\n"clip_skip": 1,\n"save_as": "pt"', ["LL013", "LL701"]),
        ('"save_as": "pt" // lora-lab: ignore[LL702] why', ["LL701", "LL013"]),
        ('"save_as": "pt" // lora-lab: ignore[LL701, LL9999] why', ["LL013"]),
        ('"save_as": "pt" // lora-lab ignores this', ["LL701"]),
        ('"training_comment": "// lora-lab: ignore[LL701] why", "save_as": "pt"', ["LL702", "LL701"]),
    ],
)
def test_what_is_wrong_with_a_suppression(text: str, found: list[str]) -> None:
    """No reason, another line, another rule, no rule."""
    assert sorted(codes(text)) == sorted(found)


def test_what_the_trainer_refuses_is_not_hidden() -> None:
    """To hide it would not make the run start."""
    found = findings('"net_dim": "8" // lora-lab: ignore[LL003] why')
    assert [finding.code for finding in found] == ["LL003", "LL013"]
    assert "can't be ignored" in found[1].message


def test_hidden_error_of_another_kind_lets_the_file_through() -> None:
    """What the writer knows better, the trainer takes from him."""
    text = '"max_bucket_resolution": 256 // lora-lab: ignore[LL601] why'
    document = parse_json(START + text + "\n}")
    assert lint_document(parse_json(START + text.partition("//")[0] + "}"), None).usable is False
    assert lint_document(document, None).usable is True


def test_rules_that_did_not_run_are_passed_over() -> None:
    """Without the disk nobody knows whether the folder would be missing; with an invalid dim nothing about ranks."""
    assert codes('"lora_lab:ignore": {"LL102": "comes later"}') == []
    assert codes('"net_dim": "8", "lora_lab:ignore": {"LL301": "wide"}') == ["LL003"]


def test_points_of_a_grid_too() -> None:
    """The key counts where values stand in no file."""
    values = {"base_model": "b", "img_folder": "i", "output_folder": "o", "save_as": "pt"}
    assert lint_values(values | {"lora_lab:ignore": {"LL701": "why"}}, Path(), None).findings == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'base_model = "b"\nsave_as = "pt" # lora-lab: ignore[LL701] {reason}\n'),
        ("a.toml", 'base_model = "b"\n# lora-lab: ignore[pickle-format] {reason}\n# more\nsave_as = "pt"\n'),
        ("a.yaml", "base_model: it's\nsave_as: pt # lora-lab: ignore[LL701] {reason}\n"),
        ("sd.toml", 'network_dim = 8\nsave_model_as = "pt" # lora-lab: ignore[LL701] {reason}\n'),
        ("r.sh", "# lora-lab: ignore[LL701] {reason}\npython train_network.py \\\n  --save_model_as pt\n"),
        (
            "k.json",
            '{"LoRA_type": "a", "network_dim": 8, "save_model_as": "pt", "lora_lab:ignore": {"LL701": "{reason}"}}',
        ),
    ],
)
def test_every_format_can_ignore(name: str, text: str) -> None:
    """A comment after # in TOML, YAML and scripts, the key in another program's JSON; without a reason that is said."""

    def found(reason: str) -> set[str]:
        document = decode_config(text.replace("{reason}", reason).encode(), Path(name))
        return {finding.code for finding in lint_document(document, None).findings}

    assert {"LL701", "LL012", "LL013"}.isdisjoint(found("an old viewer"))
    assert "LL012" in found("")


def test_what_is_quoted_is_no_comment() -> None:
    """A value that looks like a suppression is a value."""
    text = 'base_model = \'b\'\nsave_as = "pt"\ntraining_comment = "# lora-lab: ignore[LL701] x"\n'
    document = decode_config(text.encode(), Path("a.toml"))
    assert "LL701" in {finding.code for finding in lint_document(document, None).findings}
