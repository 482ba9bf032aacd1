"""What the rules may know about the file system: read when first asked for, kept, and shared by all runs of a sweep."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_lab.config import resolve_path

if TYPE_CHECKING:
    from lora_lab.document.model_header import ModelHeader

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
CAPTION_SUFFIXES = (".txt", ".caption", ".tags", ".cap")
"""Suffixes that captions are seen with; which one counts is `caption_extension`."""

MOST_ENTRIES = 50_000
"""Entries of one folder that are looked at; more pictures than that train nobody's LoRA."""

MOST_CAPTIONS = 2_000
"""Caption files of one data folder that are opened."""

CAPTION_BYTES = 4_096
"""Bytes read of a caption; the longest that a text encoder takes is some 1,200."""


class Listing(NamedTuple):
    """The names in one folder, sorted; hidden ones are left out."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def pictures(self) -> tuple[str, ...]:
        """Return the names of the pictures."""
        return tuple(name for name in self.files if _suffix(name) in PICTURE_SUFFIXES)


class Subset(NamedTuple):
    """One `N_name` folder: `repeats` is None where the name starts with no number."""

    name: str
    path: Path
    repeats: int | None
    listing: Listing

    @property
    def used(self) -> bool:
        """Say whether training reads it."""
        return self.repeats is not None and self.repeats > 0


class DataFolder(NamedTuple):
    """A folder of training pictures: the pictures right inside, which are not used, and its sub-folders."""

    path: Path
    stray: tuple[str, ...]
    subsets: tuple[Subset, ...]

    @property
    def pictures(self) -> int:
        """Return how many different pictures are trained on."""
        return sum(len(subset.listing.pictures) for subset in self.subsets if subset.used)

    @property
    def samples(self) -> int:
        """Return how many pictures an epoch shows: each as often as its folder's number says."""
        return sum(len(subset.listing.pictures) * (subset.repeats or 0) for subset in self.subsets if subset.used)


class Captions(NamedTuple):
    """The captions of a data folder for one extension; files are named relative to the data folder."""

    texts: Mapping[str, str]  # file -> its first line
    missing: tuple[str, ...] = ()  # pictures without a caption file
    empty: tuple[str, ...] = ()
    not_utf8: tuple[str, ...] = ()
    more_lines: tuple[str, ...] = ()
    other_suffixes: tuple[tuple[str, int], ...] = ()  # caption-like files with another suffix, most first


class Disk:
    """A lazy view; every method answers from memory the second time. Nothing is raised for what is not there."""

    def __init__(self, folder: Path, _known: dict[tuple[str, ...], object] | None = None) -> None:
        self.folder = folder
        self._known: dict[tuple[str, ...], object] = {} if _known is None else _known

    def moved_to(self, folder: Path) -> "Disk":
        """Return a view whose relative paths start from another folder; it shares what is known already."""
        return Disk(folder, self._known)

    def resolve(self, text: str) -> Path:
        """Return the path that a config's text means."""
        return resolve_path(text, self.folder)

    def is_file(self, path: Path) -> bool:
        """Say whether there is a file."""
        return self._kind(path) == "file"

    def is_folder(self, path: Path) -> bool:
        """Say whether there is a folder."""
        return self._kind(path) == "folder"

    def exists(self, path: Path) -> bool:
        """Say whether there is anything of that name."""
        return self._kind(path) != "nothing"

    def listing(self, path: Path) -> Listing:
        """Return the names in a folder; none if it can't be read."""
        key = ("listing", str(path))
        known = self._known.get(key)
        if not isinstance(known, Listing):
            known = self._known[key] = _listing(path)
        return known

    def data_folder(self, path: Path) -> DataFolder:
        """Return what a folder of `N_name` folders holds."""
        key = ("data", str(path))
        known = self._known.get(key)
        if not isinstance(known, DataFolder):
            known = self._known[key] = self._data_folder(path)
        return known

    def captions(self, path: Path, extension: str) -> Captions:
        """Return the captions of a data folder's pictures; extension with or without its dot."""
        suffix = extension if extension.startswith(".") else f".{extension}"
        key = ("captions", str(path), suffix)
        known = self._known.get(key)
        if not isinstance(known, Captions):
            known = self._known[key] = _captions(self.data_folder(path), suffix)
        return known

    def model(self, path: Path) -> "ModelHeader | None":
        """Return what a model file or folder is, None if it is none that can be read."""
        from lora_lab.document.model_header import ModelHeader, read_model_header  # noqa: PLC0415  # only if asked

        key = ("model", str(path))
        if key not in self._known:
            self._known[key] = read_model_header(path)
        known = self._known[key]
        return known if isinstance(known, ModelHeader) else None

    def text(self, path: Path, most: int = 65_536) -> str | None:
        """Return the start of a small text file, None if it can't be read."""
        key = ("text", str(path))
        if key not in self._known:
            data = _start(path, most)
            self._known[key] = None if data is None else data.decode("utf-8", "replace")
        known = self._known[key]
        return known if isinstance(known, str) else None

    def _kind(self, path: Path) -> str:
        """Return "file", "folder" or "nothing"."""
        key = ("kind", str(path))
        known = self._known.get(key)
        if not isinstance(known, str):
            known = self._known[key] = _kind(path)
        return known

    def _data_folder(self, path: Path) -> DataFolder:
        """Look at a data folder and its sub-folders, not deeper."""
        top = self.listing(path)
        subsets = tuple(Subset(name, path / name, _repeats(name), self.listing(path / name)) for name in top.folders)
        return DataFolder(path, top.pictures, subsets)


