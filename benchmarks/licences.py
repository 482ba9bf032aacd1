"""The licence of every library that constraints.txt pins, as its own metadata states it, in one table.

    python benchmarks/licences.py > benchmarks/LICENCES.md

Read from the environment that runs it. A pinned library that is not installed there is said to be so. With network,
`pip-audit -r constraints.txt --no-deps --disable-pip` tells whether any of the versions has a known weakness.
"""

import importlib.metadata as metadata
import re
from collections import Counter
from pathlib import Path

import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
COPYLEFT = re.compile(r"\b[AL]?GPL|\bMPL|Mozilla|GNU|EPL|CDDL|EUPL", re.IGNORECASE)


def main() -> None:
    """Print the table, then how often each licence occurs, then what is not merely permissive."""
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = sorted((one.partition("==")[0] for one in pinned if "==" in one and not one.startswith("#")), key=str.lower)
    needed = required()
    found = {name: licence(name) for name in names}
    print("# Licences of the libraries\n\nMade by `benchmarks/licences.py` from the libraries' own metadata.\n")
    print("| library | version | licence | for |\n|---|---|---|---|")
    for name in names:
        print(f"| {name} | {version(name)} | {found[name]} | {needed.get(plain(name), 'what those need')} |")
    print("\n| licence | libraries |\n|---|---|")
    for text, count in Counter(found.values()).most_common():
        print(f"| {text} | {count} |")
    print(
        "\nNot merely permissive:",
        ", ".join(f"{name} ({text})" for name, text in found.items() if COPYLEFT.search(text)),
    )


def required() -> dict[str, str]:
    """Return which part of lora_lab asks for a library by name: `the linter`, or the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"the linter": project["dependencies"], **project["optional-dependencies"]}
    parts: dict[str, list[str]] = {}
    for part, requirements in groups.items():
        for requirement in map(Requirement, requirements):
            if requirement.name != project["name"]:
                parts.setdefault(plain(requirement.name), []).append(part)
    return {name: ", ".join(found) for name, found in parts.items()}


def plain(name: str) -> str:
    """Return a library's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version(name: str) -> str:
    """Return the installed version."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed here"


def licence(name: str) -> str:
    """Return the licence: the SPDX expression, else the classifiers, else the first line of the old field."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "not installed here"
    classes = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or [] if one.startswith("License ::")]
    lines = (told.get("License") or "").strip().splitlines()
    return told.get("License-Expression") or ", ".join(classes) or (lines[0][:60] if lines else "not stated")


if __name__ == "__main__":
    main()
