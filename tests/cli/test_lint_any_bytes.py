"""Whatever a file holds, `lora-lab lint` ends with an answer and never with a traceback."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_lab.cli import group
from lora_lab.config import PARAMETERS
from lora_lab.document.dialects import DIALECTS
from lora_lab.document.dialects.names import EVERY_NAME

CASES = sorted((Path(__file__).parents[1] / "cases" / "dialects").glob("[!.]*"))
SUFFIXES = (".json", ".toml", ".yaml", ".yml", ".sh", ".bat", ".ps1", ".txt", "")
OPTIONS = ((), ("--no-disk",), ("--diff", "--unsafe-fixes"), ("--format", "json"), ("--format", "sarif"))
QUICK = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files."""
    return tmp_path_factory.mktemp("bytes")


def lint(path: Path, *options: str) -> None:
    """Lint a file; only the exit codes that are documented are answers."""
    result = CliRunner().invoke(group, ["lint", "--isolated", *options, str(path)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)


@QUICK
@given(st.binary(max_size=300), st.sampled_from(SUFFIXES), st.sampled_from(OPTIONS), st.sampled_from([None, *DIALECTS]))
def test_any_bytes(folder: Path, data: bytes, suffix: str, options: tuple[str, ...], dialect: str | None) -> None:
    """Bytes of any kind, in a file of any ending, read as any dialect."""
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    lint(path, *options, *(("--dialect", dialect) if dialect else ()))


@QUICK
@given(
    st.sampled_from(CASES), st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=6), st.sampled_from(OPTIONS)
)
def test_damaged_configs(folder: Path, case: Path, at: int, gone: int, new: bytes, options: tuple[str, ...]) -> None:
    """A real config of each dialect with a piece cut out and another put in."""
    data = case.read_bytes()
    path = folder / case.name
    path.write_bytes(data[: at % (len(data) + 1)] + new + data[at % (len(data) + 1) + gone :])
    lint(path, *options)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@QUICK
@given(st.dictionaries(st.sampled_from([*PARAMETERS, *EVERY_NAME]), ANYTHING, max_size=8), st.sampled_from(OPTIONS))
def test_any_values(folder: Path, values: dict[str, object], options: tuple[str, ...]) -> None:
    """Known keys of every program with values of any kind."""
    path = folder / "values.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    lint(path, *options)


def test_there_are_cases() -> None:
    """The damaged files are of every dialect."""
    assert len(CASES) > 25
