"""Some of what benchmarks/planted_mistakes.py plants: found where it is, silent where nothing is."""

import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import planted_mistakes as planted

MISTAKES = planted.mistakes()
WITH_RULES = [one for one in MISTAKES if one.codes]
CLEAN = planted.clean_configs()
EACH = 3


def test_every_mistake_with_a_rule_is_planted() -> None:
    """Each of the 40 is in the table, and each that a rule covers has at least five plants."""
    assert [one.number for one in MISTAKES] == list(range(1, 41))
    assert len(WITH_RULES) == 39  # diffusers' data sets (#36) are no files that lint reads
    assert all(len(planted.plants(one.number, 0)) >= 5 for one in WITH_RULES)
    assert len(CLEAN) >= 30


@pytest.mark.parametrize("mistake", WITH_RULES, ids=lambda one: f"{one.number:02}")
def test_plants_are_found(mistake: planted.Mistake) -> None:
    """The first plants of a mistake each give a finding that its clean config does not give."""
    missed = [one.plant for one in islice(planted.tried(mistake, seed=0), EACH) if not one.found]
    assert not missed


@pytest.mark.parametrize("plant", CLEAN[::4], ids=lambda one: f"{one.form}-{one.base}")
def test_clean_configs_are_clean(plant: planted.Plant) -> None:
    """A clean config has no error and no warning, for lora_lab and for its own trainer."""
    assert not list(planted.false_findings(plant))
