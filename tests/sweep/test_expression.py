"""The expression language of grids: what it gives, and that it gives nothing else."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.sweep.expression import ExpressionError, parse_expression, same

VALUES = {"net_dim": 16, "alpha": 8.0, "scheduler": "cosine", "flip_aug": True, "max_steps": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("net_dim / 2", 8.0),
        ("net_dim // 3", 5),
        ("net_dim % 5", 1),
        ("2 ** 3", 8),
        ("-alpha + 1", -7.0),
        ("min(net_dim, 4)", 4),
        ("round(sqrt(net_dim))", 4),
        ("1e-4 * sqrt(net_dim / 4)", 2e-4),
        ("log2(8)", 3.0),
        ("net_dim > 8 and alpha <= 8", True),
        ("4 <= net_dim < 16", False),
        ("not flip_aug", False),
        ('scheduler == "cosine"', True),
        ('scheduler in ["linear", "constant"]', False),
        ('scheduler not in ["linear"]', True),
        ("max_steps == null", True),
        ("flip_aug == true", True),
        ("flip_aug == 1", False),
        ("32 if net_dim > 8 else 64", 32),
        ('"a" if false else "b"', "b"),
    ],
)
def test_value(text: str, value: object) -> None:
    """Arithmetic, comparisons and choices have the value that a person expects."""
    found = parse_expression(text).value(VALUES)
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


def test_names() -> None:
    """An expression knows which parameters it speaks of; functions and words are none."""
    assert parse_expression("min(net_dim, alpha) if flip_aug == true else null").names == {
        "net_dim",
        "alpha",
        "flip_aug",
    }


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch marker')",
        "open('marker', 'w')",
        "net_dim.__class__",
        "(lambda: 1)()",
        "[x for x in range(9)]",
        "net_dim[0]",
        "f'{net_dim}'",
        "{1: 2}",
        "a := 3",
        "min(*net_dim)",
        "min(net_dim, key=abs)",
        "net_dim is 3",
        "1j",
        "b'x'",
        "import os",
        "net_dim /",
        "",
        "1 " + "+ 1" * 300,
    ],
)
def test_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in the language is refused while it is read, and none of it is run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpressionError):
        parse_expression(text).value({"net_dim": 3})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net_dim / 0", "division by zero"),
        ("9 ** 9 ** 9", "exponent"),
        ("10 ** 60", "no number"),
        ("exp(1000)", "has no value"),
        ('"a" * 1000000000', "no number"),
        ("scheduler + 1", "no number"),
        ("max_steps * 2", "null"),
        ("sqrt(0 - 1)", "has no value"),
        ("(0 - 8) ** 0.5", "no number"),
        ('"a" < 3', "neither above nor below"),
        ("3 in 3", "needs a list"),
        ("min(1)", "has no value"),
    ],
)
def test_without_value(text: str, said: str) -> None:
    """An expression without a value says why, whatever goes wrong inside."""
    with pytest.raises(ExpressionError, match=said):
        parse_expression(text).value(VALUES)


def test_place_of_a_mistake() -> None:
    """A mistake is said to stand where it stands in the text."""
    with pytest.raises(ExpressionError) as caught:
        parse_expression("net_dim + cube(3)")
    assert caught.value.offset == len("net_dim + ")


@given(st.text(st.sampled_from("net_dim 0123456789+-*/%().,<>=![]'\"if else and or"), max_size=40))
def test_any_text_is_answered(text: str) -> None:
    """Any text is an expression with a value or an `ExpressionError`, never anything else."""
    try:
        value = parse_expression(text).value({"net_dim": 8, "n": 1})
    except (ExpressionError, KeyError):
        return
    assert value is None or isinstance(value, (bool, int, float, str, list))
    assert not isinstance(value, float) or math.isfinite(value)


def test_true_is_not_one() -> None:
    """Values of a parameter are told apart by kind where Python does not."""
    assert same(1, 1.0)
    assert not same(1, True)
    assert same(True, True)
