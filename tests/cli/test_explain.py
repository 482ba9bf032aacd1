"""`lora-lab explain`: the pages of parameters and rules."""

import json

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli.explain import WIDEST, command
from lora_lab.cli.wrap import cells
from lora_lab.config import PARAMETERS
from lora_lab.config.japanese import in_japanese
from lora_lab.failure import Failure
from lora_lab.lint import RULES


def explain(*words: str, columns: int = 80, color: bool = False) -> Result:
    """Run the command on a terminal of that width."""
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(
        command, list(words), standalone_mode=False, catch_exceptions=False, color=color
    )


def flat(text: str) -> str:
    """Undo the wrapping."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_a_page_says_all_that_is_known(name: str) -> None:
    """Meaning, limits, typical values, pitfalls with sources, misreading and other names stand on the page."""
    known, page = PARAMETERS[name], flat(explain(name).output)
    parts = [known.meaning, known.type_text, known.range_text, known.unit, known.typical, known.misread or ""]
    parts += [text for one in known.pitfalls for text in (one.text, f"source: {one.source}")]
    parts += list(known.aliases.values())
    assert [part for part in parts if flat(part) not in page] == []


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_lines_keep_to_the_terminal(columns: int) -> None:
    """Text is wrapped to the width of the terminal, at most to a readable one; long words may stick out."""
    for line in explain("train_resolution", columns=columns).output.splitlines():
        assert len(line) <= min(columns, WIDEST) or len(line.split()[-1]) > 20


def test_colours_are_for_terminals_only() -> None:
    """A pipe gets plain text."""
    assert "\x1b[" in explain("net_dim", color=True).output
    assert "\x1b[" not in explain("net_dim").output


def test_without_a_word_all_parameters_are_listed_by_topic() -> None:
    """Each key has one line, under one of the topics."""
    lines = explain().output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        name
        for topic in dict.fromkeys(known.topic for known in sorted(PARAMETERS.values(), key=lambda one: one.row))
        for name, known in PARAMETERS.items()
        if known.topic == topic
    ]
    assert {known.topic for known in PARAMETERS.values()} <= set(lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(("word", "name"), [("network_dim", "net_dim"), ("train-batch-size", "batch_size")])
def test_another_tools_name_is_understood(word: str, name: str) -> None:
    """The page of our key is shown, and what it is called here goes to stderr."""
    result = explain(word)
    assert result.stdout.startswith(name)
    assert f"is called {name} here" in result.stderr


def test_json_for_tools() -> None:
    """One parameter is an object, all of them a list, in reference order."""
    one = json.loads(explain("alpha", "--format", "json").stdout)
    assert (one["name"], one["default"], one["minimum"], one["aliases"]["sd-scripts"]) == (
        "alpha",
        16.0,
        0.0,
        "network_alpha",
    )
    assert one["pitfalls"][0].keys() == {"text", "source"}
    assert [known["name"] for known in json.loads(explain("--format", "json").stdout)] == list(PARAMETERS)
    required = json.loads(explain("base_model", "--format", "json").stdout)
    assert (required["required"], required["default"]) == (True, None)


def test_every_rule_has_a_page() -> None:
    """Code and name, in any case, lead to the rule's page."""
    assert RULES
    for rule in RULES:
        page = explain(rule.code.lower()).output
        assert page.startswith(f"{rule.code} {rule.name}")
        assert page == explain(rule.name).output
        assert rule.page.strip().splitlines()[0].strip() in page
        assert json.loads(explain(rule.code, "--format", "json").stdout)["severity"] == rule.severity


@pytest.mark.parametrize(("word", "meant"), [("net_dimm", "net_dim"), ("noise_ofset", "noise_offset")])
def test_an_unknown_word_comes_with_the_likest(word: str, meant: str) -> None:
    """It fails with a suggestion, or with the way to the list."""
    with pytest.raises(Failure) as failure:
        explain(word)
    assert word in failure.value.what
    assert meant in failure.value.remedy
    with pytest.raises(Failure, match="lists the parameters"):
        explain("zzzzzzzzzz")


def test_japanese_page() -> None:
    """`--lang ja` shows meaning, limits and pitfalls in Japanese, no wider than the terminal."""
    page = explain("net_dim", "--lang", "ja", columns=60).output
    whole = "".join(page.split())
    assert "".join(in_japanese(PARAMETERS["net_dim"]).meaning.split()) in whole
    assert "落とし穴" in page
    assert "1以上、100000以下" in whole
    assert all(cells(line) <= 60 for line in page.splitlines())


def test_japanese_list_and_data() -> None:
    """The list of all parameters and the JSON are in Japanese too; a rule's page says that it is English only."""
    assert "学習率" in explain("--lang", "ja").output
    assert json.loads(explain("net_dim", "--lang", "ja", "--format", "json").output)["topic"] == "ネットワーク"
    assert "英語のみ" in explain("LL403", "--lang", "ja").stderr
