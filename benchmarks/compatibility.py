"""The tests with other Pythons, and with the oldest and the newest libraries that pyproject.toml allows.

    python benchmarks/compatibility.py [--python python3.10 …] [--whole] [--tests tests/train …] [--keep FOLDER]

Each `--python` gets two fresh environments without torch, one with the oldest direct dependencies and one with the
newest, and runs the tests of the light half (linter, documents, grids, editor): those that import no framework.
`--whole` does the same with this Python and everything installed, and runs all of `--tests`; torch stays the version
of constraints.txt, whichever build of it this machine has, since no test of ours can tell what another one does.
Hypothesis tries 15 examples instead of 100. Two tables at the end: what ran with what and what did not pass; and which
versions the ends were. With `--keep`, the environments and the logs stay, and the next run with the same requirements
uses them again.
"""

import argparse
import ast
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch", "numpy", "mlflow", "diffusers", "transformers", "safetensors", "PIL", "accelerate", "optuna", "ray",
    "peft", "lycoris", "scipy", "submitit", "psutil", "fault_matrix", "fuzzing",
}  # fmt: skip
HEAVY_PARTS = (
    "lora_lab.train", "lora_lab.quickstart", "lora_lab.tracking.system_metrics",
    "lora_lab.sweep.search", "lora_lab.sweep.referee",
)  # fmt: skip
STARTS_ONE = {"test_cache_folder.py", "test_killed_sweep.py", "test_least_surprise.py", "test_memory.py"}
"""Files that import no framework; what they start does."""
LIGHT_TOOLS = ["pytest", "hypothesis", "jsonschema", "xmlschema", "pre-commit"]
EVERYTHING = ("train", "optimizers", "search", "mlflow", "tensorboard", "ray", "slurm", "lsp", "dev")
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LIGHT = list(map(Requirement, PROJECT["dependencies"]))


class Cell(NamedTuple):
    """One environment: its Python, the parts of lora_lab that are installed, which end of their libraries, tests."""

    python: str
    extras: tuple[str, ...]
    end: str
    tests: tuple[str, ...]


def main() -> None:
    """Run every cell and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="*", default=[sys.executable])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--tests", nargs="*", default=["tests"])
    parser.add_argument("--ends", nargs="*", default=["oldest", "newest"], choices=["oldest", "newest"])
    parser.add_argument("--keep", type=Path, help="where the environments and the logs stay, to be used again")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background, it would be ignored in tests
    with tempfile.TemporaryDirectory() as name:
        folder = (options.keep or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        cells = list(cells_of(options.python, options.ends, tuple(options.tests) if options.whole else ()))
        lines = [measured(cell, folder) for cell in cells]
        versions = {cell: held_by(cell, folder) for cell in cells}
    print("| Python | installed | libraries | passed | failed | skipped | what did not pass |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    print("\n| library | oldest | newest |\n|---|---|---|")
    for name in sorted({name for found in versions.values() for name in found}, key=str.lower):
        print(f"| {name} | {' | '.join(seen(name, end, versions) for end in ('oldest', 'newest'))} |")


def cells_of(pythons: Sequence[str], ends: Sequence[str], whole: tuple[str, ...]) -> Iterator[Cell]:
    """Yield the environments: each Python without torch, then, if asked, this one with everything."""
    light = tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if is_light(path)))
    assert light, "no test of the light half found"
    for python in pythons:
        for end in ends:
            yield Cell(python, ("lsp",), end, light)
    for end in ends if whole else ():
        yield Cell(sys.executable, EVERYTHING, end, whole)


def is_light(path: Path) -> bool:
    """Say whether a test, and every conftest.py that it sees, imports no framework, wherever in the file."""
    if path.name in STARTS_ONE:
        return False
    seen = [folder / "conftest.py" for folder in path.parents if ROOT in folder.parents]
    return not any(imports_heavy(file) for file in [path, *seen] if file.is_file())


def imports_heavy(path: Path) -> bool:
    """Say whether a file imports a framework or a part of lora_lab that needs one."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return any(name.split(".")[0] in HEAVY or name.startswith(HEAVY_PARTS) for name in names)


def asked(extras: Sequence[str]) -> list[Requirement]:
    """Return what some extras ask for directly, but for torch, whose build is the machine's, and for `dev`."""
    wanted = [one for extra in extras if extra != "dev" for one in PROJECT["optional-dependencies"][extra]]
    return [one for one in map(Requirement, wanted) if one.name != "torch"]


