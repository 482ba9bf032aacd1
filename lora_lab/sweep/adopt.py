"""Runs that another sweep has trained: they are taken over, not trained again."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lora_lab.sweep.run_folder import (
    CONFIG,
    LINT,
    RunRecord,
    claim,
    finished_runs,
    lora_of,
    read_record,
    write_record,
)
from lora_lab.tracking.spool import copy_spool
from lora_lab.whole_files import write_whole


def neighbours(sweep_folder: Path) -> Iterator[Path]:
    """Yield the folders beside the sweep's own that hold runs."""
    with contextlib.suppress(OSError):
        for folder in sorted(sweep_folder.parent.iterdir()):
            if folder != sweep_folder and folder.is_dir() and (folder / "run1").is_dir():
                yield folder


def finished_elsewhere(sweep_folder: Path) -> dict[str, tuple[Path, RunRecord]]:
    """Return the finished runs of the sweeps beside this one, by identity."""
    found: dict[str, tuple[Path, RunRecord]] = {}
    for folder in neighbours(sweep_folder):
        for identity, run in finished_runs(folder).items():
            found.setdefault(identity, run)
    return found


def adopt(folder: Path, record: RunRecord, sweep_name: str, sweep_folder: Path) -> tuple[Path, RunRecord]:
    """Give a finished run of another sweep a folder in this one: what it told and its LoRA's place, not the LoRA.

    Raises `Failure` where the sweep's folder cannot be written, `OSError` where the run's cannot be read.
    """
    lora = lora_of(folder, record)
    ours = claim(sweep_folder)
    for name in (CONFIG, LINT):
        with contextlib.suppress(FileNotFoundError):
            write_whole(ours / name, (folder / name).read_text(encoding="utf-8"))
    copy_spool(folder, ours, sweep_name, sweep_folder)
    known = replace(record, lora=None if lora is None else str(lora.absolute()), reason=f"trained in {folder}")
    write_record(ours, known)
    return ours, read_record(ours) or known
