"""Edits of the text change what they are asked to and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.document import parse_json
from lora_lab.document.edit import with_json_spelling, with_name, with_value, without_duplicates, without_key


@pytest.mark.parametrize(
    ("text", "key", "after"),
    [
        ('{"a": 1, "b": 2, "c": 3}', "a", '{"b": 2, "c": 3}'),
        ('{"a": 1, "b": 2, "c": 3}', "b", '{"a": 1, "c": 3}'),
        ('{"a": 1, "b": 2, "c": 3}', "c", '{"a": 1, "b": 2}'),
        ('{"a":1,"b":2}', "a", '{"b":2}'),
        ('{"a": 1}', "a", "{}"),
        ('{\n  "a": 1,\n  "b": 2\n}', "a", '{\n  "b": 2\n}'),
        ('{\n  "a": 1,\n  "b": 2\n}', "b", '{\n  "a": 1\n}'),
        ('{\r\n  "a": 1,\r\n  "b": 2,\r\n}', "b", '{\r\n  "a": 1,\r\n}'),
        ('{\n "a": 1, "b": 2,\n "c": 3\n}', "a", '{\n "b": 2,\n "c": 3\n}'),
        ('{\n "a": 1, "b": 2,\n "c": 3\n}', "b", '{\n "a": 1,\n "c": 3\n}'),
        ('{ "a": 1\n, "b": 2\n, "c": 3\n}', "b", '{ "a": 1\n, "c": 3\n}'),
        ('{\n "a": 1, // one\n "b": 2 // two\n}', "b", '{\n "a": 1 // one\n // two\n}'),
        ('{"a": 1, "b": 2, "a": 3}', "a", '{"b": 2}'),
        ('{"a": [1, {"b": 2}], /* , */ "b": 2}', "b", '{"a": [1, {"b": 2}] /* , */}'),
        ('{"a": 1}', "z", '{"a": 1}'),
    ],
)
def test_removed_key_takes_its_comma_and_line(text: str, key: str, after: str) -> None:
    """One comma goes along, and the line where it is empty then; comments stay."""
    assert without_key(parse_json(text), key) == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("{}", '{"z": 9}'),
        ('{"a":1,"b":2}', '{"a":1,"b":2,"z":9}'),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2, "z": 9}'),
        ('{\n\t"a" : 1\n}\n', '{\n\t"a" : 1,\n\t"z" : 9\n}\n'),
        ('{\r\n "a": 1,\r\n}', '{\r\n "a": 1,\r\n "z": 9,\r\n}'),
        ('{\n "a": 1 // one\n}', '{\n "a": 1, // one\n "z": 9\n}'),
        ('{\n "a": 1, /* one\n more */\n}', '{\n "a": 1, /* one\n more */\n "z": 9,\n}'),
    ],
)
def test_new_key_looks_like_its_neighbours(text: str, after: str) -> None:
    """Indentation, blanks, line ends and the trailing comma are those of the file."""
    assert with_value(parse_json(text), "z", 9) == after


def test_value_is_replaced_in_place() -> None:
    """A number in quotes keeps the way in which it was written; other values are written as JSON."""
    assert with_value(parse_json('{"a": "1e-4" /* a */}'), "a", 1e-4) == '{"a": 1e-4 /* a */}'
    assert with_value(parse_json('{"a": "x"}'), "a", ["日", None]) == '{"a": ["日", null]}'
    assert with_value(parse_json('{"a": 1}'), "a", "\ud800") == '{"a": "\\ud800"}'


def test_name_is_replaced_in_place() -> None:
    """The value stays; what an earlier key of the same name said goes; an existing name is not taken twice."""
    assert with_name(parse_json('{"a": 1, "b": 2, "a": 3}'), "a", "c") == '{"b": 2, "c": 3}'
    assert with_name(parse_json('{"a": 1, "b": 2}'), "a", "b") == '{"a": 1, "b": 2}'


def test_duplicates_go() -> None:
    """Only the setting that counts stays."""
    assert without_duplicates(parse_json('{"a": 1, "b": 2, "a": 3}'), "a") == '{"b": 2, "a": 3}'


def test_json_spelling() -> None:
    """Key and value are written as JSON."""
    assert with_json_spelling(parse_json("{'a': True, b: 'c'}"), "a") == "{\"a\": true, b: 'c'}"


blank = st.sampled_from(["", " ", "\n", "\r\n  ", "\t", " // , }\n", " /* { */ ", '\n# "\n'])
scalar = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.lists(st.integers(0, 3), max_size=2)


@st.composite
def configs(draw: st.DrawFn) -> str:
    """Draw a JSON object with comments and blanks everywhere, perhaps with duplicates and a trailing comma."""
    pairs = draw(st.lists(st.tuples(st.sampled_from("abcd"), scalar), max_size=5))
    parts = [
        f"{draw(blank)}{json.dumps(key)}{draw(blank)}:{draw(blank)}{json.dumps(value)}{draw(blank)}"
        for key, value in pairs
    ]
    end = "," if pairs and draw(st.booleans()) else ""
    return "{" + ",".join(parts) + end + draw(blank) + "}" + draw(blank)


@given(configs(), st.sampled_from("abcde"), scalar)
@settings(deadline=None, max_examples=400)
def test_any_layout_survives(text: str, key: str, value: Any) -> None:
    """However blanks, comments and commas lie, the text after an edit says what it should and keeps its comments."""
    document = parse_json(text)
    comments = sum(problem.kind == "comment" for problem in document.problems)
    removed = {name: one for name, one in document.values.items() if name != key}
    for new, wanted in ((without_key(document, key), removed), (with_value(document, key, value), None)):
        after = parse_json(new)
        assert not after.broken, new
        assert after.values == (document.values | {key: value} if wanted is None else wanted)
        if wanted is None:
            assert sum(problem.kind == "comment" for problem in after.problems) == comments
    assert without_key(parse_json(without_key(document, key)), key) == without_key(document, key)
