"""Runs every rule over one config."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lora_lab.config import Checked, TrainConfig, check, resolve_path, with_paths
from lora_lab.document import Document, Entry, Span, overlay
from lora_lab.failure import Failure
from lora_lab.lint.dialect import in_their_words, not_known
from lora_lab.lint.disk import Disk
from lora_lab.lint.finding import Finding, Fix, Severity
from lora_lab.lint.register import RULES
from lora_lab.lint.rule import Hit, Part, Rule, Target, View
from lora_lab.lint.suppression import split, suppressions

if TYPE_CHECKING:
    from lora_lab.lint.machine import Machine
    from lora_lab.lint.theirs import Theirs

FORM = frozenset({"LL002", "LL003", "LL004", "LL005", "LL011"})
"""Findings about one value's form, which a rule that knows what was meant says better."""

OF_ANY_FILE = frozenset({"LL001", "LL007", "LL009"})
"""What can still be said about a file that is no training config."""

_OUR_LIMITS = ("bucket_reso_steps", "max_clip_token_length")

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
_RAW = frozenset(rule.code for rule in RULES if rule.sees == "raw")
_THEIRS = frozenset(rule.code for rule in RULES if rule.sees == "theirs")
FIRST = tuple(rule for rule in RULES if rule.sees != "outcome")
_LAST = tuple(rule for rule in RULES if rule.sees == "outcome")

NOWHERE = Span(0, 0, 1, 1)
"""The place of values that stand in no file."""


@dataclass(frozen=True)
class LintResult:
    """A config with everything that was found about it; `usable` says that no finding is an error."""

    document: Document
    config: TrainConfig
    findings: tuple[Finding, ...]
    usable: bool


def lint_document(
    document: Document, disk: Disk | None, target: Target = "lora_lab", machine: "Machine | None" = None
) -> LintResult:
    """Judge a config file for a trainer.

    Without `disk` only its text is looked at, not even the file of `load_json_path`; without `machine` not what this
    machine can do.
    """
    result = _lint(document, disk, target, machine)
    return replace(result, findings=tuple(sorted(result.findings, key=place_of)))


def lint_values(
    values: Mapping[str, object], folder: Path, disk: Disk | None, machine: "Machine | None" = None
) -> LintResult:
    """Judge values that stand in no file of their own, as a point of a grid does; the findings have no span.

    Relative paths start from `folder`.
    """
    if disk is not None and disk.folder != folder:
        disk = disk.moved_to(folder)
    entries = {key: Entry(key, value, NOWHERE, NOWHERE) for key, value in values.items()}
    result = _lint(Document(None, "", entries), disk, machine=machine)
    findings = (replace(finding, span=None) for finding in result.findings)
    return replace(result, findings=tuple(sorted(findings, key=place_of)))


def _lint(
    own: Document, disk: Disk | None, target: Target = "lora_lab", machine: "Machine | None" = None
) -> LintResult:
    """Run the rules over one document."""
    document, failure = _with_loaded(own, disk)
    theirs = None if target == "lora_lab" else _theirs(document, target)
    assumed = document.origin.defaults if document.origin else theirs.defaults if theirs else {}
    checked = check({**assumed, **document.values})
    given = frozenset(key for key, entry in document.entries.items() if entry.value is not None)
    view = View(
        checked.config,
        document.values,
        given,
        checked.problems,
        document,
        disk,
        failure,
        target=target,
        theirs_view=theirs,
        machine_view=machine,
    )
    unusable = unusable_keys(checked) | not_known(document.origin) | _without_file(view)
    seen = _seen_folders(document, unusable)
    ran = [rule for rule in FIRST if can_run(rule, seen if rule.sees == "disk" else unusable, view)]
    found = [finding for rule in ran for finding in _found(rule, view)]
    kept = settled(found, view, own, ran)
    return LintResult(document, checked.config, kept, not any(f.severity == "error" for f in kept))


def _without_file(view: View) -> frozenset[str]:
    """Return the keys that stand for the pictures where the data set file that names them can't be used."""
    if not view.config.dataset_config or view.disk_view is None:
        return frozenset()
    from lora_lab.lint.parts import data_sets  # noqa: PLC0415 -- only for a config that names such a file

    return frozenset() if data_sets(view) else frozenset(["img_folder", "reg_img_folder"])


def unusable_keys(checked: Checked) -> frozenset[str]:
    """Return the keys that have no usable value."""
    return checked.invalid.union(problem.key for problem in checked.problems if problem.kind == "missing")


def can_run(rule: Rule, unusable: Set[str], view: View) -> bool:
    """Say whether a rule is true of the trainer and has what it needs: the disk, the machine, or valid values."""
    if view.target not in rule.targets or (rule.sees == "disk" and view.disk_view is None):
        return False
    if rule.sees == "machine" and view.machine_view is None:
        return False
    return rule.sees in ("raw", "theirs") or unusable.isdisjoint(rule.reads)


def settled(found: list[Finding], view: View, own: Document, ran: Sequence[Rule]) -> tuple[Finding, ...]:
    """Return what of all findings is to be said: each fault once, in the file's words, without what it suppresses."""
    if any(finding.code == "LL009" for finding in found):
        found = [finding for finding in found if finding.code in OF_ANY_FILE]
    explained = {finding.keys[0] for finding in found if finding.code in _RAW}
    kept = [f for f in found if not (f.code in FORM and explained.intersection(f.keys))]
    kept = _spoken(kept, view.document, view.target)
    asked = tuple(suppressions(own))
    if asked:
        kept, idle = split(kept, asked, RULES, {rule.code for rule in ran})
        view = view._replace(document=own, idle=tuple(idle))
        kept.extend(finding for rule in _LAST for finding in findings_of(rule, view))
    return tuple(kept)