def _kind(path: Path) -> str:
    """Return what stands at a path, without raising."""
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.exists() else "nothing"
    except (OSError, ValueError):
        return "nothing"


def _listing(path: Path) -> Listing:
    """Read the names of a folder."""
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if len(files) + len(folders) >= MOST_ENTRIES:
                    break
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except (OSError, ValueError):
        return Listing()
    return Listing(tuple(sorted(files)), tuple(sorted(folders)))


def _suffix(name: str) -> str:
    """Return a file name's suffix in small letters, with its dot."""
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


def _repeats(name: str) -> int | None:
    """Return the number that a folder's name starts with: `10_cat` and `10` are 10, `cat` and `10 cat` are None."""
    number = name.split("_", 1)[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None


def _start(path: Path, most: int) -> bytes | None:
    """Return the first bytes of a file, None if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except (OSError, ValueError):
        return None


def _captions(data: DataFolder, suffix: str) -> Captions:
    """Open the caption files of a data folder."""
    texts: dict[str, str] = {}
    missing: list[str] = []
    bad: dict[str, list[str]] = {"empty": [], "not_utf8": [], "more_lines": []}
    others: Counter[str] = Counter()
    for subset in data.subsets:
        if not subset.used:
            continue
        files = set(subset.listing.files)
        for picture in subset.listing.pictures:
            stem = _caption_stem(picture.rpartition(".")[0], suffix, files)
            others.update(other for other in CAPTION_SUFFIXES if other != suffix and stem + other in files)
            if stem + suffix not in files:
                missing.append(f"{subset.name}/{picture}")
            elif len(texts) < MOST_CAPTIONS:
                _read_caption(subset, stem + suffix, texts, bad)
    return Captions(
        texts,
        tuple(missing),
        tuple(bad["empty"]),
        tuple(bad["not_utf8"]),
        tuple(bad["more_lines"]),
        tuple(others.most_common()),
    )


def _caption_stem(stem: str, suffix: str, files: set[str]) -> str:
    """Return the name that a picture's caption has: `a_1_2_3_4.png` may share `a.txt`, as older tools have it."""
    shared = stem.rsplit("_", 4)[0] if stem.count("_") >= 4 else stem
    return shared if stem + suffix not in files and shared + suffix in files else stem


def _read_caption(subset: Subset, name: str, texts: dict[str, str], bad: dict[str, list[str]]) -> None:
    """Put one caption's first line into `texts` and its name into the lists that it belongs to."""
    data = _start(subset.path / name, CAPTION_BYTES)
    if data is None:
        return
    shown = f"{subset.name}/{name}"
    try:
        # a caption cut in the middle of a letter is no encoding error
        text = data.decode("utf-8-sig") if len(data) < CAPTION_BYTES else data.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        bad["not_utf8"].append(shown)
        texts[shown] = ""
        return
    lines = text.splitlines()
    texts[shown] = lines[0].strip() if lines else ""
    if not text.strip():
        bad["empty"].append(shown)
    elif any(line.strip() for line in lines[1:]):
        bad["more_lines"].append(shown)
