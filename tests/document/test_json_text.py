"""The JSON reader keeps places and goes on after mistakes."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document import Document, parse_json
from lora_lab.document.json_string import is_windows_path

texts = st.text().filter(lambda text: not is_windows_path(json.dumps(text)[1:-1]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def kinds(document: Document) -> list[str]:
    """Return the kinds of problems in their order."""
    return [problem.kind for problem in document.problems]


@given(st.dictionaries(texts, json_values, max_size=6), st.sampled_from([None, 1, 4]))
def test_reads_valid_json_like_the_standard_library(values: dict[str, object], indent: int | None) -> None:
    """On valid JSON the values are those that the standard library reads, and nothing is reported.

    The one exception is meant: text that looks like a Windows path with single backslashes.
    """
    text = json.dumps(values, indent=indent)
    document = parse_json(text)
    assert document.values == json.loads(text)
    assert document.problems == ()
    assert document.duplicates == ()


@given(st.dictionaries(texts, json_values, min_size=1, max_size=6))
def test_spans_point_at_the_key_and_the_value(values: dict[str, object]) -> None:
    """The text under each span is the key or value itself, and line and column fit the offset."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    for key, entry in parse_json(text).entries.items():
        assert json.loads(text[entry.key_span.start : entry.key_span.end]) == key
        assert json.loads(text[entry.value_span.start : entry.value_span.end]) == values[key]
        before = text[: entry.value_span.start]
        assert entry.value_span.line == before.count("\n") + before.count("\r") + 1
        assert entry.value_span.column == len(before) - max(before.rfind("\n"), before.rfind("\r"))


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """Whatever the text is, nothing is raised, and all spans lie inside it."""
    document = parse_json(text)
    spans = [problem.span for problem in document.problems]
    spans += [span for entry in document.entries.values() for span in (entry.key_span, entry.value_span)]
    assert all(0 <= span.start <= span.end <= len(document.text) for span in spans)
    assert all(span.line >= 1 and span.column >= 1 for span in spans)


@given(st.text(alphabet="{}[]\",:\\/*#\n\r\t tfn01.eE-+'“”C:\\", max_size=60))
def test_any_text_of_json_signs_is_read(text: str) -> None:
    """Nor is anything raised for text that is nearly JSON."""
    parse_json("{" + text)
    parse_json('{"a": "' + text)


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        (r"C:\train\new_set", r"C:\train\new_set"),
        (r"C:\users\me\bad", r"C:\users\me\bad"),
        (r"D:\x\\y", r"D:\x\y"),
        (r"\\server\share\new", r"\\server\share\new"),
        (r"data\set\train", r"data\set\train"),
    ],
)
def test_windows_paths_are_read_as_shown(raw: str, meant: str) -> None:
    """Single backslashes of a path stay backslashes, although JSON would make tabs and new lines of some."""
    document = parse_json('{"a": "' + raw + '", "b": 1}')
    assert document.values == {"a": meant, "b": 1}
    assert kinds(document) == ["spelling"]


@pytest.mark.parametrize(
    "raw",
    [
        r"C:\\train\\new",
        r"\\\\server\\share",
        "C:/train/new",
        r"line one\nline two",
        r"\u00e9t\u00e9 \ud83d\ude00",
    ],
)
def test_proper_escapes_are_read_as_json(raw: str) -> None:
    """Text that JSON can't mean otherwise is read as JSON says, without a word."""
    document = parse_json('{"a": "' + raw + '"}')
    assert document.values == json.loads('{"a": "' + raw + '"}')
    assert document.problems == ()


@pytest.mark.parametrize(
    ("raw", "rest"),
    [
        ("C:\\train\\", ', "b": 1}'),
        ("C:\\train\\", '\n, "b": 1}'),
        ("C:\\train\\", ',\n"b": 1}'),
        ("images\\", '\n, "b": 1}'),
        ("images\\", ',\n"b": 1}'),
    ],
)
def test_backslash_before_the_closing_quote(raw: str, rest: str) -> None:
    """A path that ends in a backslash does not swallow what follows; without a drive letter, what is on later lines."""
    assert parse_json('{"a": "' + raw + '"' + rest).values == {"a": raw, "b": 1}


