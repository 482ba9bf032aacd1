"""What fuzzing has found once (benchmarks/fuzz.py), and a few hundred inputs more: nothing undocumented comes out."""

import random
import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from fuzzing.seeds import KEPT, seeds
from fuzzing.targets import TARGETS

FOUND = sorted(path for path in KEPT.glob("*/*") if path.is_file())
MUTATIONS = 15


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_found_once(path: Path) -> None:
    """An input that broke a target does so no more."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.filterwarnings("ignore")  # Pillow's of broken files
@pytest.mark.parametrize("name", TARGETS)
def test_damaged(name: str) -> None:
    """Each seed as it is and with pieces cut out and put in."""
    rng = random.Random(name)
    known = list(islice(seeds(name), 12))
    assert known
    for data in known:
        TARGETS[name](data)
    for _ in range(MUTATIONS):
        data = rng.choice(known)
        at, gone = rng.randrange(len(data) + 1), rng.choice((0, 1, 8))
        TARGETS[name](data[:at] + rng.randbytes(rng.randrange(4)) + data[at + gone :])


def test_there_are_some() -> None:
    """The kept corpus is not empty."""
    assert len(FOUND) >= 2
