"""The YAML reader: YAML 1.2 values, exact places, and problems in place of exceptions."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document.yaml_text import DEEPEST, parse_yaml, read_yaml
from lora_lab.failure import Failure

GRID = """\
name: shapes
parameters:
  net_dim: [8, 16]
  unet_lr:
    values: [1e-3, 1.0e-4]
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:00", "12:30:00"),
        ("!!str 12", "12"),
        (".inf", float("inf")),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text: str, value: object) -> None:
    """`1e-4` is a number, `on` a text and `010` ten, which YAML 1.1 readers get wrong."""
    document = parse_yaml(f"key: {text}")
    assert document.problems == ()
    assert document.values == {"key": value}
    assert type(document.values["key"]) is type(value)


def test_places_are_those_of_the_text() -> None:
    """The span of a value cut out of the text is the value as written, and lines and columns count from one."""
    document = parse_yaml(GRID)
    span = document.span_of(("parameters", "unet_lr", "values", 1))
    assert GRID[span.start : span.end] == "1.0e-4"
    assert (span.line, span.column) == (5, 20)
    key = document.key_span_of(("parameters", "net_dim"))
    assert (GRID[key.start : key.end], key.line, key.column) == ("net_dim", 3, 3)
    assert document.span_of(("parameters", "net_dim", 7)) == document.span_of(("parameters", "net_dim"))


@pytest.mark.parametrize(
    ("text", "said", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' stands twice; the first is in line 1", 3, 1),
        ("a: [1\n", "while parsing a flow sequence", 2, 1),
        ("a: b: c", "mapping values are not allowed here", 1, 5),
        ("a: *b", "*b stands for nothing that came before it", 1, 4),
        ("a: &b [*b]", "*b stands for nothing that came before it", 1, 8),
        ("a: !!int x", "'x' cannot be read as int", 1, 4),
        ("a: 1\n---\nb: 2", "a second document", 3, 1),
        ("? [a]\n: {b: 1}\nc: d", "a key must be a text", 1, 3),
        ("a: !x {b: 1}", "the tag !x means nothing here", 1, 4),
    ],
)
def test_mistakes_are_problems_with_their_place(text: str, said: str, line: int, column: int) -> None:
    """Each mistake is told in words with the line and column where it stands."""
    (problem,) = parse_yaml(text).problems
    assert problem.message.startswith(said)
    assert (problem.span.line, problem.span.column) == (line, column)


def test_what_follows_a_refused_key_is_still_read() -> None:
    """A key that is a list costs its own value and nothing else."""
    assert parse_yaml("? [a]\n: {b: 1}\nc: d").values == {"c": "d"}


def test_of_equal_keys_the_first_stands() -> None:
    """A repeated key changes nothing that was read before it."""
    assert parse_yaml("a: 1\na: {b: 2}\nc: 3").values == {"a": 1, "c": 3}


def test_an_alias_means_what_its_anchor_stands_on() -> None:
    """Aliases work, for lists as for scalars."""
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: &y 3\nd: [*y]").values == {"a": [1, 2], "b": [1, 2], "c": 3, "d": [3]}


def test_a_bomb_of_aliases_is_refused() -> None:
    """Eight lines that stand for 9^8 values are refused before anybody walks them."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (problem,) = parse_yaml("\n".join(lines)).problems
    assert "stands for more than" in problem.message


@pytest.mark.parametrize("text", ["- " * 5000, "[" * 5000, "{a: " * 5000])
def test_bottomless_nesting_is_refused(text: str) -> None:
    """Nesting deeper than any grid is one problem, whatever the recursion limit is."""
    (problem,) = parse_yaml(text).problems
    assert str(DEEPEST) in problem.message


@given(st.one_of(st.text(), st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,\n \t\\0U~<=.xe1\x00\x85\ud800")))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    """No text makes the reader raise, and every problem's place lies within the text."""
    document = parse_yaml(text)
    assert all(0 <= problem.span.start <= problem.span.end <= len(text) for problem in document.problems)
    assert all(0 <= span.start <= span.end <= len(text) for span in document.value_spans.values())


@given(st.dictionaries(st.text(alphabet="abc_"), st.lists(st.one_of(st.integers(), st.booleans(), st.none()))))
def test_values_survive(values: dict[str, list[object]]) -> None:
    """Values written out in flow style come back the same."""
    lines = [f'"{key}": {json.dumps(items)}' for key, items in values.items()]
    assert (parse_yaml("\n".join(lines)).values or {}) == values


def test_files_that_cannot_be_read_are_failures(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no UTF-8 are each said in one line."""
    with pytest.raises(Failure, match=r"no such file|is a folder"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(Failure, match=r"no such file|is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(Failure, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(tmp_path / "bom.yaml").values == {"a": 1}


def test_half_a_character() -> None:
    """Half of a character, which no file could be written with, is a problem with its place; two halves are one."""
    read = parse_yaml('a: ["\\ud83d\\ude00", "x\\ud800"]\n"\\udc00": 1\n')
    assert read.values == {"a": ["\U0001f600", "x\ufffd"], "\ufffd": 1}
    assert [(problem.span.line, problem.span.column) for problem in read.problems] == [(1, 21), (2, 1)]
    assert "half of a character" in read.problems[0].message
