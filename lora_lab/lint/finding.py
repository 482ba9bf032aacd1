"""What a rule says about a config, and the change that would mend it."""

from dataclasses import dataclass
from typing import Literal

from lora_lab.document import Span

Severity = Literal["error", "warning", "info"]
"""By outcome. error: the run fails or its result is broken. warning: a setting is ignored or overridden, or does
documented harm. info: worth knowing."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The worst first."""


@dataclass(frozen=True)
class Edit:
    """One change of a config: a key gets a value, goes away, or gets another name (`value` is the new name).

    `deduplicate` removes its earlier settings, `respell` writes key and value as JSON does.
    """

    key: str
    action: Literal["set", "remove", "rename", "deduplicate", "respell"]
    value: object = None


@dataclass(frozen=True)
class Fix:
    """Changes that remove a finding. `safe` means that the training result stays the same."""

    edits: tuple[Edit, ...]
    safe: bool


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing; `span` is None where nothing in the file can be pointed at."""

    code: str
    name: str
    severity: Severity
    message: str
    keys: tuple[str, ...]
    span: Span | None
    remedy: str
    fix: Fix | None = None


def set_to(key: str, value: object, *, safe: bool = False) -> Fix:
    """Return the fix that gives `key` another value."""
    return Fix((Edit(key, "set", value),), safe)


def removed(*keys: str, safe: bool = True) -> Fix:
    """Return the fix that takes keys out; safe unless said otherwise, since what is ignored can go."""
    return Fix(tuple(Edit(key, "remove") for key in keys), safe)


def renamed(key: str, name: str, *, safe: bool = False) -> Fix:
    """Return the fix that writes `key` under another name."""
    return Fix((Edit(key, "rename", name),), safe)
