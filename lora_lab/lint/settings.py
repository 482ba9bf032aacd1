"""Which findings are wanted: `[tool.lora-lab]` of a pyproject.toml, or a lora-lab.toml, and the command line."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lora_lab.failure import Failure
from lora_lab.lint.finding import SEVERITIES, Finding, Severity
from lora_lab.lint.register import RULES
from lora_lab.lint.rule import TARGETS, Target

OWN_FILE = "lora-lab.toml"
_MARK = "tool.lora-lab"
_KEYS = ("select", "ignore", "severity", "per-file-ignores", "target")
_EVERYTHING = "ALL"


@dataclass(frozen=True)
class Settings:
    """What is reported: rules by code, beginning of a code (LL4) or name, and how bad a finding must be.

    `select` empty means all rules; `per_file` has patterns of paths relative to `root`, the settings' folder.
    `target` is the trainer that the files are judged for.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: Severity = "info"
    per_file: tuple[tuple[str, tuple[str, ...]], ...] = ()
    root: Path = Path()
    target: Target = "lora_lab"

    def wanted(self, findings: Iterable[Finding], path: Path | None) -> tuple[Finding, ...]:
        """Return the findings of a file that are to be reported."""
        here: set[str] = set()
        for pattern, codes in self.per_file:
            if path is not None and _fits(path, pattern, self.root):
                here.update(codes)
        return tuple(finding for finding in findings if not _rank(finding, here) and self._wants(finding))

    def _wants(self, finding: Finding) -> bool:
        """Say whether a finding is to be reported in any file; the text that names its rule more exactly counts."""
        if SEVERITIES.index(finding.severity) > SEVERITIES.index(self.severity):
            return False
        selected, ignored = _rank(finding, self.select), _rank(finding, self.ignore)
        return ignored < selected or (ignored == 0 and not self.select)

    def overridden(
        self,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
        severity: Severity | None = None,
        target: Target | None = None,
    ) -> "Settings":
        """Return the settings with what the command line says: it adds to `ignore` and replaces the others.

        Raises `Failure` where a text names no rule.
        """
        chosen = tuple(known_rules(select, "--select")) or self.select
        more = tuple(known_rules(ignore, "--ignore"))
        return replace(
            self,
            select=chosen,
            ignore=(*self.ignore, *more),
            severity=severity or self.severity,
            target=target or self.target,
        )


def settings_for(folder: Path) -> Settings:
    """Return the settings of the nearest file in this folder or above it that has any.

    In one folder `lora-lab.toml` comes before `pyproject.toml`. Raises `Failure` where it can't be used.
    """
    try:
        return _found(Path(os.path.abspath(folder)))  # noqa: PTH100 -- resolves .. and leaves links alone
    except OSError as error:
        raise Failure(f"can't look for settings in {folder}: {error.strerror}", "check its permissions") from None


def known_rules(texts: Iterable[str], where: str) -> Iterable[str]:
    """Yield codes, beginnings of codes and names; raises `Failure` where one names no rule."""
    for text in (part.strip() for several in texts for part in several.split(",")):
        if text == _EVERYTHING or any(text == rule.name or _begins(rule.code, text) for rule in RULES):
            yield text
        elif text:
            known = [name for rule in RULES for name in (rule.code, rule.name)]
            hint = _nearest(text, known) or _nearest(text.upper(), known)
            raise Failure(f'{where}: there is no rule "{text}"', hint or "codes look like LL403 or, for a topic, LL4")


def _nearest(text: str, known: Iterable[str]) -> str:
    """Return the question whether the most alike of the known texts was meant, or ""."""
    import difflib  # noqa: PLC0415 -- only for a mistake

    near = difflib.get_close_matches(text, list(known), 1)
    return f"did you mean {near[0]}?" if near else ""


def _begins(code: str, text: str) -> bool:
    return text.startswith("LL") and code.startswith(text)


def _rank(finding: Finding, texts: Iterable[str]) -> int:
    """Return how exactly one of the texts names the finding's rule; 0 where none does."""
    ranks = [
        len(finding.code) + 1 if text in {finding.code, finding.name} else len(text)
        for text in texts
        if text == finding.name or _begins(finding.code, text)
    ]
    return max(ranks, default=1 if _EVERYTHING in texts else 0)


def _fits(path: Path, pattern: str, root: Path) -> bool:
    """Say whether a path, or its name, is meant by a pattern relative to `root`."""
    from fnmatch import fnmatch  # noqa: PLC0415 -- only files with per-file-ignores pay for it

    absolute = Path(os.path.abspath(path))  # noqa: PTH100 -- resolves .. and leaves links alone
    inside = absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else absolute.as_posix()
    pattern = pattern.replace("\\", "/").removeprefix("./")
    return fnmatch(inside, pattern) or fnmatch(path.name, pattern)


def _found(folder: Path) -> Settings:
    """Look in a folder, then in the one above."""
    for path in (folder / OWN_FILE, folder / "pyproject.toml"):
        if path.is_file():
            table = _table(path)
            if table is not None:
                return _settings(table, path)
    return _found(folder.parent) if folder.parent != folder else Settings()


def _table(path: Path) -> Mapping[str, object] | None:
    """Return the settings in a TOML file; None where a pyproject.toml has none."""
    own = path.name == OWN_FILE
    try:
        text = path.read_bytes().decode("utf-8")
        if not own and _MARK not in text:
            return None
        whole = _parsed(text)
    except (OSError, ValueError) as error:
        raise Failure(f"can't read the settings in {path}: {error}", "mend the file") from None
    if own:
        return whole
    tool = whole.get("tool")
    table = tool.get("lora-lab") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _parsed(text: str) -> Mapping[str, object]:
    """Read TOML; the reader is imported only where there is something to read."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    return tomllib.loads(text)


def _settings(table: Mapping[str, object], path: Path) -> Settings:
    """Check a table and return its settings."""
    for key in table:
        if key not in _KEYS:
            hint = _nearest(key, _KEYS) or f"there are {', '.join(_KEYS)}"
            raise Failure(f'{path}: there is no setting "{key}"', hint)
    severity = table.get("severity", "info")
    if severity not in SEVERITIES:
        raise Failure(f"{path}: severity is {severity!r}", f"it is one of {', '.join(SEVERITIES)}")
    target = table.get("target", "lora_lab")
    if target not in TARGETS:
        raise Failure(f"{path}: target is {target!r}", f"it is one of {', '.join(TARGETS)}")
    per_file = table.get("per-file-ignores", {})
    if not isinstance(per_file, dict):
        raise Failure(f"{path}: per-file-ignores is no table", 'write "old/*.json" = ["LL403"] below its heading')
    return Settings(
        _texts(table.get("select", []), path, "select"),
        _texts(table.get("ignore", []), path, "ignore"),
        next(one for one in SEVERITIES if one == severity),
        tuple((pattern, _texts(codes, path, "per-file-ignores")) for pattern, codes in per_file.items()),
        path.parent,
        next(one for one in TARGETS if one == target),
    )


def _texts(value: object, path: Path, key: str) -> tuple[str, ...]:
    """Return a list of rules from the file."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Failure(f"{path}: {key} is no list of texts", f'write {key} = ["LL403"]')
    return tuple(known_rules(value, f"{path}: {key}"))