@pytest.mark.parametrize(
    ("text", "values", "kind"),
    [
        ('\ufeff{"a": 1}', {"a": 1}, "bom"),
        ('{"a": 1, // one\n"b": 2}', {"a": 1, "b": 2}, "comment"),
        ('{"a": 1, /* one\n */ "b": 2}', {"a": 1, "b": 2}, "comment"),
        ('{"a": true//x\n}', {"a": True}, "comment"),
        ('{"a": "// no comment"}', {"a": "// no comment"}, None),
        ('{"a": [1, 2,], "b": 3}', {"a": [1, 2], "b": 3}, "trailing-comma"),
        ('{"a": 1,}', {"a": 1}, "trailing-comma"),
        ('{"a": 1,\r\n"b": 2\r\n}\r\n', {"a": 1, "b": 2}, None),
        ("{'a': 'it'}", {"a": "it"}, "spelling"),
        ('{"a": True}', {"a": True}, "spelling"),
        ('{"a": None}', {"a": None}, "spelling"),
        ("{a: 1}", {"a": 1}, "spelling"),
        ('{"a": .5}', {"a": 0.5}, "spelling"),
        ('{"a": 1_000}', {"a": 1000}, "spelling"),
        ("{“a”: 1}", {"a": 1}, "spelling"),
        ('{"a": NaN}', {"a": None}, "syntax"),
        ('{"a": -Infinity}', {"a": None}, "syntax"),
        ('{"a": 1e999}', {"a": None}, "syntax"),
        ('{"a": ' + "9" * 5000 + "}", {"a": None}, "syntax"),
        ('{"a": 1 "b": 2}', {"a": 1, "b": 2}, "syntax"),
        ('{"a": 1, , "b": 2}', {"a": 1, "b": 2}, "syntax"),
        ('{"a" = 1}', {"a": 1}, "syntax"),
        ('{"a": "x\n, "b": 2}', {"a": "x", "b": 2}, "syntax"),
        ('{"a": [1, 2', {"a": [1, 2]}, "syntax"),
        ('{"a": 1', {"a": 1}, "syntax"),
        ('{"a":', {"a": None}, "syntax"),
        ('{"a": 1} {"b": 2}', {"a": 1}, "syntax"),
        ('{"a": word}', {"a": "word"}, "syntax"),
        ('{"a": "\\ud800"}', {"a": "\ufffd"}, "syntax"),
        ("[1, 2]", {}, "syntax"),
        ('"net_dim": 32', {}, "syntax"),
        ("", {}, "syntax"),
        ("   \n", {}, "syntax"),
    ],
)
def test_mistakes_are_read_and_named(text: str, values: dict[str, object], kind: str | None) -> None:
    """Each usual mistake is read as it was meant, and reported as what it is."""
    document = parse_json(text)
    assert document.values == values
    assert set(kinds(document)) == ({kind} if kind else set())


def test_the_last_of_two_equal_keys_wins() -> None:
    """The earlier one is kept as a duplicate with its own place."""
    document = parse_json('{"a": 1,\n "a": 2}')
    assert document.values == {"a": 2}
    assert [(one.value, one.key_span.line) for one in document.duplicates] == [(1, 1)]
    assert document.entries["a"].key_span.line == 2


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [31, 200, 100_000])
def test_deep_nesting_is_no_recursion_error(opening: str, depth: int) -> None:
    """A file of brackets is read to a depth that no config has, and what follows is still read."""
    closing = "]" if opening == "[" else "}"
    document = parse_json('{"x": ' + opening * depth + "1" * (opening != "[") + closing * depth + ', "y": 1}')
    assert document.values["y"] == 1
    assert ("syntax" in kinds(document)) == (depth > 31)


def test_binary_junk_ends_soon() -> None:
    """A text full of mistakes gives a bounded number of problems."""
    document = parse_json("{" + "\x01;%" * 10_000)
    assert 0 < len(document.problems) < 50


def test_lines_end_with_any_newline() -> None:
    """`\\n`, `\\r\\n` and a lone `\\r` each end one line."""
    document = parse_json('{"a": 1,\r\n"b": 2,\n"c": 3,\r"d": 4}')
    assert [entry.key_span.line for entry in document.entries.values()] == [1, 2, 3, 4]
    assert all(entry.key_span.column == 1 for key, entry in document.entries.items() if key != "a")


def test_folder_is_that_of_the_file() -> None:
    """Relative paths in a file start from its folder; without a file from the current one."""
    assert parse_json("{}", Path("some/where.json")).folder == Path("some")
    assert parse_json("{}").folder == Path()


def test_numbers_keep_their_kind() -> None:
    """1 is an int, 1.0 and 1e0 are floats: the checks of types rely on it."""
    values = parse_json('{"a": 1, "b": 1.0, "c": 1e0, "d": -0}').values
    assert [type(value) for value in values.values()] == [int, float, float, int]
    assert math.isfinite(sum(values.values()))  # type: ignore[arg-type]  # all numbers
