"""A config of any kind as plain values of our keys, with what was lost on the way."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_lab.config import PARAMETERS, with_paths
from lora_lab.document.dialects import read_config, translate
from lora_lab.document.document import Document, Dropped
from lora_lab.document.lora_metadata import NEVER_RECORDED, rebuild
from lora_lab.document.tensor_table import read_safetensors
from lora_lab.failure import Failure


@dataclass(frozen=True)
class Conversion:
    """Values of our keys. `assumed` are values that the other program takes for what its file leaves out; `stand_ins`
    are keys whose value only fills the place of what is not known.
    """

    title: str
    folder: Path
    values: Mapping[str, object]
    assumed: Mapping[str, object] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ours: bool = True
    stand_ins: frozenset[str] = frozenset()

    @property
    def all_values(self) -> dict[str, object]:
        """Return the values that are set and those that are assumed, in the order of the reference."""
        known = {**self.assumed, **{key: value for key, value in self.values.items() if value is not None}}
        return {key: known[key] for key in PARAMETERS if key in known}


def converted(path: Path, dialect: str | None = None) -> Conversion:
    """Read a config of any dialect, or the one that a LoRA file carries.

    Raises `Failure` where the file can't be read, or holds nothing that could be taken over.
    """
    if path.suffix.lower() == ".safetensors":
        return _of_lora(path)
    document = read_config(path, dialect)
    if document.origin is None:
        document = translate(document)
    return _of_document(document, path)


def _of_document(document: Document, path: Path) -> Conversion:
    origin = document.origin
    assert origin is not None  # translate and every dialect set it
    syntax = [problem for problem in document.problems if problem.kind == "syntax"]
    if syntax and not document.entries:
        first = syntax[0]
        raise Failure(f"{path}:{first.span.line}: {first.message}", f"`lora-lab lint {path}` says more")
    values = {key: entry.value for key, entry in document.entries.items() if key in PARAMETERS}
    strangers = tuple(
        Dropped(key, entry.value, entry.key_span, "no program's key that lora_lab knows")
        for key, entry in document.entries.items()
        if key not in PARAMETERS
    )
    if not values:
        raise Failure(f"{path} holds nothing that lora_lab has", f"it was read as {origin.title}")
    notes = [f"line {p.span.line}: {p.message}" for p in syntax[:5]]
    return Conversion(
        title=origin.title,
        folder=document.folder,
        values=values,
        assumed=origin.defaults,
        dropped=(*origin.dropped, *strangers),
        unknown={key: origin.spellings.get(key, key) for key in sorted(origin.unknown - values.keys())},
        notes=(*origin.notes, *notes),
        ours=origin.dialect in ("own", "easy"),
    )


def _of_lora(path: Path) -> Conversion:
    """Return the settings that a LoRA file carries."""
    header = read_safetensors(path)
    if not any(key.startswith("ss_") for key in header.metadata):
        raise Failure(f"{path} carries no training settings (no ss_* metadata)", "it was saved without them, or merged")
    rebuilt = rebuild(header)
    notes = [f"{key} {rebuilt.values.get(key, '')}: {why}".replace(" :", ":") for key, why in rebuilt.guessed.items()]
    notes += [f"{key} = {text} has no counterpart" for key, text in rebuilt.lost.items()]
    notes.append(f"never recorded: {NEVER_RECORDED}")
    values = {key: rebuilt.values[key] for key in PARAMETERS if key in rebuilt.values}
    return Conversion(
        "the metadata of a LoRA file",
        path.parent,
        values,
        notes=tuple(notes),
        ours=False,
        stand_ins=frozenset(rebuilt.guessed),
    )


def moved(conversion: Conversion, folder: Path) -> dict[str, object]:
    """Return the values with relative paths that start from another folder.

    Only for our own files: other programs' relative paths start from where the program is started.
    """
    values = conversion.all_values
    here, there = conversion.folder.absolute(), folder.absolute()
    if not conversion.ours or here == there:
        return values
    for key, value in values.items():
        values[key] = with_paths(
            key, value, lambda path: os.path.relpath(here / path, there) if is_relative(path) else path
        )
    return values


def is_relative(value: str) -> bool:
    """Say whether a path starts from the config's folder; one with a drive letter does not, on any machine."""
    return bool(value) and not value.startswith(("lora_lab:", "~", "/", "\\")) and ":" not in value[:3]
