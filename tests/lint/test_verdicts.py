"""Each condition that the older tools know, and each of the 40 mistakes that people make most, has a verdict.

It is a rule, the key's type or range, or the reason why it is none here. `M01` is a condition about experiments, `#01`
the first of the mistakes.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from lora_lab.lint import RULES

LINES = (Path(__file__).parent / "verdicts.tsv").read_text(encoding="utf-8").splitlines()
ROWS = [line.split("\t") for line in LINES[1:]]
KNOWN = {rule.code for rule in RULES}
LAST = {
    "A": 24,
    "B": 26,
    "C": 30,
    "D": 42,
    "E": 26,
    "F": 25,
    "G": 31,
    "H": 17,
    "I": 14,
    "J": 16,
    "K": 15,
    "L": 6,
    "M": 6,
}
"""How many conditions each part of the list has."""

MISTAKES = 40


def codes(verdict: str) -> list[str]:
    """Return the codes of a verdict; none where it is no rule."""
    return verdict.split(",") if verdict.startswith("LL") else []


def test_every_condition_has_one_verdict() -> None:
    """A01 to M06 and #01 to #40, each once; rows without an id are conditions that the lists lack."""
    wanted = [f"{letter}{number:02}" for letter, last in LAST.items() for number in range(1, last + 1)]
    assert len(wanted) == 278
    wanted += [f"#{number:02}" for number in range(1, MISTAKES + 1)]
    assert [row[0] for row in ROWS if row[0] != "-"] == wanted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_verdict_is_one_of_three(row: list[str]) -> None:
    """Codes of rules that exist, `type/range`, or `not applicable:` with a reason that names only rules that exist."""
    _, condition, verdict = row
    assert condition
    if codes(verdict):
        assert set(codes(verdict)) <= KNOWN
    elif verdict != "type/range":
        assert re.fullmatch(r"not applicable: \S.+", verdict)
        assert set(re.findall(r"LL\d{3}", verdict)) <= KNOWN


def test_every_rule_has_a_condition() -> None:
    """Each rule about a setting or the disk says which condition it covers."""
    named = Counter(code for row in ROWS for code in codes(row[2]))
    assert {code for code in KNOWN if "1" <= code[2] <= "7"} <= set(named)


def test_there_are_enough_rules() -> None:
    """The number that the project set out to reach."""
    assert len(RULES) >= 150