def oldest(cell: Cell) -> list[str]:
    """Return `name==version` for the lower bound of every direct dependency; pip weighs the markers.

    What the light half needs is at its bound in the cells of the light half only: diffusers asks for newer ones.
    """
    pins = []
    for requirement in asked(cell.extras) + ([] if "dev" in cell.extras else LIGHT):
        bounds = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
        assert bounds, f"{requirement} has no lower bound"
        pins.append(f"{requirement.name}=={min(bounds)}")
    return pins


def place(cell: Cell, folder: Path) -> Path:
    """Return the folder of an environment, named after what is in it."""
    return folder / f"{version(cell.python)}-{'everything' if 'dev' in cell.extras else 'light'}-{cell.end}"


def version(python: str | Path) -> str:
    """Return the version of a Python."""
    return subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]


def made(cell: Cell, environment: Path, log: Path) -> bool:
    """Make an environment unless it is there already; say whether pip found versions that go together."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    torch = next(one for one in constraints if one.startswith("torch=="))
    pins = [torch, *(oldest(cell) if cell.end == "oldest" else [])]
    whole = "dev" in cell.extras
    tools = [] if whole else LIGHT_TOOLS
    first = [[torch]] if whole else []  # so that nothing that needs torch brings another build
    steps = [*first, ["-e", f"{ROOT}[{','.join(cell.extras)}]", *tools]]
    direct = [*map(str, LIGHT + asked(cell.extras)), *(PROJECT["optional-dependencies"]["dev"] if whole else [])]
    recipe = "\n".join([*pins, f"# {steps}, where lora_lab asks for {direct}"])
    done = environment / "made.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == recipe:
        return True
    subprocess.run([cell.python, "-m", "venv", "--clear", environment], check=True)
    wanted = environment / "pins.txt"
    wanted.write_text(recipe, encoding="utf-8")
    with log.open("w", encoding="utf-8") as told:
        for step in steps:
            command = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "-c", str(wanted), *step]
            if subprocess.run(command, stdout=told, stderr=told).returncode:
                return False
    wanted.rename(done)
    return True


def measured(cell: Cell, folder: Path) -> str:
    """Make the environment, run the tests, and return the line of the table."""
    environment = place(cell, folder)
    log = environment.with_name(f"{environment.name}-pip.log")
    if not made(cell, environment, log):
        return line(cell, {}, f"pip found no such set of versions, see {log.name}")
    log = environment.with_name(f"{environment.name}-tests.log")
    with log.open("w", encoding="utf-8") as told:
        options = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "--hypothesis-profile=few"]
        command = [str(environment / "bin" / "python"), "-m", "pytest", *options, *cell.tests]
        found = {**os.environ, "PATH": os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])}
        subprocess.run(command, cwd=ROOT, stdout=told, stderr=told, env=found)
    return line(cell, *outcome(log.read_text(encoding="utf-8", errors="replace")))


def held_by(cell: Cell, folder: Path) -> dict[str, str]:
    """Return the versions of the direct dependencies that an environment holds."""
    command = [place(cell, folder) / "bin" / "python", "-m", "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    held = {canonicalize_name(one["name"]): one["version"] for one in listed}
    names = [one.name for one in LIGHT + asked(cell.extras)] + ["torch"]
    return {name: held[canonicalize_name(name)] for name in names if canonicalize_name(name) in held}


def seen(name: str, end: str, versions: dict[Cell, dict[str, str]]) -> str:
    """Return the versions of a library at one end, more than one where Pythons differ."""
    found = {held[name] for cell, held in versions.items() if cell.end == end and name in held}
    return ", ".join(sorted(found, key=Version)) or "–"


def outcome(text: str) -> tuple[dict[str, int], str]:
    """Return pytest's counts and the first tests that did not pass."""
    failures = [
        one.split(" - ")[0].partition(" ")[2] for one in text.splitlines() if one.startswith(("FAILED ", "ERROR "))
    ]
    closing = next((one for one in reversed(text.splitlines()) if re.search(r" in [\d.]+s\b", one)), "")
    counts = {word.rstrip("s"): int(number) for number, word in COUNTS.findall(closing)}
    more = [f"and {len(failures) - 5} more"] if len(failures) > 5 else []
    return counts, ", ".join([*failures[:5], *more])


def line(cell: Cell, counts: dict[str, int], failures: str) -> str:
    """Return a line of the table, and print it at once for who waits."""
    failed = counts.get("failed", 0) + counts.get("error", 0)
    part = "everything" if "dev" in cell.extras else "light half"
    cells = [version(cell.python), part, cell.end, counts.get("passed", 0), failed, counts.get("skipped", 0), failures]
    text = f"| {' | '.join(map(str, cells))} |"
    print(text, file=sys.stderr, flush=True)
    return text


if __name__ == "__main__":
    main()
