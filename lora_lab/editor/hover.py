"""What a key means, for the place where the pointer or the cursor is: the texts of `lora-lab explain`."""

import inspect
import re
from typing import NamedTuple

from lora_lab.config import ALIASES, PARAMETERS
from lora_lab.config.json_schema import markdown
from lora_lab.document import Document
from lora_lab.lint import RULES

_KEY = re.compile(r"[A-Za-z_]\w*")
_AFTER_KEY = re.compile(r"[\"']?[ \t]*[:=]|[ \t]")
_RULE = re.compile(r"\bLL[0-9]{3}\b")


class Hover(NamedTuple):
    """A text in Markdown about a piece of the document."""

    text: str
    start: int
    end: int


def hover(text: str, document: Document | None, offset: int) -> Hover | None:
    """Return what is known about the key (or the code of a rule) at an offset, or None.

    A key of another program is explained as ours. In files that are no configs, as grids, keys are told by their names.
    """
    for match in _RULE.finditer(text, max(offset - 5, 0), offset + 5):
        if match.start() <= offset <= match.end():
            return _rule(match)
    for key, entry in (document.entries if document else {}).items():
        span = entry.key_span
        if key in PARAMETERS and (span.start <= offset <= span.end):
            return Hover(page(key, _spelled(document, key)), span.start, span.end)
    return _by_name(text, offset) if document is None else None


def page(key: str, spelled: str = "") -> str:
    """Return the page of a parameter in Markdown; `spelled` is its name in the file."""
    other = f", here `{spelled}`" if spelled and spelled != key else ""
    return f"### {key}{other}\n\n{markdown(PARAMETERS[key])}"


def _spelled(document: Document | None, key: str) -> str:
    return document.origin.spellings.get(key, key) if document and document.origin else key


def _rule(match: re.Match[str]) -> Hover | None:
    """Return the page of the rule that a suppression names."""
    rule = next((rule for rule in RULES if rule.code == match[0]), None)
    if rule is None:
        return None
    text = f"### {rule.code} {rule.name}\n\n{inspect.cleandoc(rule.page)}"
    return Hover(text, match.start(), match.end())


def _by_name(text: str, offset: int) -> Hover | None:
    """Return the page of a word that stands like a key and is one."""
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    for match in _KEY.finditer(text, start, min(offset + 80, len(text))):
        if match.start() <= offset <= match.end() and _AFTER_KEY.match(text, match.end()):
            key = match[0] if match[0] in PARAMETERS else ALIASES.get(match[0], "")
            return Hover(page(key, match[0]), match.start(), match.end()) if key else None
    return None
