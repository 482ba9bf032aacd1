"""Whatever lies in a sweep's folder, comparing says something or why it can't: it never breaks."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import Made, make_sweep, seeded

from lora_lab.cli.compare_text import as_text
from lora_lab.compare.comparison import Question, compare
from lora_lab.compare.export import as_csv, as_json
from lora_lab.compare.report import make_report
from lora_lab.compare.report_data import CURVES
from lora_lab.failure import Failure

FILES = ("sweep.json", "run1/run.json", "run1/config.json", "run1/lint.json", "run1/events.jsonl")
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 10**400, 10**15, 1e308, float("nan"), float("inf"), "", "\x00", "/", "a" * 5000, "\ud800"]),
    st.sampled_from([[], {}, [[]], {"": None}, [1, "a"], "FINISHED", "RUNNING", "PRUNED", "none", "=1", "run2"]),
    st.text(max_size=5),
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sweep of three runs, one without end."""
    folder = tmp_path_factory.mktemp("any")
    pictures = [(20, "sample_00", folder / "gone.png")]
    open_end = Made(axes={"net_dim": 2, "test_seed": 1}, val_loss={0: 1.0}, status="RUNNING", pictures=pictures)
    return make_sweep(folder, [*seeded(4, 0.3, 0.31), open_end])


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something stands in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places_in(one, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return the value with something else at a place."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_strange_values_anywhere(sweep: Path, data: st.DataObject) -> None:
    """One value of one file is another one: table, JSON, CSV and page are made, or a `Failure` says why not."""
    file = sweep / data.draw(st.sampled_from(FILES))
    before = file.read_text(encoding="utf-8")
    lines = before.splitlines() if file.suffix == ".jsonl" else [before]
    number = data.draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[number])
    place = data.draw(st.sampled_from(list(places_in(value))))
    lines[number] = json.dumps(put(value, place, data.draw(STRANGE)))
    file.write_text("\n".join(lines) + "\n")
    try:
        everything_is_made(sweep)
    finally:
        file.write_text(before, encoding="utf-8")


def everything_is_made(sweep: Path) -> None:
    """Make table, JSON, CSV and page, unless a `Failure` says why not."""
    with contextlib.suppress(Failure):
        found = compare([sweep], Question(curves=CURVES))
        assert list(as_text(found, 60))
        assert json.loads(as_json(found))["settings"]
        assert as_csv(found).startswith("run,")
        assert make_report(found, "today").html.encode().endswith(b"</html>\n")


@pytest.mark.parametrize("name", [name for name in FILES if name != "run1/lint.json"])  # there are none in it
def test_numbers_that_overflow(sweep: Path, name: str) -> None:
    """Each number of a file in turn is one whose square is no number any more."""
    file = sweep / name
    before = file.read_text(encoding="utf-8")
    lines = before.splitlines() if file.suffix == ".jsonl" else [before]
    tried = 0
    try:
        for number, line in enumerate(lines):
            value = json.loads(line)
            for place in [place for place in places_in(value) if is_number(at(value, place))]:
                for huge in (1e308, -1e308):
                    changed = [*lines[:number], json.dumps(put(value, place, huge)), *lines[number + 1 :]]
                    file.write_text("\n".join(changed) + "\n", encoding="utf-8")
                    everything_is_made(sweep)
                    tried += 1
    finally:
        file.write_text(before, encoding="utf-8")
    assert tried


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return what stands at a place."""
    for key in path:
        value = value[key]
    return value


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(FILES), content=st.binary(max_size=200))
def test_any_bytes_in_any_file(sweep: Path, name: str, content: bytes) -> None:
    """A file of anything at all costs at most its own run."""
    file = sweep / name
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        found = compare([sweep], Question())
        assert len(found.runs) >= 2
    finally:
        file.write_bytes(before)
