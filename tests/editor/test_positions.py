"""Offsets and an editor's positions agree, whatever signs a text has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.editor.positions import Change, Place, Positions, changed, difference

TEXTS = st.text(st.sampled_from(list('ab{}":,\n\r\t é😀\u2028\x0c\x85')), max_size=60)
ENCODINGS = ["utf-8", "utf-16", "utf-32"]


@pytest.mark.parametrize(
    ("encoding", "places"),
    [
        ("utf-16", [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 0)]),
        ("utf-8", [(0, 0), (0, 4), (0, 6), (1, 0), (1, 3), (2, 0)]),
        ("utf-32", [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]),
    ],
)
def test_units(encoding: str, places: list[tuple[int, int]]) -> None:
    """An emoji is two units of UTF-16 and four of UTF-8; U+2028 ends no line."""
    text = "😀é\r\n\u2028\n"
    offsets = [0, 1, 2, 4, 5, 6]
    positions = Positions(text, encoding)
    assert [positions.place(offset) for offset in offsets] == places
    assert [positions.offset(Place(*place)) for place in places] == offsets


@given(TEXTS, st.sampled_from(ENCODINGS), st.integers(0, 9), st.integers(0, 99))
def test_there_and_back(text: str, encoding: str, line: int, unit: int) -> None:
    """Every offset but that within a line end comes back; a place outside the text is at an end of a line."""
    positions = Positions(text, encoding)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] != "\r\n":
            assert positions.offset(positions.place(offset)) == offset
    assert 0 <= positions.offset(Place(line, unit)) <= len(text)


@given(TEXTS, TEXTS, st.sampled_from(ENCODINGS))
def test_a_difference_makes_the_other_text(before: str, after: str, encoding: str) -> None:
    """As a replacement of offsets, and as the change that an editor sends back."""
    start, end, new = difference(before, after)
    assert before[:start] + new + before[end:] == after
    positions = Positions(before, encoding)
    change = Change(new, positions.place(start), positions.place(end))
    assert changed(before, change, encoding) == after


def test_a_change_without_a_place_is_the_text() -> None:
    """Editors may send all of it."""
    assert changed("a", Change("b")) == "b"
