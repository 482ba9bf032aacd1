"""Keys and values that can be written where the cursor stands."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from lora_lab.config import ALIASES, PARAMETERS
from lora_lab.config.json_schema import sentence
from lora_lab.config.parameters import Parameter
from lora_lab.config.shapes import OPTIMIZERS
from lora_lab.document import Document

Form = Literal["json", "toml", "yaml", "command"]

_KEY_PLACES: Mapping[Form, re.Pattern[str]] = {
    "json": re.compile(r"(?:^|[{,])[ \t]*(?P<quote>\"?)(?P<word>[\w.]*)$"),
    "toml": re.compile(r"^[ \t]*(?P<quote>\"?)(?P<word>[\w-]*)$"),
    "yaml": re.compile(r"(?:^|[{,])[ \t]*(?P<quote>[\"']?)(?P<word>[\w-]*)$"),
    "command": re.compile(r"(?:^|[ \t])(?P<quote>)(?P<word>--[\w-]*)$"),
}
_VALUE_PLACES: Mapping[Form, re.Pattern[str]] = {
    "json": re.compile(r"\"(?P<key>[\w.]+)\"[ \t]*:[ \t]*(?P<quote>\"?)(?P<word>[\w.+-]*)$"),
    "toml": re.compile(r"^[ \t]*(?P<key>[\w-]+)[ \t]*=[ \t]*(?P<quote>[\"']?)(?P<word>[\w.+-]*)$"),
    "yaml": re.compile(r"(?:^|[{,])[ \t]*(?P<key>[\w-]+):[ \t]+(?P<quote>[\"']?)(?P<word>[\w.+-]*)$"),
    "command": re.compile(r"--(?P<key>[\w-]+)[= ](?P<quote>[\"']?)(?P<word>[\w.+-]*)$"),
}
_ENDS: Mapping[str, Form] = {".json": "json", ".jsonc": "json", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
_LANGUAGES: Mapping[str, Form] = {
    "json": "json",
    "jsonc": "json",
    "toml": "toml",
    "yaml": "yaml",
    "shellscript": "command",
    "bat": "command",
    "powershell": "command",
}
_COLON = re.compile(r"[ \t]*[:=]")


class Completion(NamedTuple):
    """One thing to write: what the list shows, what the text becomes between two offsets, and what it is about.

    `typed` is what an editor compares with what is typed: the label behind the quotes or dashes that are there.
    """

    label: str
    detail: str
    text: str
    start: int
    end: int
    key: str
    is_key: bool
    typed: str


def form_of(path: Path | None, language: str) -> Form | None:
    """Return the format of a text by its editor's name for it, or by its file's name."""
    by_name = _ENDS.get(path.suffix.lower()) if path else None
    return by_name or _LANGUAGES.get(language)


def completions(text: str, form: Form, document: Document | None, offset: int) -> Iterator[Completion]:
    """Yield what can be written at an offset: keys that are not set yet, or the values of a key.

    In another program's file the keys are that program's.
    """
    line = text[max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1 : offset]
    at_value = _VALUE_PLACES[form].search(line)
    at_key = _KEY_PLACES[form].search(line)
    if at_value:
        key = at_value["key"]
        parameter = PARAMETERS.get(key if key in PARAMETERS else ALIASES.get(key.replace("-", "_"), ""))
        start, end = _ends(text, offset, at_value)
        if parameter is not None:
            yield from _values(text, parameter, form, start, end)
    elif at_key:
        start, end = _ends(text, offset, at_key)
        yield from _keys(text, form, document, start, end)


def _ends(text: str, offset: int, found: re.Match[str]) -> tuple[int, int]:
    """Return the offsets between which a completion goes: the word, its quotes, and what follows of the word."""
    start = offset - len(found["word"]) - len(found["quote"])
    rest = re.compile(r"[\w.+-]*").match(text, offset)
    end = rest.end() if rest else offset
    if found["quote"] and text[end : end + 1] == found["quote"]:
        end += 1
    return start, end


def _keys(text: str, form: Form, document: Document | None, start: int, end: int) -> Iterator[Completion]:
    """Yield the keys that the document does not have; in JSON and TOML with the default as a start."""
    names = document.origin.names if document and document.origin and document.origin.foreign else {}
    foreign = bool(names)
    has_value = bool(_COLON.match(text, end))
    for name, known in PARAMETERS.items():
        label = names.get(name, "") if foreign else name
        if not label or (document and name in document.entries and not has_value):
            continue
        yield Completion(
            label,
            sentence(known),
            _pair(label, known, form, has_value),
            start,
            end,
            name,
            True,
            _typed(text, start, label),
        )


def _pair(label: str, known: Parameter, form: Form, has_value: bool) -> str:
    """Return a key as it is written, ready for its value."""
    if form == "command":
        return f"--{label}"
    key = json.dumps(label) if form == "json" else label
    return key if has_value else f"{key}{' = ' if form == 'toml' else ': '}"


def _values(text: str, known: Parameter, form: Form, start: int, end: int) -> Iterator[Completion]:
    """Yield the values of a parameter that can be listed; the default is marked."""
    values: tuple[object, ...] = known.choices
    if known.kind is bool and form != "command":
        values = (True, False)
    elif known.name == "optimizer_type":
        values = OPTIMIZERS
    elif not values and isinstance(known.default, int | float) and not isinstance(known.default, bool):
        values = (known.default,)
    for value in values:
        written = _written(value, form)
        detail = "default" if value == known.default else ""
        label = str(written).strip('"')
        yield Completion(label, detail, written, start, end, known.name, False, _typed(text, start, label))


def _written(value: object, form: Form) -> str:
    """Return a value as it stands in a file; YAML's own words (no, on) need quotes."""
    if isinstance(value, str) and (form == "command" or (form == "yaml" and value not in ("no", "on", "yes", "off"))):
        return value
    return json.dumps(value)


def _typed(text: str, start: int, label: str) -> str:
    """Return a label behind the quote or the dashes that stand at an offset."""
    lead = "--" if text.startswith("--", start) else text[start : start + 1] if text[start : start + 1] in "\"'" else ""
    return lead + label
