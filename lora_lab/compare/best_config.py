"""The config of a run as a file that trains it again: what differs from the defaults, and what lint would change."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from lora_lab.compare.run import Run
from lora_lab.config import PARAMETERS
from lora_lab.document import Document, parse_json
from lora_lab.document.compose import to_json
from lora_lab.lint import Finding, lint_document
from lora_lab.lint.disk import Disk
from lora_lab.lint.fixing import fixed
from lora_lab.lint.machine import Machine

_OF_THE_ATTEMPT = frozenset({"multi_run_folder", "load_json_path", "json_load_skip_list", "save_json_only"})
"""Keys that said where the values of that one run came from and went to."""


class Ready(NamedTuple):
    """Values of a config, what was taken out of them because it did nothing, and what lint still says."""

    values: Mapping[str, object]
    mended: tuple[Finding, ...]
    findings: tuple[Finding, ...]


def config_of(run: Run) -> dict[str, object]:
    """Return the values that train a run again, into a folder `best` beside its own; defaults are left out."""
    values = {
        name: run.values[name]
        for name, known in PARAMETERS.items()
        if name in run.values and name not in _OF_THE_ATTEMPT and run.values[name] != known.default
    }
    top = run.folder.parent if run.sweep else run.folder.parent.parent
    return {**values, "output_folder": str(top.absolute() / "best")}


def linted(values: Mapping[str, object], folder: Path) -> Ready:
    """Return the values with lint's safe fixes, which leave the training's result as it is, and what remains."""
    judge = judge_in(folder)
    done = fixed(parse_json(to_json(values), folder / "config.json"), judge)
    return Ready(done.document.values, done.applied, tuple(judge(done.document)))


def judge_in(folder: Path) -> Callable[[Document], Iterable[Finding]]:
    """Return what lints documents as they are before a training: with the disk and the machine."""
    disk, machine = Disk(folder), Machine()
    return lambda document: lint_document(document, disk, machine=machine).findings
