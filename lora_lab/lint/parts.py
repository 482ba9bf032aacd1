"""A run of several data sets, rule by rule: what each rule sees of the data set file that a config names."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from lora_lab.config.data_sets import OF_A_DATA_SET, OF_A_FOLDER, OF_ONE_FOLDER, DataSet
from lora_lab.document.data_sets import DataSetFile, read_data_sets
from lora_lab.failure import Failure
from lora_lab.lint.finding import Finding
from lora_lab.lint.rule import Part, Rule, View

_OF_FOLDERS = frozenset([*OF_A_FOLDER, *OF_ONE_FOLDER])
_OF_DATA_SETS = frozenset(OF_A_DATA_SET)


def file_of(view: View) -> DataSetFile | Failure | None:
    """Return the data set file that a config names, or why it can't be read; None without one or without a disk."""
    named = view.config.dataset_config
    if not named or view.disk_view is None:
        return None
    path = view.disk.resolve(named)
    return view.disk.kept(("data sets", str(path)), lambda: _read(path))


def data_sets(view: View) -> tuple[DataSet, ...]:
    """Return the data sets that a view is about, none where `img_folder` names the pictures."""
    if view.part is not None:
        return view.part.sets
    found = file_of(view)
    return found.data_sets if isinstance(found, DataSetFile) else ()


def findings_in_parts(rule: Rule, view: View, find: Callable[[Rule, View], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a rule finds: once for each data set or folder whose settings it reads, equal findings once."""
    views = _views(rule, view)
    if len(views) == 1:
        yield from find(rule, views[0])
        return
    said: dict[str, list[tuple[View, Finding]]] = {}
    for one in views:
        for finding in find(rule, one):
            said.setdefault(finding.message, []).append((one, finding))
    for message, found in said.items():
        part, finding = found[0]
        if len({id(one) for one, _ in found}) < len(views) and part.part is not None:
            finding = replace(finding, message=f"{part.part.name}: {message}")
        yield finding


def _read(path: Path) -> DataSetFile | Failure:
    try:
        return read_data_sets(path)
    except Failure as failure:
        return failure


def _views(rule: Rule, view: View) -> list[View]:
    """Return the views of the data sets, or of their folders, whose settings a rule reads; else the whole one."""
    found = file_of(view) if rule.sees in ("config", "disk", "machine") else None
    if not isinstance(found, DataSetFile) or not found.data_sets:
        return [view]
    reads = frozenset(rule.reads)
    if reads & _OF_FOLDERS:
        return [_narrowed(view, found, one, at) for one in found.data_sets for at in _trained(one)] or [view]
    if reads & _OF_DATA_SETS:
        return [_narrowed(view, found, one, None) for one in found.data_sets]
    return [view]


def _trained(one: DataSet) -> Iterator[int]:
    return (at for at, subset in enumerate(one.subsets) if not subset.is_reg)


def _narrowed(view: View, found: DataSetFile, one: DataSet, at: int | None) -> View:
    """Return the view of a data set with its settings, or of one of its folders."""
    settings = dict(one.settings)
    name = f"{found.path.name}, data set {found.data_sets.index(one) + 1}"
    if at is not None:
        subset = one.subsets[at]
        settings |= subset.settings
        one = replace(one, subsets=(subset, *(other for other in one.subsets if other.is_reg)))
        name = f"{found.path.name}, {subset.folder.name}"
    part = Part(name, (one,), frozenset(settings), view)
    return view._replace(config=view.config.model_copy(update=settings), given=view.given | settings.keys(), part=part)
