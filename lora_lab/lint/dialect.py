"""Findings about a file in another program's keys, said in that program's words."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from lora_lab.document import Document, Origin
from lora_lab.lint.finding import Finding, Fix

OF_THE_WHOLE_FILE = frozenset({"LL001", "LL007", "LL009", "LL012", "LL013", "LL014"})
"""Findings that are not about single settings."""

NOT_OF_FOREIGN = frozenset({"LL006", "LL008", "LL011", "LL505"})
"""What is no fault in another program's file: a part of the settings is given elsewhere, and empty means not set."""

_OF_SD = frozenset({"LL301", "LL604"})
"""Findings about the layers of SD 1 and 2, which other families do not share."""

_OF_CLIP = ("LL230", "LL231")
"""Findings about the 75 tokens of a CLIP; other families read captions with a T5 or a language model."""

_NEEDED = {"LL202": "shuffle_captions", "LL203": "keep_tokens"}
"""What a part of a run's settings must say before something about it can be known."""


def in_their_words(findings: Iterable[Finding], document: Document) -> Iterator[Finding]:
    """Yield the findings that hold for the file, with its own names of the settings.

    What a file leaves out may be
    given elsewhere, so a finding about nothing but values that are not in the file is not one.
    """
    origin = document.origin
    if origin is None:
        yield from findings
        return
    names = {**origin.names, **origin.spellings}
    said = {**names, **origin.phrases}
    for finding in findings:
        if origin.foreign and (_is_elsewhere(finding, document, origin) or _is_not_so(finding, origin)):
            continue
        yield replace(
            finding,
            message=_renamed(finding.message, said),
            remedy=_renamed(finding.remedy, said),
            keys=tuple(names.get(key, key) for key in finding.keys),
            fix=_fix_there(finding, origin),
        )


def _fix_there(finding: Finding, origin: Origin) -> Fix | None:
    """Return a finding's fix for the file; in another program's, only one of a value's form is safe.

    What has no effect in lora_lab, or in what this file says, may have one there: the rest of a run's settings can
    stand on a command line.
    """
    if not origin.readable or finding.fix is None or not origin.foreign or finding.code == "LL003":
        return finding.fix if origin.readable else None
    return replace(finding.fix, safe=False)


def not_known(origin: Origin | None) -> frozenset[str]:
    """Return the keys whose value only the other program's run decides."""
    return origin.unknown if origin else frozenset()


def _is_elsewhere(finding: Finding, document: Document, origin: Origin) -> bool:
    """Say whether a finding speaks of what the file does not say."""
    if finding.code in OF_THE_WHOLE_FILE:
        return False
    if origin.partial == "some":
        return not finding.code.startswith("LL0")
    of_pictures = finding.code.startswith(("LL0", "LL1", "LL2", "LL6"))
    given = document.entries.keys() | {named.key for named in origin.image_dirs}
    if origin.partial == "dataset":
        needed = _NEEDED.get(finding.code, "")
        known = all(key in given for key in filter(None, (*finding.keys, needed)))
        return not (of_pictures and known)
    return given.isdisjoint(finding.keys)


def _is_not_so(finding: Finding, origin: Origin) -> bool:
    """Say whether a finding holds for lora_lab only, or for another family than the file's."""
    if finding.code in NOT_OF_FOREIGN or finding.code.startswith("LL9"):
        return finding.code != "LL009"
    if finding.code == "LL003" and "max_grad_norm" in finding.keys:
        return True  # torch's clip_grad_norm_ makes a number of a text
    if origin.family == "other":
        return finding.code.startswith(("LL3", "LL6", "LL7", "LL8", *_OF_CLIP))
    return origin.family != "sd" and finding.code in _OF_SD


def _renamed(text: str, said: Mapping[str, str]) -> str:
    """Return the text with our names of settings replaced."""
    other = {ours: theirs for ours, theirs in said.items() if ours != theirs and ours in text}
    if not other:
        return text
    longest_first = sorted(other, key=len, reverse=True)
    pattern = r"(?<![\w.-])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w-])"
    return re.sub(pattern, lambda match: _said(other[match[0]], text[match.end() :]), text)


def _said(theirs: str, rest: str) -> str:
    """Return what to call a setting: `lr_warmup/100` only where its value follows, which is a hundredth of theirs."""
    return theirs if re.match(r" -?[0-9.]", rest) else theirs.removesuffix("/100")
