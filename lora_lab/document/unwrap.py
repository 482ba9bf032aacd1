"""Settings that stand one level too deep, as a program writes them that keeps something of its own beside them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects.names import EVERY_NAME
from lora_lab.document.document import Document, Entry, Lines, ParseProblem, Span
from lora_lab.document.json_text import parse_json

_FEWEST: Final = 3
"""So many names of settings make an object a config: a word or two may be anything."""

_KNOWN: Final = PARAMETERS.keys() | EVERY_NAME.keys()


def are_sections(values: Mapping[str, object]) -> bool:
    """Say whether every value is a mapping, and settings stand in them and not beside them."""
    inner = [set(one) for one in values.values() if isinstance(one, dict)]
    return len(inner) == len(values) and _KNOWN.isdisjoint(values) and not _KNOWN.isdisjoint(set().union(*inner))


def unwrapped(document: Document) -> Document:
    """Return the settings that stand in an object of a JSON object, with a problem that says so.

    Only where no setting stands outside, and in one object only.
    """
    if not _KNOWN.isdisjoint(document.entries):
        return document
    inside = [one for one in document.entries.values() if isinstance(one.value, dict)]
    found = [one for one in inside if len(_KNOWN & one.value.keys()) >= _FEWEST]  # type: ignore[attr-defined]
    if len(found) != 1:
        return document
    (outer,) = found
    start, end = outer.value_span.start, outer.value_span.end
    inner = parse_json(document.text[start:end])
    lines = Lines(document.text)

    def moved(span: Span) -> Span:
        return lines.span(span.start + start, span.end + start)

    def entry(one: Entry) -> Entry:
        return replace(one, key_span=moved(one.key_span), value_span=moved(one.value_span))

    message = f'the settings stand inside "{outer.key}", where no trainer looks for them: take the object out'
    return replace(
        document,
        entries={key: entry(one) for key, one in inner.entries.items()},
        duplicates=tuple(map(entry, inner.duplicates)),
        problems=(*document.problems, ParseProblem(message, outer.key_span)),
    )
