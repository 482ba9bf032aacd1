"""What a folder of training pictures holds, by the names of its files alone."""

from pathlib import Path
from typing import NamedTuple

SUFFIXES_OF = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WebP": (".webp",), "BMP": (".bmp",)}
"""The suffixes of the formats that training reads."""

PICTURE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)


class Listing(NamedTuple):
    """The names in one folder, sorted; hidden ones are left out."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def pictures(self) -> tuple[str, ...]:
        """Return the names of the pictures."""
        return tuple(name for name in self.files if suffix_of(name) in PICTURE_SUFFIXES)


class Subset(NamedTuple):
    """A folder whose pictures are used `repeats` times an epoch; None where its name starts with no number."""

    name: str
    path: Path
    repeats: int | None
    listing: Listing

    @property
    def used(self) -> bool:
        """Say whether training reads it."""
        return self.repeats is not None and self.repeats > 0


class DataFolder(NamedTuple):
    """A folder of training pictures: the pictures right inside, which are not used, and its sub-folders.

    Where a file `named` each folder of pictures by itself, those are the sub-folders, and nothing is in between.
    """

    path: Path
    stray: tuple[str, ...]
    subsets: tuple[Subset, ...]
    named: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """Return what tells two data folders apart."""
        return (str(self.path), *(f"{subset.repeats} {subset.path}" for subset in self.subsets if self.named))

    @property
    def used(self) -> tuple[Subset, ...]:
        """Return the sub-folders that training reads."""
        return tuple(subset for subset in self.subsets if subset.used)

    @property
    def pictures(self) -> int:
        """Return how many different pictures are trained on."""
        return sum(len(subset.listing.pictures) for subset in self.used)

    @property
    def samples(self) -> int:
        """Return how many pictures an epoch shows: each as often as its folder's number says."""
        return sum(len(subset.listing.pictures) * (subset.repeats or 0) for subset in self.used)


def suffix_of(name: str) -> str:
    """Return a file name's suffix in small letters, with its dot."""
    return f".{name.rpartition('.')[2].lower()}" if "." in name else ""


def repeats_of(name: str) -> int | None:
    """Return the number that a folder's name starts with: `10_cat` and `10` are 10, `cat` and `10 cat` are None."""
    number = name.split("_", 1)[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None
