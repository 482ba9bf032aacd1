"""A document in the making: what a dialect puts into it, key by key."""

import re
from collections.abc import Mapping
from dataclasses import replace

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects.names import why
from lora_lab.document.document import Document, Dropped, Entry, ImageDir, Origin, Part, Span
from lora_lab.document.json_number import MOST_DIGITS
from lora_lab.document.tree import Item, Tree

_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SWITCHES = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}

IDLE: Mapping[str, tuple[object, ...]] = {
    "network_module": ("networks.lora", "sd_scripts.networks.lora"),
    "LoRA_type": ("Standard", "Kohya LoRA", "Kohya LoCon"),
    "LyCORIS_preset": ("full",),
    "noise_offset_type": ("Original", "Multires"),
    "caption_separator": (",",),
    "block_lr_zero_threshold": ("0", "0.0"),
    "weighting_scheme": ("logit_normal", "none", "sigma_sqrt"),
    "num_repeats": (1,),
    "dataset_repeats": (1, "1"),
    "factor": (-1,),
    "unit": (1,),
    "train_on_input": (True,),
    "train_mode": ("lora",),
    "save_last_n_epochs": (499,),
    "template": ("caption",),
    "init_word": ("*",),
    "model_type": ("sd", "sdxl", "stable_diffusion"),
}
"""Values of keys without a counterpart that ask for nothing: the other program's defaults."""


def is_idle(key: str, value: object) -> bool:
    """Say whether a value asks for nothing."""
    unset = value is None or value is False or value in (0, 0.0, "", "0", "None", "none", [], {})
    return unset or any(value == idle for idle in IDLE.get(key, ()))


def typed(name: str, value: object) -> object:
    """Return a text as the number or switch that our key takes, as a program does that converts what it reads.

    What can't be converted stays as it is, and the check says so.
    """
    parameter = PARAMETERS[name]
    if isinstance(value, float) and parameter.kind is int and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if not isinstance(value, str) or len(value) > MOST_DIGITS:
        return value
    text = value.strip()
    if parameter.kind is bool:
        return _SWITCHES.get(text.lower(), value)
    if parameter.kind is int and _WHOLE.fullmatch(text):
        return int(text.partition(".")[0])
    if parameter.kind is float and _NUMBER.fullmatch(text):
        return float(text)
    return value


def _as_ours(name: str, value: object) -> object:
    return typed(name, value) if name in PARAMETERS else value


def start_of(tree: Tree) -> Span:
    """Return the place of a file's first key, or of its beginning."""
    return tree.items[0].key_span if tree.items else Span(0, 0, 1, 1)


class Draft:
    """Collects entries under our keys, and what has no counterpart."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.entries: dict[str, Entry] = {}
        self.spellings: dict[str, str] = {}
        self.dropped: list[Dropped] = []
        self.unknown: set[str] = set()
        self.notes: list[str] = []
        self.phrases: dict[str, str] = {}
        self.family = ""
        self.partial: Part = ""
        self.image_dirs: list[ImageDir] = []

    def put(self, name: str, item: Item, value: object) -> None:
        """Set our key from an item of the file."""
        self.entries[name] = Entry(name, value, item.key_span, item.value_span)
        self.spellings[name] = item.key

    def leave_open(self, name: str, item: Item) -> None:
        """Note that our key is set to something which only the run decides."""
        self.unknown.add(name)
        self.spellings[name] = item.key

    def drop(self, item: Item, reason: str = "", asks: bool | None = None) -> None:
        """Note an item without a counterpart."""
        usual, depends = why(item.key)
        asks = depends if asks is None else asks
        if item.key.startswith("lora_lab:"):
            asks = False  # a word to the linter
        asks = asks and not is_idle(item.key, item.value)
        self.dropped.append(Dropped(item.key, item.value, item.key_span, reason or usual, asks))

    def take_out(self, name: str, reason: str, asks: bool = True) -> None:
        """Drop an entry that was put in before."""
        entry = self.entries.pop(name, None)
        if entry is not None:
            key = self.spellings.pop(name)
            self.dropped.append(Dropped(key, entry.value, entry.key_span, reason, asks))

    def value(self, name: str) -> object:
        """Return the value of one of our keys, None where it is not set."""
        entry = self.entries.get(name)
        return None if entry is None else entry.value

    def change(self, name: str, value: object) -> None:
        """Give an entry another value, as if it stood in its place."""
        self.entries[name] = replace(self.entries[name], value=value)

    def move(self, name: str, to: str, value: object) -> None:
        """Turn an entry into one of another key of ours, with another value."""
        entry = self.entries.pop(name)
        self.entries[to] = Entry(to, value, entry.key_span, entry.value_span)
        self.spellings[to] = self.spellings.pop(name)

    def document(
        self,
        dialect: str,
        title: str,
        names: Mapping[str, str],
        defaults: Mapping[str, object] | None = None,
    ) -> Document:
        """Return the document."""
        ours = {theirs: name for name, theirs in self.spellings.items() if name in self.entries}
        duplicates = tuple(
            Entry(ours[item.key], _as_ours(ours[item.key], item.value), item.key_span, item.value_span)
            for item in self.tree.duplicates
            if item.key in ours and self.tree.form != "toml"  # there it is a syntax error, which is reported as such
        )
        defaults = {
            key: value for key, value in (defaults or {}).items() if key not in self.entries and key not in self.unknown
        }
        origin = Origin(
            dialect,
            title,
            spellings=self.spellings,
            names=names,
            dropped=tuple(self.dropped),
            unknown=frozenset(self.unknown),
            defaults=defaults,
            notes=tuple(self.notes),
            phrases=self.phrases,
            family=self.family,
            partial=self.partial,
            form=self.tree.form,
            image_dirs=tuple(self.image_dirs),
            items=self.tree.items,
            program=self.tree.program,
        )
        tree = self.tree
        return Document(tree.path, tree.text, self.entries, duplicates, tree.problems, origin)
