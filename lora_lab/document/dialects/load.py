"""From a file of any dialect to a document of our keys."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects.modules import MODULES
from lora_lab.document.document import Document, Lines, ParseProblem
from lora_lab.document.read import decode_document, read_bytes
from lora_lab.document.tree import Form, Item, Place, Tree
from lora_lab.failure import Failure

_ONLY_OURS: Final = frozenset(["base_model", "img_folder", "output_folder", "net_dim", "alpha"])
"""Some keys that no other program has; `recognise` knows them all."""


def read_config(path: Path, dialect: str | None = None) -> Document:
    """Read a config file of any dialect; `dialect` says which, where the keys need not.

    Raises `Failure` if there is no such file or dialect, or the file can't be read.
    """
    if dialect is not None and dialect not in MODULES:
        raise Failure(f"no dialect is called {dialect}", f"there are {', '.join(MODULES)}")
    return decode_config(read_bytes(path), path, dialect)


def decode_config(data: bytes, path: Path | None = None, dialect: str | None = None) -> Document:
    """Read the bytes of a config of any dialect. Nothing is raised.

    JSON in our own keys (and those of LoRA Easy Training Scripts) comes back as it stands, without an `origin`.
    """
    suffix = path.suffix if path else ""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _from_utf16(data, path, dialect)
    if suffix.lower() == ".json" or _is_no_text(data):
        return _from_json(decode_document(data, path), dialect)
    from lora_lab.document.dialects.recognise import form_of, recognise  # noqa: PLC0415 - not for most files

    text = data.decode("utf-8", "replace")
    form = form_of(suffix, text.removeprefix("\ufeff"))
    if form == "json":
        return _from_json(decode_document(data, path), dialect)
    tree = _tree(form, text, path)
    if not tree.items and not tree.problems and not text.strip():
        tree = replace(tree, problems=(ParseProblem("the file is empty", Lines("").span(0, 0)),))
    bad = text.count("\ufffd") and _first_bad(data)
    if bad:
        at, byte = bad
        span = Lines(tree.text).span(min(at, len(tree.text)), min(at + 1, len(tree.text)))
        message = f"the file is not UTF-8 (byte 0x{byte:02X}), and programs read it as UTF-8"
        tree = replace(tree, problems=(ParseProblem(message, span), *tree.problems))
    return _convert(tree, dialect or recognise(tree))


def translate(document: Document) -> Document:
    """Return a document in which the old names of LoRA Easy Training Scripts are ours of today."""
    return document if document.origin else _convert(_tree_of(document), "easy")


def _from_utf16(data: bytes, path: Path | None, dialect: str | None) -> Document:
    """Return the document of a file as PowerShell's `>` writes it, with a problem that says so."""
    document = decode_config(data.decode("utf-16", "replace").encode("utf-8", "replace"), path, dialect)
    span = Lines(document.text).span(0, min(1, len(document.text)))
    problem = ParseProblem("the file is UTF-16, and programs read it as UTF-8: save it as UTF-8", span)
    return replace(document, problems=(problem, *document.problems))


def _is_no_text(data: bytes) -> bool:
    """Say whether the JSON reader's own words for binary files are called for."""
    return b"\x00" in data[:4096] or data[8:9] == b"{"


def _from_json(document: Document, dialect: str | None) -> Document:
    """Return the document itself if its keys are ours, else one of our keys."""
    if document.text.lstrip().startswith("[") and dialect is None:
        dialect = _of_list(document.text)
    if dialect is None and is_plainly_ours(document):
        return document
    from lora_lab.document.dialects.recognise import recognise_json_keys  # noqa: PLC0415
    from lora_lab.document.unwrap import unwrapped  # noqa: PLC0415

    if dialect is None:
        document = unwrapped(document)
    name = dialect or recognise_json_keys(frozenset(document.entries))
    return document if name in ("own", "easy") else _convert(_tree_of(document), name)


def is_plainly_ours(document: Document) -> bool:
    """Say whether nothing in a JSON object can be another program's, so that nothing needs to be recognised."""
    return document.entries.keys() <= PARAMETERS.keys() and not _ONLY_OURS.isdisjoint(document.entries)


def _of_list(text: str) -> str | None:
    """Return the dialect of a JSON list, if it is a known one."""
    marks = ('"instance_data_dir"', '"cache_dir_vae"', '"crop_aspect"', '"metadata_backend"', '"caption_strategy"')
    return "simpletuner-data" if sum(mark in text for mark in marks) >= 2 else None


def _tree_of(document: Document) -> Tree:
    """Return the tree of a JSON object."""
    items = tuple(Item((key,), one.value, one.key_span, one.value_span) for key, one in document.entries.items())
    twice = tuple(Item((one.key,), one.value, one.key_span, one.value_span) for one in document.duplicates)
    return Tree("json", document.path, document.text, items, document.problems, twice)


def _tree(form: Form, text: str, path: Path | None) -> Tree:
    """Return the tree of a text that is not JSON."""
    if form == "toml":
        from lora_lab.document.toml_text import parse_toml  # noqa: PLC0415 - only for such files

        return parse_toml(text, path)
    if form == "command":
        from lora_lab.document.command_text import parse_command  # noqa: PLC0415

        return parse_command(text, path)
    from lora_lab.document.unwrap import are_sections  # noqa: PLC0415
    from lora_lab.document.yaml_text import parse_yaml  # noqa: PLC0415 - ruamel.yaml takes a tenth of a second

    document = parse_yaml(text.removeprefix("\ufeff"), path)
    values = document.values if isinstance(document.values, dict) else {}
    places: list[Place] = [(key,) for key in values]
    if values and are_sections(values):
        places = [(section, key) for section, inner in values.items() for key in inner]
    items = tuple(
        Item(place, _inside(values, place), document.key_span_of(place), document.span_of(place)) for place in places
    )
    problems = document.problems
    if document.values is not None and not isinstance(document.values, dict):
        span = Lines(document.text).span(0, 0)
        problems = (*problems, ParseProblem("a config is one mapping of keys to values", span))
    return Tree("yaml", path, document.text, items, problems)


def _inside(values: Any, place: Place) -> object:
    for key in place:
        values = values[key]
    return values


def _convert(tree: Tree, dialect: str) -> Document:
    """Return the document that a dialect makes of a tree."""
    module = importlib.import_module(f"lora_lab.document.dialects.{MODULES[dialect]}")
    extra = (dialect,) if MODULES[dialect] == "other_tools" else ()
    document: Document = module.convert(tree, *extra)
    return document


def _first_bad(data: bytes) -> tuple[int, int] | None:
    """Return the offset, in characters, and the value of the first byte that is not UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(data[: error.start].decode("utf-8").removeprefix("\ufeff")), data[error.start]
    return None
