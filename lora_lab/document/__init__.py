"""Text to data, with the place of every key and value, so that a finding can point at what the user wrote."""

from lora_lab.document.document import Document, Dropped, Entry, Origin, ParseProblem, ProblemKind, Span
from lora_lab.document.json_text import parse_json
from lora_lab.document.overlay import overlay
from lora_lab.document.read import decode_document, read_document

__all__ = [
    "Document",
    "Dropped",
    "Entry",
    "Origin",
    "ParseProblem",
    "ProblemKind",
    "Span",
    "decode_document",
    "overlay",
    "parse_json",
    "read_document",
]
