"""Wrapping by cells of a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.cli.wrap import cells, wrapped

TEXTS = st.text(st.sampled_from("ab c 学習率の、。（）1.5-"), max_size=80)


@given(TEXTS, st.integers(10, 40))
def test_nothing_is_lost(text: str, width: int) -> None:
    """The lines hold the text's letters, in their order."""
    assert "".join("".join(wrapped(text, width)).split()) == "".join(text.split())


@given(TEXTS, st.integers(10, 40))
def test_lines_keep_to_the_width(text: str, width: int) -> None:
    """A line is wider than asked only where it holds nothing that could be broken."""
    for line in wrapped(text, width, ""):
        assert cells(line) <= width or len(wrapped(line, 1, "")) <= 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("学習率を上げます。", ["学習率を", "上げま", "す。"]),
        ("値は（小）です", ["値は", "（小）で", "す"]),
        ("rank and alpha", ["rank and", "alpha"]),
    ],
)
def test_japanese_breaks_where_it_may(text: str, lines: list[str]) -> None:
    """A wide letter takes two cells, no line begins with a closing sign or ends with an opening one."""
    assert wrapped(text, 8, "") == lines


def test_later_lines_are_indented() -> None:
    """The first line has its own lead, the others the indent."""
    assert wrapped("one two", 7, "   ", first=" - ") == [" - one", "   two"]
