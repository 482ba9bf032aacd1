"""The TOML reader: the same values as Python's own, the place of everything, and no end at the first slip."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lora_lab.document import parse_json
from lora_lab.document.compose import to_json, to_toml
from lora_lab.document.toml_text import parse_toml
from lora_lab.document.tree import Tree

VALID = [
    'a = 1\nb = "two"\n',
    "[model]\nv2 = false\nname = 'C:\\new'\n[train.deep]\nlr = 1e-4 # a comment\n",
    "[[datasets]]\nsize = [ 768, 512,]\n[[datasets.subsets]]\ndir = 'a'\n[[datasets.subsets]]\ndir = 'b'\n",
    'a.b."c d" = 0x1F\nf = [\n  1, # one\n  2,\n]\n',
    "a = \"\"\"\none\\\n   two\"\"\"\nb = '''\nraw\\n'''\n",
    'a = { b = 1, c.d = "x" }\ne = [{ x = 1 }, { x = 2 }]\n',
    "a = +1_000\nb = -0.5\nc = 5e+22\nd = 0b11\ne = 0o17\n",
    'a = "\\u00e9\\U0001F600\\t\\"\\\\"\r\nb = true\r\n',
    'q = """a "quoted" word"""""\n',
    "",
]


def nested(tree: Tree) -> dict[str, Any]:
    """Return the tree's items as nested dictionaries and lists."""
    root: dict[str, Any] = {}
    for item in tree.items:
        here: Any = root
        for key, after in zip(item.place, item.place[1:], strict=False):
            if isinstance(key, int):
                here += [{} for _ in range(key + 1 - len(here))]
                here = here[key]
            else:
                here = here.setdefault(key, [] if isinstance(after, int) else {})
        here[item.key] = item.value
    return root


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there is no reader to compare with")
@pytest.mark.parametrize("text", VALID)
def test_same_as_the_standard_library(text: str) -> None:
    """Valid TOML gives the values that Python's own reader gives, and no problem."""
    import tomllib

    tree = parse_toml(text)
    assert nested(tree) == tomllib.loads(text.replace("\r\n", "\n"))
    assert tree.problems == ()


def test_places() -> None:
    """Each key and value knows its line and column, and its span is the text itself."""
    text = '\n[network]\n  network_dim = 16\n  args = ["a=1"]\n'
    dim, args = parse_toml(text).items
    assert (dim.place, dim.key_span[2:], dim.value_span[2:]) == (("network", "network_dim"), (3, 3), (3, 17))
    assert text[args.value_span.start : args.value_span.end] == '["a=1"]'
    assert text[args.key_span.start : args.key_span.end] == "args"


def test_goes_on_after_a_slip() -> None:
    """What is wrong is a problem with its place; the lines around it are read."""
    tree = parse_toml("a = 1\nb = True\nc = \nd = nothing\ne = 5\n")
    assert {item.key: item.value for item in tree.items} == {"a": 1, "e": 5}
    assert [problem.span.line for problem in tree.problems] == [2, 3, 4]
    assert "small letters" in tree.problems[0].message


def test_lost_line_ends() -> None:
    """Of a paste in one line the keys are read, and the slip is said once."""
    tree = parse_toml("[model] a = 1 b = 'x' c = 3\n")
    assert nested(tree) == {"model": {"a": 1, "b": "x", "c": 3}}
    assert len(tree.problems) == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [('p = "C:\\Users\\me"', "syntax"), ('p = "C:\\train\\new"', "spelling")],
)
def test_windows_path(text: str, kind: str) -> None:
    """Single backslashes are read as the path that they show, and reported: TOML refuses some and eats others."""
    tree = parse_toml(text)
    assert tree.items[0].value == text[5:-1]
    assert [problem.kind for problem in tree.problems] == [kind]


def test_byte_order_mark() -> None:
    """A byte-order mark is stepped over and reported, and positions count from behind it."""
    tree = parse_toml("\ufeffa = 1")
    assert tree.items[0].key_span.start == 0
    assert [problem.kind for problem in tree.problems] == ["bom"]


@pytest.mark.parametrize("text", ["a = 1\na = 2\n", "[a]\nx = 1\n[b]\n[a]\ny = 2\n", "a = 1\n[a]\nb = 2\n"])
def test_twice(text: str) -> None:
    """What TOML refuses to have twice is a problem."""
    assert len(parse_toml(text).problems) == 1


def test_too_deep() -> None:
    """Nesting without end ends in a problem, not in a crash."""
    assert "nested deeper" in parse_toml("a = " + "[" * 5000).problems[0].message


@given(st.text() | st.text(alphabet="[]{}=\"'\\\n #,.ab10-+e"))
def test_any_text(text: str) -> None:
    """No text makes the reader raise, and every span lies in the text."""
    tree = parse_toml(text)
    for item in tree.items:
        assert 0 <= item.key_span.start < item.key_span.end <= len(tree.text)
        assert item.value_span.end <= len(tree.text)


VALUES = st.one_of(st.booleans(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False), st.text())


LIKE_PATHS = ["A:\x1f", "A:\t", "A:\n\\new", 'A:"', "A:\x7f", "\\ab\n12", "A:\\new", "\\\\server\\new", "A:\\\x00"]
"""Texts that, written as JSON and TOML usually are, look like Windows paths with single backslashes, and some paths."""


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), VALUES | st.lists(st.text(), max_size=3)))
@example({"a": LIKE_PATHS})
def test_write_and_read(values: dict[str, Any]) -> None:
    """What is written is read back as it was."""
    finite = {key: value for key, value in values.items() if value not in (float("inf"), float("-inf"))}
    tree = parse_toml(to_toml(finite))
    assert {item.key: item.value for item in tree.items} == finite
    assert tree.problems == ()


@given(st.text(alphabet='A:\\\t\n\x1f\x7f"ab12', max_size=8))
def test_write_and_read_what_looks_like_a_path(text: str) -> None:
    """In TOML and in JSON, as a value and as a key."""
    values = {"a": text, "b": [text, {"c": text}]}
    assert {item.key: item.value for item in parse_toml(to_toml({"a": text})).items} == {"a": text}
    read = parse_json(to_json(values))
    assert read.values == values
    assert read.problems == ()
    assert json.loads(to_json({text: text})) == {text: text}


def test_suffix_is_not_needed(tmp_path: Path) -> None:
    """The path is only carried along."""
    assert parse_toml("a = 1", tmp_path).path == tmp_path