def _seen_folders(document: Document, unusable: Set[str]) -> Set[str]:
    """Return the unusable keys for rules that look at the disk: they see folders that a file names one by one."""
    named = document.origin.image_dirs if document.origin else ()
    return unusable - {"img_folder", "reg_img_folder"} if named else unusable


def _theirs(document: Document, target: Target) -> "Theirs":
    """Return the settings by the other trainer's names."""
    from lora_lab.lint.theirs import settings_of  # noqa: PLC0415 -- only for another trainer than ours

    return settings_of(document, target == "easy")


def _spoken(findings: list[Finding], document: Document, target: Target) -> list[Finding]:
    """Return the findings in the file's own names.

    For another trainer there are no fixes, which it may take otherwise, and no limits that only ours has.
    """
    theirs = [finding for finding in findings if finding.code in _THEIRS]
    about = [finding for finding in findings if finding.code not in _THEIRS]
    kept = list(in_their_words(about, document))
    if target == "lora_lab":
        return kept
    said = {finding.span for finding in theirs}
    kept = [one for one in kept if not (one.code in FORM and (one.span in said or _is_our_limit(one, document)))]
    return [replace(finding, fix=None) for finding in kept] + theirs


def _is_our_limit(finding: Finding, document: Document) -> bool:
    """Say whether a finding about one value's form is about a limit of our trainer."""
    names = document.origin.spellings if document.origin else {}
    return finding.code in ("LL004", "LL005") and any(names.get(key, key) in finding.keys for key in _OUR_LIMITS)


def _found(rule: Rule, view: View) -> Iterator[Finding]:
    """Run one rule over a config, or over each of the data sets that it names in a file."""
    if not view.config.dataset_config or view.disk_view is None:
        return findings_of(rule, view)
    from lora_lab.lint.parts import findings_in_parts  # noqa: PLC0415 -- only for a config that names such a file

    return findings_in_parts(rule, view, findings_of)


def findings_of(rule: Rule, view: View) -> Iterator[Finding]:
    """Run one rule. That a file vanishes or can't be read while a rule looks at it is no reason to stop."""
    try:
        for hit in rule.check(view):
            severity = hit.severity or rule.severity
            span = hit.span or _span(hit, view)
            fix = None if view.part is not None and hit.fix and _is_in_file(hit.fix, view.part) else hit.fix
            yield Finding(rule.code, rule.name, severity, hit.message, hit.keys, span, hit.remedy, fix)
    except OSError:
        return


def _is_in_file(fix: Fix, part: Part) -> bool:
    """Say whether a fix is of what the data set file says, where it would change nothing."""
    return any(edit.key in part.settings for edit in fix.edits)


def _span(hit: Hit, view: View) -> Span | None:
    """Return the place of the first of the hit's keys that the file has, else where it names the data set file."""
    document, set_there = view.document, view.part.settings if view.part else frozenset[str]()
    for key in (key for key in hit.keys if key not in set_there):
        entry = document.entries.get(key)
        if entry:
            return entry.key_span if hit.at == "key" else entry.value_span
        for named in document.origin.image_dirs if document.origin else ():
            if key == named.key:
                return named.span
    named_file = document.entries.get("dataset_config")
    of_data = set_there.union(("img_folder", "reg_img_folder"))
    return named_file.value_span if named_file and not of_data.isdisjoint(hit.keys) else None


def place_of(finding: Finding) -> tuple[float, int, str]:
    """Sort by place in the file; what has none comes last, the worst first."""
    return (finding.span.start if finding.span else float("inf"), _ORDER[finding.severity], finding.code)


def _with_loaded(document: Document, disk: Disk | None) -> tuple[Document, Failure | None]:
    """Return the document on top of the file that its `load_json_path` names, or why that can't be read."""
    entry = document.entries.get("load_json_path")
    if disk is None or entry is None or not isinstance(entry.value, str) or not entry.value:
        return document, None
    from lora_lab.document.dialects import read_config  # noqa: PLC0415 - only for a config that loads another

    try:
        path = resolve_path(entry.value, disk.folder)
        loaded = read_config(path)
    except Failure as failure:
        return document, failure
    if loaded.broken:
        return document, Failure(f"{path} can't be read", f"see what `lora-lab lint {path}` says about it")
    if loaded.origin is not None and loaded.origin.foreign:
        return document, Failure(f"{path} is {loaded.origin.title}", f"`lora-lab convert {path}` makes it one of ours")
    skip = document.values.get("json_load_skip_list")
    names = [name for name in skip if isinstance(name, str)] if isinstance(skip, list) else []
    return overlay(document, _absolute(loaded, path.parent), names), None


def _absolute(loaded: Document, folder: Path) -> Document:
    """Return the document with paths that start from its own folder."""
    entries = dict(loaded.entries)
    for key, entry in loaded.entries.items():
        entries[key] = replace(entry, value=with_paths(key, entry.value, lambda path: str(resolve_path(path, folder))))
    return replace(loaded, entries=entries)
