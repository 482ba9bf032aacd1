"""The Japanese of the parameters: complete for the classic 65, and a translation of today's English."""

import re

import pytest

from lora_lab.config import PARAMETERS, Parameter
from lora_lab.config.japanese import WORDS, checksum, in_japanese, japanese, range_in_japanese, word

CLASSIC = 65
KANA_OR_KANJI = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
TRANSLATED = [one for one in PARAMETERS.values() if one.name in japanese()]


def texts(known: Parameter) -> list[str]:
    """Return all the sentences about a parameter."""
    return [known.meaning, known.typical, *(one.text for one in known.pitfalls), known.misread or ""]


def test_the_classic_parameters_are_all_there() -> None:
    """Each of the 65 parameters has a Japanese entry, and there is no entry for anything else."""
    assert {one.name for one in PARAMETERS.values() if one.row <= CLASSIC} <= set(japanese())
    assert set(japanese()) - {WORDS} <= set(PARAMETERS)


@pytest.mark.parametrize("known", TRANSLATED, ids=lambda known: known.name)
def test_it_translates_the_english_of_today(known: Parameter) -> None:
    """An entry names the checksum of its English: whoever changes the English reads the Japanese again."""
    entry = japanese()[known.name]
    assert entry["of"] == checksum(known), (
        f"read {known.name} again in japanese.toml, then write of = {checksum(known)!r}"
    )
    assert len(entry["pitfalls"]) == len(known.pitfalls)
    assert bool(entry.get("misread")) == bool(known.misread)


@pytest.mark.parametrize("known", TRANSLATED, ids=lambda known: known.name)
def test_it_names_the_same_keys(known: Parameter) -> None:
    """Every sentence is in Japanese and names the same keys and files as its English."""
    for english, translated in zip(texts(known), texts(in_japanese(known)), strict=True):
        assert not english or translated in {"null。", "false。"} or KANA_OR_KANJI.search(translated)
        keys = {name for name in re.findall(r"`([^`]+)`", english) if name in PARAMETERS}
        assert keys <= set(re.findall(r"`([^`]+)`", translated)), english


@pytest.mark.parametrize("known", PARAMETERS.values(), ids=lambda known: known.name)
def test_the_short_words_are_there(known: Parameter) -> None:
    """Type, unit and topic of every parameter have their Japanese word; limits are said with their numbers."""
    shown = in_japanese(known)
    assert all(KANA_OR_KANJI.search(text) for text in (shown.type_text, shown.topic))
    assert not known.unit or word(known.unit) in japanese()[WORDS].values()
    for number in re.findall(r"\d+", known.range_text):
        assert number in range_in_japanese(known)
    assert bool(range_in_japanese(known)) == bool(known.range_text)
