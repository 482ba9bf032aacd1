"""A grid file judged like a config: mistakes of its language, and what lint says of its runs, at its own lines."""

from dataclasses import replace

from lora_lab.config import PARAMETERS
from lora_lab.document import Span
from lora_lab.document.yaml_text import Place, YamlDocument
from lora_lab.lint import Disk, Finding
from lora_lab.lint.machine import Machine
from lora_lab.sweep.grid import Grid
from lora_lab.sweep.judge import FindingGroup, judge
from lora_lab.sweep.plan import make_plan, read_base, space_of
from lora_lab.sweep.read_grid import FOREIGN, KEYS, read_grid
from lora_lab.sweep.sample import sample_plan

SYNTAX = ("LL001", "syntax")
"""The rule that a mistake of the language is reported as."""

_MOST_NAMED = 3


def is_grid(document: YamlDocument) -> bool:
    """Return whether a YAML file is a grid: it varies something, and most of its keys are words of the language."""
    keys = document.values.keys() if isinstance(document.values, dict) else ()
    strange = [key for key in keys if key not in KEYS and key not in FOREIGN]
    varies = {"parameters", "linked", "presets", "seeds"}.intersection(keys)
    return bool(varies) and len(keys) > 1 and len(strange) * 2 < len(keys) and not PARAMETERS.keys() & set(keys)


def lint_grid(document: YamlDocument, disk: Disk | None, machine: Machine | None) -> tuple[Finding, ...]:
    """Return what is wrong with a grid file; of its runs, equal findings once, with the runs that they hold for.

    Of a space that is searched, points from all over it are judged; a part of it that cannot be trained is a warning,
    as the search leaves such points out.

    Without `disk` a base config in another file is not read, and only the language is judged. Raises `Failure` where
    the base config cannot be read, or no run is left.
    """
    read = read_grid(document)
    code, name = SYNTAX
    if read.grid is None:
        return tuple(Finding(code, name, "error", problem.message, (), problem.span, "") for problem in read.problems)
    if disk is None and isinstance(read.grid.base, str):
        return ()
    base = read_base(read.grid)
    plan = sample_plan(space_of(read.grid, base)) if read.grid.method == "bayes" else make_plan(read.grid, base)
    judged = judge(plan, read.grid.folder, disk, machine)
    names = [run.name for run in plan.runs]
    found = (_finding(group, names, document, read.grid) for group in judged.groups)
    return tuple(sorted(found, key=lambda finding: finding.span.start if finding.span else 0))


def _finding(group: FindingGroup, names: list[str], document: YamlDocument, grid: Grid) -> Finding:
    finding = group.finding
    message = finding.message if group.wordings == 1 else f"{finding.message} (and the like)"
    if len(group.runs) < len(names):
        shown = "; ".join(names[run] for run in group.runs[:_MOST_NAMED])
        more = " …" if len(group.runs) > _MOST_NAMED else ""
        searched = grid.method == "bayes"
        what = "points from all over the space" if searched else "runs"
        message = f"{message}, in {len(group.runs)} of {len(names)} {what} ({shown}{more})"
        if searched and finding.severity == "error":
            finding = replace(finding, severity="warning")
    return replace(finding, message=message, span=_place(finding.keys, document, grid), fix=None)


def _place(keys: tuple[str, ...], document: YamlDocument, grid: Grid) -> Span:
    """Return where the grid speaks of the first of the keys that it speaks of; else its base."""
    for key in keys:
        for place in _places(key, grid):
            if place in document.key_spans:
                return document.key_spans[place]
    return document.key_span_of(("base",))


def _places(key: str, grid: Grid) -> tuple[Place, ...]:
    linked = any(key in axis.names and len(axis.names) > 1 for axis in grid.axes)
    groups: tuple[Place, ...] = (("linked",), ("presets",)) if linked else ()
    seeds: tuple[Place, ...] = (("seeds",),) if key == "test_seed" else ()
    return (("parameters", key), *groups, *seeds, ("base", key))
