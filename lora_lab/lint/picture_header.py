"""What the header of a picture file says: its real format, its size as a person sees it, and whether it is whole.

No pixel is decoded. The libraries for this were weighed: imagesize 2.0 reads the EXIF orientation of JPEG only, where
the trainer turns PNG and WebP too, tells neither a cut-off file nor an animated one, and its import (urllib.request)
costs a quarter of a whole lint. Sources: PNG, W3C 3rd edition; JPEG, ITU-T T.81 annex B; WebP, RFC 9649; EXIF 2.32.
"""

import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lora_lab.plain_files import NO_FILE, open_file

_OTHERS = (
    *((b"GIF8", "GIF"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"8BPS", "PSD"), (b"\0\0\0\x0cjP", "JPEG 2000")),
    *((b"DDS ", "DDS"), (b"qoif", "QOI"), (b"\0\0\1\0", "ICO"), (b"P5", "PNM"), (b"P6", "PNM")),
)
"""What Pillow reads too; such files seldom have a suffix of pictures, and their size is not looked for."""

_NO_PICTURES = (
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
    (b"{", "a JSON file"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the picture itself"),
    (b"%pdf", "a PDF file"),
    (b"pk\x03\x04", "a ZIP archive"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"hevx", b"mif1", b"msf1")
_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_NO_SIZE = frozenset({0xC4, 0xC8, 0xCC})  # JPEG markers between 0xC0 and 0xCF that start no frame
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length
_MOST_SEGMENTS = 1_000
_MOST_EXIF = 65_536
_TAIL = 4_096
_EXIF = b"Exif\0\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class PictureHeader(NamedTuple):
    """A picture file. `kind` is its real format, "" if unknown; width and height are 0 where they were not read.

    `problem` says why the trainer can't read it ("" if nothing is known against it); `cut_off` that its end is missing.
    """

    kind: str = ""
    width: int = 0
    height: int = 0
    animated: bool = False
    cut_off: bool = False
    problem: str = ""

    @property
    def sized(self) -> bool:
        """Say whether the size is known."""
        return self.width > 0 and self.height > 0


class _Found(NamedTuple):
    width: int
    height: int
    orientation: int = 1
    animated: bool = False
    cut_off: bool = False


def read_picture_header(path: Path) -> PictureHeader | None:
    """Return what a picture's header says; None if the file can't be opened."""
    try:
        with open_file(path) as file:
            return _header(file)
    except (OSError, ValueError) as error:
        if getattr(error, "strerror", "") == NO_FILE:
            return PictureHeader(problem=NO_FILE)
        return PictureHeader(problem="it is a link that leads nowhere") if path.is_symlink() else None


def _header(file: BinaryIO) -> PictureHeader:
    head = file.read(64)
    kind = _kind(head)
    if kind not in _READERS:
        return PictureHeader(kind, problem="" if kind else _no_picture(head))
    try:
        found = _READERS[kind](file, head)
    except (IndexError, ValueError):
        return PictureHeader(kind, problem=f"its {kind} header is broken")
    if found.width < 1 or found.height < 1:
        return PictureHeader(kind, problem=f"its {kind} header is broken")
    size = (found.width, found.height)
    width, height = reversed(size) if found.orientation in _SIDEWAYS else size
    return PictureHeader(kind, width, height, found.animated, found.cut_off)


def _kind(head: bytes) -> str:
    """Return the format that a file's first bytes show, "" for none that the trainer reads."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(b"BM"):
        return "BMP"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return next((kind for start, kind in _OTHERS if head.startswith(start)), "")


def _no_picture(head: bytes) -> str:
    """Return what a file is that is no picture of a known format."""
    if not head:
        return "it is empty"
    if not head.strip(b"\0"):
        return "it begins with zeros, as after a broken copy"
    if head[4:8] == b"ftyp":
        return "it is a HEIC picture" if head[8:12] in _HEIF_BRANDS else "it is a video"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((f"it is {what}" for mark, what in _NO_PICTURES if start.startswith(mark)), "its format is unknown")


def _number(data: bytes, at: int, size: int, order: str = "big") -> int:
    """Return the whole number in some bytes; IndexError where they are missing."""
    if at < 0 or at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "little" if order == "little" else "big")


def _png(file: BinaryIO, head: bytes) -> _Found:
    """Read a PNG: IHDR is first, acTL (animated) and eXIf stand before the pixels or, eXIf alone, after them."""
    if head[12:16] != b"IHDR":
        raise ValueError
    end = file.seek(0, 2)
    at, animated, orientation = 8, False, 1
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        chunk = file.read(8)
        kind, length = chunk[4:], int.from_bytes(chunk[:4], "big")
        if len(chunk) < 8 or kind == b"IDAT":
            break
        animated |= kind == b"acTL"
        if kind in (b"eXIf", b"iTXt"):
            orientation = _orientation(file.read(min(length, _MOST_EXIF))) or orientation
        at += 12 + length
    file.seek(max(at, end - _TAIL))
    tail = file.read(_TAIL)
    if (mark := tail.rfind(b"eXIf")) >= 0:
        orientation = _orientation(tail[mark + 4 :]) or orientation
    cut_off = b"IEND" not in tail and not _png_ends(file, at, end)
    return _Found(_number(head, 16, 4), _number(head, 20, 4), orientation, animated, cut_off)


def _png_ends(file: BinaryIO, at: int, end: int) -> bool:
    """Say whether the chunks from an offset are whole; the pixels are there if another chunk begins behind them."""
    pixels = False
    while at + 8 <= end:
        file.seek(at)
        chunk = file.read(8)
        if chunk[4:] != b"IDAT" and pixels:
            return True
        pixels |= chunk[4:] == b"IDAT"
        at += 12 + int.from_bytes(chunk[:4], "big")
    return pixels and at <= end + 4  # a missing checksum alone does no harm


def _jpeg(file: BinaryIO, head: bytes) -> _Found:
    """Read a JPEG: the segments up to the pixels, and whether the end marker comes."""
    at, orientation, size = 2, 1, (0, 0)
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        mark = file.read(4)
        if len(mark) < 4 or mark[0] != 0xFF or mark[1] == 0xDA:
            break
        if mark[1] == 0xFF or mark[1] in _BARE:
            at += 1 if mark[1] == 0xFF else 2
            continue
        length = int.from_bytes(mark[2:], "big")
        if mark[1] == 0xE1:
            orientation = _orientation(file.read(length - 2)) or orientation
        elif 0xC0 <= mark[1] <= 0xCF and mark[1] not in _NO_SIZE:
            frame = file.read(5)
            size = (_number(frame, 3, 2), _number(frame, 1, 2))
        at += 2 + length
    end = file.seek(0, 2)
    return _Found(*size, orientation, cut_off=not any(_ends_jpeg(file, end - part) for part in (2, _TAIL, 16 * _TAIL)))


def _ends_jpeg(file: BinaryIO, at: int) -> bool:
    """Say whether the end marker comes after an offset; other data may follow it."""
    file.seek(max(0, at))
    return b"\xff\xd9" in file.read()


def _webp(file: BinaryIO, head: bytes) -> _Found:
    """Read a WebP: lossy (VP8), lossless (VP8L) or extended (VP8X), whose flags tell animation and EXIF."""
    end = file.seek(0, 2)
    length = _number(head, 4, 4, "little") + 8
    animated, orientation = False, 1
    if head[12:16] == b"VP8X":
        animated = bool(head[20] & 0x02)
        size = (_number(head, 24, 3, "little") + 1, _number(head, 27, 3, "little") + 1)
        if head[20] & 0x0C:  # EXIF or XMP, which stand behind the pixels
            orientation = _webp_orientation(file, end)
    elif head[12:16] == b"VP8L":
        bits = _number(head, 21, 4, "little")
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif head[12:16] == b"VP8 ":
        size = (_number(head, 26, 2, "little") & 0x3FFF, _number(head, 28, 2, "little") & 0x3FFF)
    else:
        raise ValueError
    return _Found(*size, orientation, animated, cut_off=end < length)


def _webp_orientation(file: BinaryIO, end: int) -> int:
    """Return the orientation that a WebP's chunks tell; 1 for none."""
    at, found = 12, 1
    for _ in range(_MOST_SEGMENTS):
        file.seek(at)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] in (b"EXIF", b"XMP "):
            found = _orientation(file.read(min(length, _MOST_EXIF))) or found
        at += 8 + length + length % 2
    return found


def _bmp(file: BinaryIO, head: bytes) -> _Found:
    """Read a BMP: the old header has 12 bytes with short sides; a negative height means top row first."""
    end = file.seek(0, 2)
    cut_off = end < _number(head, 10, 4, "little") + 1
    if _number(head, 14, 4, "little") == 12:
        return _Found(_number(head, 18, 2, "little"), _number(head, 20, 2, "little"), cut_off=cut_off)
    width, height = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (18, 22))
    bits, packed = _number(head, 28, 2, "little"), _number(head, 30, 4, "little")
    if packed == 0:  # rows are padded to four bytes
        cut_off = end < _number(head, 10, 4, "little") + (width * bits + 31) // 32 * 4 * abs(height)
    return _Found(width, abs(height), cut_off=cut_off)


def _orientation(data: bytes) -> int:
    """Return the orientation in EXIF (with or without its mark) or XMP data; 0 for none."""
    if (match := _XMP_ORIENTATION.search(data)) is not None:
        return int(match[1])
    data = data.removeprefix(_EXIF)
    order = {b"II": "little", b"MM": "big"}.get(data[:2])
    if order is None:
        return 0
    try:
        at = _number(data, 4, 4, order)
        for entry in range(at + 2, at + 2 + 12 * _number(data, at, 2, order), 12):
            if _number(data, entry, 2, order) == 0x0112:
                return _number(data, entry + 8, 2, order)
    except IndexError:
        pass
    return 0


_READERS = {"PNG": _png, "JPEG": _jpeg, "WebP": _webp, "BMP": _bmp}
