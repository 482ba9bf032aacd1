"""Some of the faults that benchmarks/fault_matrix.py brings about, and its page."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import fault_matrix

PAGE = Path(__file__).parent / "README.md"


@pytest.mark.skipif(sys.platform == "win32", reason="processes are ended as POSIX does it")
@pytest.mark.parametrize("name", ["pictures rewritten", "two runs, one output"])
def test_a_fault(name: str, tmp_path: Path) -> None:
    """The promise holds and nothing is lost; the faults that need a killed process have tests of their own."""
    result = fault_matrix.run(name, folder=tmp_path)
    assert result is not None
    assert result.good, result
    assert result.lost == 0


def test_the_page_is_the_scripts() -> None:
    """The table has the script's faults in their order, each with its promise, and nothing lost."""
    page = PAGE.read_text(encoding="utf-8")
    text = page.partition(fault_matrix.BEGIN)[2].partition(fault_matrix.END)[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| (?!fault )\w", line)]
    assert len(rows) > 15
    assert [row[0] for row in rows] == [name for name in fault_matrix.CELLS if name in {row[0] for row in rows}]
    for name, promised, _, lost in rows:
        assert promised == fault_matrix.CELLS[name].promised
        assert lost == "nothing", name
