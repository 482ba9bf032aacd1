"""How captions with weights are read: the examples that AUTOMATIC1111's web UI documents, and any text at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.config.emphasis import read_emphasis


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("[less] (blue eyes:1.3)", [("less", 1 / 1.1), (" ", 1.0), ("blue eyes", 1.3)]),
        ("((twice))", [("twice", 1.1 * 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0), ("house", 1.3 * 1.21), (" ", 1.1), ("on", 1.0), (" a ", 1.1), ("hill", 0.55),
                (", sun, ", 1.1), ("sky", 1.1**4), (".", 1.1),
            ],
        ),
        ("12:30, a:b (c:d)", [("12:30, a:b ", 1.0), ("c:d", 1.1)]),
        ("a) b] c:1.2)", [("a) b] c:1.2)", 1.0)]),
        ("", []),
    ],
)  # fmt: skip
def test_weights(text: str, expected: list[tuple[str, float]]) -> None:
    """Words with what they count."""
    found = read_emphasis(text).pieces
    assert [piece.text for piece in found] == [word for word, _ in expected]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize(
    ("text", "unclosed", "unopened"), [("(a", 1, 0), ("[a (b)", 1, 0), ("a))", 0, 2), (r"\(", 0, 0)]
)
def test_brackets_without_a_partner(text: str, unclosed: int, unopened: int) -> None:
    """Those that are never closed and those that close nothing are counted."""
    assert read_emphasis(text)[1:] == (unclosed, unopened)


@given(st.text(alphabet="ab ,.:()[]\\0123-+", max_size=40))
def test_any_text(text: str) -> None:
    """No text makes it raise, no letter but syntax gets lost, and without syntax all counts 1."""
    found = read_emphasis(text)
    for letter in "ab ,":
        assert found.text.count(letter) == text.count(letter)
    assert all(one.weight != other.weight for one, other in zip(found.pieces, found.pieces[1:], strict=False))
    if not set(text) & set("()[]\\"):
        assert found.text == text
        assert not found.weighted
