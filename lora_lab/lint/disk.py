"""What the rules may know about the file system: read when first asked for, kept, and shared by all runs of a sweep."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from lora_lab.config import resolve_path
from lora_lab.lint.caption_survey import Captions, survey
from lora_lab.lint.data_folder import DataFolder, Listing, Subset, repeats_of
from lora_lab.plain_files import open_file

if TYPE_CHECKING:
    from lora_lab.document.model_header import ModelHeader
    from lora_lab.lint.picture_header import PictureHeader

MOST_ENTRIES = 50_000
"""Entries of one folder that are looked at; more pictures than that train nobody's LoRA."""

MOST_PICTURES = 10_000
"""Pictures of one folder that are opened."""

Kept = TypeVar("Kept")


class Disk:
    """A lazy view; every method answers from memory the second time. Nothing is raised for what is not there."""

    def __init__(self, folder: Path, _known: dict[tuple[object, ...], object] | None = None) -> None:
        self.folder = folder
        self._known: dict[tuple[object, ...], object] = {} if _known is None else _known

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
        return self.kept(("listing", str(path)), lambda: _listing(path))

    def data_folder(self, path: Path) -> DataFolder:
        """Return what a folder of `N_name` folders holds."""
        return self.kept(("data", str(path)), lambda: self._data_folder(path))

    def named_folders(self, folders: Sequence[tuple[Path, int]]) -> DataFolder:
        """Return the data folder of folders of pictures that a file names one by one, with their repeats."""
        subsets = (Subset(path.name or str(path), path, repeats, self.listing(path)) for path, repeats in folders)
        return DataFolder(folders[0][0].parent, (), tuple(subsets), named=True)

    def captions(self, data: DataFolder, extension: str) -> Captions:
        """Return the captions of a data folder's pictures; extension with or without its dot."""
        suffix = extension if extension.startswith(".") else f".{extension}"
        return self.kept(("captions", suffix, *data.key), lambda: survey(data, suffix, start_of))

    def headers(self, subset: Subset) -> "Mapping[str, PictureHeader]":
        """Return the headers of a folder's pictures by name; without those that can't be opened."""

        def read() -> "Mapping[str, PictureHeader]":
            from lora_lab.lint.picture_header import read_picture_header  # noqa: PLC0415 -- only if there are pictures

            pictures = subset.listing.pictures[:MOST_PICTURES]
            read = ((name, read_picture_header(subset.path / name)) for name in pictures)
            return {name: header for name, header in read if header is not None}

        return self.kept(("headers", str(subset.path)), read)

    def kept(self, key: tuple[object, ...], make: Callable[[], Kept]) -> Kept:
        """Return what was made for a key before, else make it; a key stands for one type."""
        if key not in self._known:
            self._known[key] = make()
        return cast(Kept, self._known[key])

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
            data = start_of(path, most)
            self._known[key] = None if data is None else data.decode("utf-8", "replace")
        known = self._known[key]
        return known if isinstance(known, str) else None

    def _kind(self, path: Path) -> str:
        """Return "file", "folder" or "nothing"."""
        return self.kept(("kind", str(path)), lambda: _kind(path))

    def _data_folder(self, path: Path) -> DataFolder:
        """Look at a data folder and its sub-folders, not deeper."""
        top = self.listing(path)
        subsets = tuple(Subset(name, path / name, repeats_of(name), self.listing(path / name)) for name in top.folders)
        return DataFolder(path, top.pictures, subsets)


def _kind(path: Path) -> str:
    """Return what stands at a path, without raising; a pipe or a device is nothing that can be read."""
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.is_file() else "nothing"
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
                    (folders if _leads_to_folder(entry) else files).append(entry.name)
    except (OSError, ValueError):
        return Listing()
    return Listing(tuple(sorted(files)), tuple(sorted(folders)))


def _leads_to_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def start_of(path: Path, most: int) -> bytes | None:
    """Return the first bytes of a file, None if it can't be read."""
    try:
        with open_file(path) as file:
            return file.read(most)
    except (OSError, ValueError):
        return None
