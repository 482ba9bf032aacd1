"""From a picture file to pixels: decode, turn upright, resize, crop, scale to [-1, 1]."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lora_lab.config.buckets import Placement, Size
from lora_lab.failure import Failure
from lora_lab.plain_files import open_file, read_file

_KNOWN = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PSD", "DDS", "QOI", "ICO", "PPM")
Image.init()
FORMATS = tuple(name for name in _KNOWN if name in Image.OPEN)  # not every Pillow is built with AVIF
"""What is decoded, whatever a file is called. Pillow knows some thirty more; for one of them (EPS) it runs programs."""

_MOST = 65_535
_TOO_FINE = "its pixels have more than 16 bits"

BROKEN = (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError)


def load(path: Path) -> Image.Image:
    """The picture in RGB, EXIF orientation applied. Transparency is dropped: the colours below it are used.

    Raises Failure, naming the file, if it has vanished or is broken.
    """
    with _opened(path) as image:
        return _rgb(image)


def load_alpha(path: Path) -> Image.Image | None:
    """The picture's transparency as greys, 255 opaque, EXIF orientation applied; None where it has none.

    Raises Failure, naming the file, if it has vanished or is broken.
    """
    with _opened(path) as image:
        return _alpha(image) if image.has_transparency_data else None


def load_unchanged(path: Path, digest: str) -> Image.Image:
    """As `load`, of a file whose bytes have that SHA-256: what a run says that it learned must be what it learned.

    Raises Failure also where the file has been rewritten since.
    """
    with _reading(path):
        content = read_file(path)
    if hashlib.sha256(content).hexdigest() != digest:
        remedy = "let pictures alone while a run uses them; the same command starts anew with what is there now"
        raise Failure(f"{path} has changed since the run read it", remedy)
    with _decoded(path, io.BytesIO(content)) as image:
        return _rgb(image)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with _reading(path), open_file(path) as file, _decoded(path, file) as image:
        yield image


@contextmanager
def _decoded(path: Path, file: BinaryIO) -> Iterator[Image.Image]:
    with _reading(path), Image.open(file, formats=FORMATS) as image:
        yield ImageOps.exif_transpose(image)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Failure(f"{path} has vanished", "put the picture back or start the run again without it") from None
    except BROKEN as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise Failure(f"{path} cannot be decoded ({reason})", "remove it or convert it") from None


def check(paths: Iterable[Path]) -> None:
    """Decode every picture once, several at a time.

    Raises Failure, naming the first that cannot be decoded: a file that ends in the middle has a sound header.
    """

    def decoded(path: Path) -> None:
        load(path)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(decoded, paths):
            pass


def resize(image: Image.Image, size: Size) -> Image.Image:
    """`image` at `size`: box filter (area average) when shrinking, Lanczos when enlarging."""
    if image.size == size:
        return image
    shrinking = size[0] <= image.width and size[1] <= image.height
    return image.resize(size, Image.Resampling.BOX if shrinking else Image.Resampling.LANCZOS)


def place(image: Image.Image, placement: Placement) -> Image.Image:
    """`image` resized and cropped into its bucket."""
    left, top = placement.crop
    width, height = placement.bucket
    return resize(image, placement.resized).crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as float32 (3, h, w) in [-1, 1]."""
    values = numpy.asarray(image, dtype=numpy.float32) / 127.5 - 1.0
    return torch.from_numpy(numpy.ascontiguousarray(values.transpose(2, 0, 1)))


def to_shares(image: Image.Image) -> Tensor:
    """A picture in greys as float32 (h, w) in [0, 1]."""
    return torch.from_numpy(numpy.asarray(image, dtype=numpy.float32) / 255)


def _alpha(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")  # of pictures with 16 bits Pillow has it so, too, and the pixels in 8
    if image.mode.startswith("I"):
        return Image.fromarray(numpy.where(numpy.asarray(image) == clear, 0, 255).astype(numpy.uint8))
    if isinstance(clear, tuple) and max(clear) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    return image.convert("RGBA").getchannel("A")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow would clip them to 255
        grey = numpy.asarray(image).astype(numpy.int64)
        if grey.max() > _MOST or grey.min() < 0:
            raise ValueError(_TOO_FINE)
        return Image.fromarray((grey >> 8).astype(numpy.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError(_TOO_FINE)
    if image.mode in ("P", "PA", "LA"):
        image = image.convert("RGBA")
    return image.convert("RGB")
