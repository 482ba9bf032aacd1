"""How many of the 40 commonest mistakes `lora-lab lint` finds, and what it says of configs in which nothing is wrong.

    python benchmarks/planted_mistakes.py [--seed 0] [--misses 20]

Each mistake is planted into clean configs of several dialects, in several spellings and with values drawn at random;
those of files and folders are laid out in a temporary folder. A plant is found if lint gives one of the codes that
tests/lint/verdicts.tsv names for the mistake, and did not give it for the clean config. The clean configs are judged
for lora_lab and for the trainer whose form they have.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from planting.bases import BASES, DATA_SETS, SDXL
from planting.folders import OF_FOLDERS
from planting.machines import OF_MACHINES
from planting.mistakes import OF_TEXT
from planting.plants import GOOD_CARD, FakeMachine, Plant
from planting.writing import FORMS

from lora_lab.document.dialects import read_config
from lora_lab.lint import TARGETS, Disk, Finding, lint_document
from lora_lab.lint.machine import Machine

VERDICTS = Path(__file__).parents[1] / "tests" / "lint" / "verdicts.tsv"


class Mistake(NamedTuple):
    """One of the 40, with the codes that its verdict names."""

    number: int
    what: str
    codes: frozenset[str]
    reason: str


class Tried(NamedTuple):
    """A plant and whether it was found."""

    plant: Plant
    found: bool
    codes: frozenset[str]


def mistakes() -> list[Mistake]:
    """Return the 40 mistakes of the table of verdicts."""
    rows = [line.split("\t") for line in VERDICTS.read_text(encoding="utf-8").splitlines()]
    return [
        Mistake(
            int(number[1:]), what, frozenset(verdict.split(",")) if verdict.startswith("LL") else frozenset(), verdict
        )
        for number, what, verdict in rows
        if number.startswith("#")
    ]


def plants(number: int, seed: int) -> list[Plant]:
    """Return the plants of a mistake."""
    makers = [of[number] for of in (OF_TEXT, OF_FOLDERS, OF_MACHINES) if number in of]
    return [plant for make in makers for plant in make(Random(seed * 100 + number))]


def findings(plant: Plant, folder: Path, target: str) -> tuple[Finding, ...]:
    """Write a plant below a folder and judge it."""
    path = plant.lay_out(folder)
    chosen = next(one for one in TARGETS if one == target)
    machine = Machine(plant.machine) if plant.machine else None
    return lint_document(read_config(path), Disk(folder) if plant.disk else None, chosen, machine).findings


def tried(mistake: Mistake, seed: int) -> Iterator[Tried]:
    """Yield each plant of a mistake with what came of it."""
    for plant in plants(mistake.number, seed):
        target = plant.judged_for()
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            codes = frozenset(found.code for found in findings(plant, Path(one), target))
            good = FakeMachine(GOOD_CARD) if plant.machine else None
            clean = Plant(plant.form, plant.base, files={} if plant.disk else None, machine=good)
            before = frozenset(found.code for found in findings(clean, Path(other), target))
        yield Tried(plant, bool((codes - before) & mistake.codes), codes - before)


def clean_configs() -> list[Plant]:
    """Return configs in which nothing is wrong, in every form."""
    clips = {"max_grad_norm": 1.0}  # LoRA Easy Training Scripts drops a 0
    good = FakeMachine(GOOD_CARD)
    found = [
        Plant(form, base, clips if form == "easy-toml" else {}, files={}, machine=good)
        for form in FORMS
        for base in BASES
    ]
    found += [Plant(form, base) for form in ("gui", "sh", "ps1", "bat", "easy-toml") for base in SDXL]
    return found + [Plant("dataset", base) for base in DATA_SETS]


def false_findings(plant: Plant) -> Iterator[tuple[str, Finding]]:
    """Yield the errors and warnings about a clean config, with the trainer that it was judged for."""
    for target in dict.fromkeys(("lora_lab", plant.judged_for())):
        with tempfile.TemporaryDirectory() as folder:
            for finding in findings(plant, Path(folder), target):
                if finding.severity != "info":
                    yield target, finding


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--misses", type=int, default=20, help="how many misses to show")
    options = parser.parse_args()
    total, hits, missed = 0, 0, []
    for mistake in mistakes():
        results = list(tried(mistake, options.seed)) if mistake.codes else []
        hit = sum(one.found for one in results)
        total, hits = total + len(results), hits + hit
        missed += [(mistake, one) for one in results if not one.found]
        share = f"{hit:>4} of {len(results):<4}" if results else "      -     "
        print(f"#{mistake.number:02} {share} {mistake.what}" + ("" if results else f" ({mistake.reason})"))
    print(f"\nfound {hits} of {total} plants: {hits / total:.1%}")
    for mistake, one in missed[: options.misses]:
        plant = one.plant
        print(f"  missed #{mistake.number:02} {plant.form} {plant.base} {dict(plant.changes)} {sorted(one.codes)}")
    clean = clean_configs()
    false = [(plant, target, finding) for plant in clean for target, finding in false_findings(plant)]
    errors = sum(finding.severity == "error" for _, _, finding in false)
    print(f"\n{len(clean)} clean configs: {errors} false errors, {len(false) - errors} false warnings")
    for plant, target, finding in false[: options.misses]:
        print(f"  {plant.form} {plant.base} for {target}: {finding.code} {finding.severity} {finding.message}")


if __name__ == "__main__":
    main()
