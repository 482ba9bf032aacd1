"""The captions of a data folder: which are there, which are missing, which can't be read."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lora_lab.lint.data_folder import DataFolder, Subset

CAPTION_SUFFIXES = (".txt", ".caption", ".tags", ".cap")
"""Suffixes that captions are seen with; which one counts is `caption_extension`."""

MOST_CAPTIONS = 2_000
"""Caption files of one data folder that are opened."""

CAPTION_BYTES = 4_096
"""Bytes read of a caption; the longest that a text encoder takes is some 1,200."""

Start = Callable[[Path, int], bytes | None]
"""Reads the first bytes of a file; None if it can't be read."""


class Captions(NamedTuple):
    """The captions of a data folder for one extension; files are named relative to the data folder."""

    texts: Mapping[str, str] = {}  # file -> its first line
    missing: tuple[str, ...] = ()  # pictures without a caption file
    empty: tuple[str, ...] = ()
    not_utf8: tuple[tuple[str, str], ...] = ()  # file, what it probably is
    more_lines: tuple[str, ...] = ()
    other_suffixes: tuple[tuple[str, int], ...] = ()  # caption-like files with another suffix, most first
    lost: tuple[str, ...] = ()  # captions beside a picture's whole name: a.png.txt


class _Bad(NamedTuple):
    empty: list[str]
    not_utf8: list[tuple[str, str]]
    more_lines: list[str]


def survey(data: DataFolder, suffix: str, start: Start) -> Captions:
    """Open the caption files of a data folder; `suffix` has its dot."""
    texts: dict[str, str] = {}
    missing: list[str] = []
    lost: list[str] = []
    bad = _Bad([], [], [])
    others: Counter[str] = Counter()
    for subset in data.used:
        files = set(subset.listing.files)
        for picture in subset.listing.pictures:
            stem = _caption_stem(picture.rpartition(".")[0], suffix, files)
            others.update(other for other in CAPTION_SUFFIXES if other != suffix and stem + other in files)
            if stem + suffix not in files:
                missing.append(f"{subset.name}/{picture}")
                lost += [f"{subset.name}/{picture}{suffix}"] if picture + suffix in files else []
            elif len(texts) < MOST_CAPTIONS:
                _read(subset, stem + suffix, (texts, bad), start)
    return Captions(
        texts,
        tuple(missing),
        tuple(bad.empty),
        tuple(bad.not_utf8),
        tuple(bad.more_lines),
        tuple(others.most_common()),
        tuple(lost),
    )


def _caption_stem(stem: str, suffix: str, files: set[str]) -> str:
    """Return the name that a picture's caption has: `a_1_2_3_4.png` may share `a.txt`, as older tools have it."""
    shared = stem.rsplit("_", 4)[0] if stem.count("_") >= 4 else stem
    return shared if stem + suffix not in files and shared + suffix in files else stem


def _read(subset: Subset, name: str, into: tuple[dict[str, str], _Bad], start: Start) -> None:
    """Put one caption's first line into the texts and its name into the lists that it belongs to."""
    texts, bad = into
    shown = f"{subset.name}/{name}"
    if shown in texts:  # a.png and a.jpg share it
        return
    data = start(subset.path / name, CAPTION_BYTES)
    if data is None:
        return
    try:
        # a caption cut in the middle of a letter is no encoding error
        text = data.decode("utf-8-sig") if len(data) < CAPTION_BYTES else data.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        bad.not_utf8.append((shown, _encoding(data)))
        texts[shown] = ""
        return
    lines = text.splitlines()
    texts[shown] = lines[0].strip() if lines else ""
    if not text.strip():
        bad.empty.append(shown)
    elif any(line.strip() for line in lines[1:]):
        bad.more_lines.append(shown)


def _encoding(data: bytes) -> str:
    """Return what a text that is not UTF-8 probably is, in words that fit after "it looks like"."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16, which Windows calls Unicode"
    quotes = data.translate(None, bytes(range(0x80))).strip(b"\x91\x92\x93\x94\x96\x97\x85")
    if not quotes:
        return "Windows-1252 with typographic quotes or dashes"
    return "an older encoding, such as Windows-1252, Windows-1251 or GBK"
