"""What goes wrong overnight, brought about: for each fault what is promised, what happened, what was lost.

    python benchmarks/fault_matrix.py [--only NAME ...] [--kills 50] [--page tests/faults/README.md]

Every cell trains on the packaged base in real processes. "Lost" counts what had been told to be saved (a file under its
own name, a state, an entry of a record) and is not there or not whole afterwards. Full and read-only disks are small
ones mounted for the script alone (`unshare`, on Linux); where that is not possible those cells are left out, and the
table says so. Exits with 1 where a promise did not hold. With --page the table is written into that page.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from faults import disks, kills, others
from faults.ground import Result

MOUNTS = "LORA_LAB_FAULTS_MOUNTS"
BEGIN, END = "<!-- table -->", "<!-- /table -->"


class Cell(NamedTuple):
    """A fault: what is promised, how it is brought about, whether that needs a disk of its own."""

    promised: str
    make: Callable[[Path, int], Result]
    mounts: bool = False


CELLS = {
    "kill -9: a run": Cell("the same command goes on, the end is the same to the byte", kills.a_run),
    "kill -9: a sweep, its workers": Cell("every run once, each the same to the byte, told once", kills.a_sweep),
    "kill -9: the tracking server": Cell("training goes on; `sync` sends the rest, each number once", kills.the_server),
    "kill -9: a new database": Cell("the next one makes it anew, and it is whole", kills.a_new_database),
    "disk full: a LoRA file": Cell(
        "a line; what is there stays; the same command finishes", disks.full_at_a_file, True
    ),
    "disk full: a state": Cell("a notice, training goes on; the last state stays", disks.full_at_a_state, True),
    "disk full: the cache": Cell("a line that names it, or training without it", disks.full_cache, True),
    "disk full: the record": Cell("training goes on; a line where nothing can be saved", disks.full_record, True),
    "disk full: the tracker": Cell("training goes on, a line says so", disks.full_tracker, True),
    "output read-only": Cell("a line before anything is trained", disks.read_only_from_the_start, True),
    "output read-only later": Cell(
        "a line; what is there stays; the same command goes on", disks.read_only_later, True
    ),
    "pictures removed": Cell("a line that names one", disks.pictures_removed),
    "pictures rewritten": Cell("a line: never learned under another's name", disks.pictures_rewritten),
    "pictures cut off, workers": Cell("a line that names one", disks.pictures_truncated),
    "pictures removed, in memory": Cell("training goes on", disks.pictures_removed_cached),
    "clock set back": Cell("nothing but the times told changes", others.clock_back),
    "clock set forward": Cell("nothing but the times told changes", others.clock_on),
    "memory runs out in a worker": Cell("the runs are tried again, fewer at a time", others.out_of_memory),
    "tracking server hangs": Cell("training goes on; ends in bounded time; `sync` later", others.hung_server),
    "two runs, one output": Cell("the second is told and ends", others.two_runs),
    "two sweeps, one folder": Cell("every run once", others.two_sweeps),
    "SIGTERM: a run": Cell("ends after the step, state kept, goes on", others.sigterm_run),
    "SIGTERM: a sweep": Cell("ends after the step, states kept, goes on", others.sigterm_sweep),
    "SIGHUP": Cell("ends after the step, state kept, goes on", others.sighup),
    "terminal closed": Cell("ends after the step, state kept, goes on", others.closed_terminal),
    "Ctrl-C twice": Cell("ends at once; the last state stays", others.ctrl_c_twice),
}


def main() -> int:
    """Run the cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--kills", type=int, default=50, help="of a run; of a sweep a fifth of it")
    parser.add_argument("--page", type=Path, help="write the table there, too")
    given = parser.parse_args()
    mounts = with_mounts()
    rows = []
    for name, cell in CELLS.items():
        if given.only and not any(part in name for part in given.only):
            continue
        began = time.monotonic()
        result = run(name, given.kills, mounts=mounts)
        row = (name, cell.promised, result.happened if result else "left out: no mounts here", shown(result))
        rows.append((row, result))
        print(f"{name:<30} {row[3]:<10} {time.monotonic() - began:5.0f} s\n    promised: {cell.promised}\n"
              f"    happened: {row[2]}", flush=True)  # fmt: skip
    bad = sum(result is not None and not result.good for _, result in rows)
    lost = sum(result.lost for _, result in rows if result is not None)
    print(f"{len(rows)} faults, {bad} promises not held, {lost} things lost that had been told to be saved")
    if given.page:
        write_page(given.page, [row for row, _ in rows])
    return 1 if bad else 0


def run(name: str, number: int = 50, *, mounts: bool = False, folder: Path | None = None) -> Result | None:
    """Bring a fault about in a folder of its own; None where it needs a disk that can't be had here."""
    cell = CELLS[name]
    if cell.mounts and not mounts:
        return None
    top = Path(tempfile.mkdtemp(prefix="fault_", dir=folder))
    if name in ("kill -9: a sweep, its workers", "kill -9: a new database"):
        number = max(number // 5, 1)
    try:
        result = cell.make(top / "ground", number)
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        return Result(f"the script itself failed: {type(error).__name__} {error}, see {top}", 0, False)
    if result.good and folder is None:
        shutil.rmtree(top, ignore_errors=True)
    return result._replace(happened=result.happened.replace(f"{top}/ground/", "").replace(str(top), "…"))


def with_mounts() -> bool:
    """Start this script again where it may mount small disks that nobody else sees; return whether it may."""
    if MOUNTS in os.environ:
        return os.environ[MOUNTS] == "1"
    unshare = (
        [shutil.which("unshare") or "", *([] if os.geteuid() == 0 else ["-r"]), "-m"] if os.name == "posix" else []
    )
    able = bool(unshare and unshare[0]) and subprocess.run([*unshare, "true"], check=False).returncode == 0
    os.environ[MOUNTS] = "1" if able else "0"
    if able:
        os.execv(unshare[0], [*unshare, sys.executable, *sys.argv])
    return False


def shown(result: Result | None) -> str:
    """Return what was lost, in a word."""
    if result is None:
        return "-"
    return ("nothing" if not result.lost else f"{result.lost} LOST") + ("" if result.good else " BROKEN")


def write_page(page: Path, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Put the rows into the table between the page's two marks; those of faults that were left out stay."""
    text = page.read_text(encoding="utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    before = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    known = {line.split(" | ")[0].removeprefix("| "): line for line in before if line.startswith("| ")}
    for row in rows:
        known[row[0]] = "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    lines = ["| fault | promised | what happened | lost |", "|---|---|---|---|"]
    lines += [known[name] for name in CELLS if name in known]
    page.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
