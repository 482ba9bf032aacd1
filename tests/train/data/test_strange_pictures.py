"""Strange but honest pictures the whole way: what lint says of them, and the pixels that the trainer learns.

The PNG files are put together here from chunks, so that what they show is known from the format's standard and not from
the library that decodes them.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy
import pytest
from PIL import Image

from lora_lab.config import check
from lora_lab.config.buckets import bucket_options
from lora_lab.failure import Failure
from lora_lab.lint import Disk, lint_values
from lora_lab.lint.dataset import DATA_KEYS
from lora_lab.lint.picture_header import read_picture_header
from lora_lab.train.data import folder, pixels
from lora_lab.train.data.epochs import arrange

Colour = tuple[int, int, int]
RED, BLUE, GREEN, WHITE = (255, 0, 0), (0, 0, 255), (0, 128, 0), (255, 255, 255)
BLACK, PINK = (0, 0, 0), (200, 100, 150)
SIDE = 64
"""Each pixel that a test thinks of is a square of so many: no lint finding about small pictures, and real buckets."""

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""PNG's kinds of pixels."""


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, kind: int, rows: Sequence[Sequence[int]], *more: bytes, after: bytes = b"") -> bytes:
    """Return a PNG of squares; `rows` has the samples of each square as one number of `depth` bits × channels."""
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}[kind]
    bits = depth * channels
    width, height = len(rows[0]) * SIDE, len(rows) * SIDE
    raw = b""
    for row in rows:
        line = 0
        for value in (value for value in row for _ in range(SIDE)):
            line = line << bits | value
        raw += (b"\0" + line.to_bytes(width * bits // 8, "big")) * SIDE
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    pixels_of = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + pixels_of + after + chunk(b"IEND", b"")


def palette(*colours: Colour, alphas: Iterable[int] = ()) -> bytes:
    """Return the chunks with a palette and how opaque its first colours are."""
    clear = bytes(alphas)
    return chunk(b"PLTE", bytes(value for colour in colours for value in colour)) + (
        chunk(b"tRNS", clear) if clear else b""
    )


def drawn(form: str, mode: str, *frames: object, **options: object) -> bytes:
    """Return a picture of one colour as Pillow writes it, animated where there are several."""
    pictures = [Image.new(mode, (SIDE, SIDE), colour) for colour in frames]  # type: ignore[arg-type]
    for picture in pictures if mode == "P" else ():
        picture.putpalette([*BLACK, *WHITE])  # Pillow 12.2 writes a BMP without one that it cannot read itself
    file = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:]} if len(pictures) > 1 else {}
    pictures[0].save(file, form, **more, **options)
    return file.getvalue()


def apng() -> bytes:
    """Return an animated PNG of two frames, red and blue, as https://www.w3.org/TR/png-3/ has it."""
    still = png(8, RGB, [[0x0000FF]])  # its pixels are the second frame's
    blue = zlib.compress((b"\0" + bytes(BLUE) * SIDE) * SIDE)
    assert blue in still

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, SIDE, SIDE, 0, 0, 1, 10, 0, 0))

    start = chunk(b"acTL", struct.pack(">II", 2, 0)) + control(0)
    return png(8, RGB, [[0xFF0000]], start, after=control(1) + chunk(b"fdAT", struct.pack(">I", 2) + blue))


STRANGE: dict[str, tuple[bytes, list[Colour]]] = {
    "grey of 1 bit.png": (png(1, GREY, [[1, 0]]), [WHITE, BLACK]),
    "grey of 2 bits.png": (png(2, GREY, [[0, 1, 2, 3]]), [(value,) * 3 for value in (0, 85, 170, 255)]),
    "grey of 4 bits.png": (png(4, GREY, [[1, 15]]), [(17, 17, 17), WHITE]),
    "grey of 16 bits.png": (
        png(16, GREY, [[0, 257 * 18, 257 * 128, 257 * 200, 65535]]),
        [(value,) * 3 for value in (0, 18, 128, 200, 255)],
    ),
    "dark grey of 16 bits.png": (png(16, GREY, [[257 * 2, 257 * 3]]), [(2, 2, 2), (3, 3, 3)]),
    "colours of 16 bits.png": (png(16, RGB, [[200 * 257 << 32 | 100 * 257 << 16 | 150 * 257]]), [PINK]),
    "grey and alpha.png": (png(8, GREY_ALPHA, [[0x10_FF, 0x90_00]]), [(16, 16, 16), (144, 144, 144)]),
    "grey and alpha of 16 bits.png": (png(16, GREY_ALPHA, [[200 * 257 << 16 | 9]]), [(200, 200, 200)]),
    "colours below nothing.png": (png(8, RGBA, [[0xC8649600, 0xFF0000FF]]), [PINK, RED]),
    "palette of 1 bit.png": (png(1, PALETTE, [[0, 1]], palette(PINK, GREEN)), [PINK, GREEN]),
    "palette of 4 bits.png": (png(4, PALETTE, [[2, 0]], palette(PINK, GREEN, BLUE)), [BLUE, PINK]),
    "clear palette.png": (png(8, PALETTE, [[0, 1]], palette(PINK, RED, alphas=[0, 128])), [PINK, RED]),
    "one colour clear.png": (
        png(8, RGB, [[0xC86496, 1]], chunk(b"tRNS", struct.pack(">3H", *PINK))),
        [PINK, (0, 0, 1)],
    ),
    "one grey of 16 bits clear.png": (
        png(16, GREY, [[257 * 18, 65535]], chunk(b"tRNS", struct.pack(">H", 257 * 18))),
        [(18, 18, 18), WHITE],
    ),
    "cyan ink.jpg": (drawn("JPEG", "CMYK", (255, 0, 0, 0), quality=100), [(0, 255, 255)]),
    "no ink.jpg": (drawn("JPEG", "CMYK", (0, 0, 0, 0), quality=100), [WHITE]),
    "black ink.jpg": (drawn("JPEG", "CMYK", (0, 0, 0, 255), quality=100), [BLACK]),
    "grey.jpg": (drawn("JPEG", "L", 200, quality=100), [(200, 200, 200)]),
    "palette.bmp": (drawn("BMP", "P", 0), [BLACK]),
    "moving.png": (apng(), [RED]),
    "moving.webp": (drawn("WEBP", "RGB", RED, BLUE, lossless=True), [RED]),
    "a moving GIF.png": (drawn("GIF", "RGB", RED, BLUE), [RED]),
    "a GIF.jpg": (drawn("GIF", "P", 0), [BLACK]),
}
"""What lies in a file, and the colours that a person sees from left to right; transparent ones as they are stored."""

TOLD = {
    **{key: {"LL144": "warning"} for key in ("moving.png", "moving.webp")},
    **{key: {"LL143": "info"} for key in ("a moving GIF.png", "a GIF.jpg")},
}
"""What lint says of them: the first frame alone is learned; a suffix is not the format's."""


def laid_out(root: Path, name: str, data: bytes) -> Path:
    """Write a data set of one picture; return the picture's path."""
    path = root / "pics" / "5_a" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    path.with_suffix(".txt").write_text("a cat")
    return path


def said(root: Path) -> dict[str, str]:
    """Return what lint says of the pictures' files: severities by code."""
    values = {"base_model": "b", "img_folder": "pics", "output_folder": "o"}
    found = lint_values(values, root, Disk(root)).findings
    return {one.code: one.severity for one in found if one.code.startswith("LL14") and set(one.keys) & set(DATA_KEYS)}


@pytest.mark.parametrize("name", STRANGE)
def test_lint_and_trainer_read_it(name: str, tmp_path: Path) -> None:
    """Lint finds no error and the trainer learns, at the size that both see, the very colours that are in the file."""
    data, colours = STRANGE[name]
    path = laid_out(tmp_path, name, data)
    assert said(tmp_path) == TOLD.get(name, {})

    (picture,) = folder.pictures_of(folder.scan(tmp_path / "pics"))
    header = read_picture_header(path)
    assert header is not None
    image = pixels.load_unchanged(path, picture.digest)
    assert (picture.width, picture.height) == image.size == (SIDE * len(colours), SIDE)
    assert not header.sized or (header.width, header.height) == image.size
    near = 1 if path.suffix == ".jpg" else 0
    for number, colour in enumerate(colours):
        middle = image.getpixel((number * SIDE + SIDE // 2, SIDE // 2))
        assert numpy.abs(numpy.subtract(middle, colour)).max() <= near, (number, middle)  # type: ignore[arg-type]
    assert pixels.load(path).tobytes() == image.tobytes()
    pixels.check([path])


@pytest.mark.parametrize("name", [name for name, (_, colours) in STRANGE.items() if len(colours) == 1])
def test_what_the_model_is_given(name: str, tmp_path: Path) -> None:
    """Placed in its bucket a picture of one colour is that colour, from -1 to 1."""
    data, (colour,) = STRANGE[name]
    laid_out(tmp_path, name, data)
    found = folder.pictures_of(folder.scan(tmp_path / "pics"))
    values = {"base_model": "b", "img_folder": "pics", "output_folder": "o", "train_resolution": 128}
    data_set = arrange(found, bucket_options(check({**values, "min_bucket_resolution": 64}).config), 1)
    tensor = pixels.to_tensor(pixels.place(pixels.load(found[0].path), data_set.placements[0]))
    wanted = numpy.array(colour).reshape(3, 1, 1) / 127.5 - 1
    assert numpy.abs(tensor.numpy() - wanted).max() <= 1 / 127


ALPHAS: dict[str, list[int] | None] = {
    "grey and alpha.png": [255, 0],
    "colours below nothing.png": [0, 255],
    "clear palette.png": [0, 128],
    "one colour clear.png": [0, 255],
    "one grey of 16 bits clear.png": [0, 255],
    "grey of 16 bits.png": None,
    "cyan ink.jpg": None,
}


@pytest.mark.parametrize("name", ALPHAS)
def test_transparency(name: str, tmp_path: Path) -> None:
    """What is clear is known for `alpha_mask`, however the file says it."""
    path = laid_out(tmp_path, name, STRANGE[name][0])
    alpha, wanted = pixels.load_alpha(path), ALPHAS[name]
    assert (alpha is None) == (wanted is None)
    if alpha is not None and wanted is not None:
        assert [alpha.getpixel((number * SIDE + 5, 5)) for number in range(len(wanted))] == wanted


def test_one_colour_of_16_bits_clear(tmp_path: Path) -> None:
    """A colour that is clear is given in 16 bits where the picture has so many."""
    clear = chunk(b"tRNS", struct.pack(">3H", *(257 * value for value in PINK)))
    rows = [[sum(257 * value << 16 * place for place, value in enumerate(reversed(PINK))), 1]]
    path = laid_out(tmp_path, "a.png", png(16, RGB, rows, clear))
    alpha = pixels.load_alpha(path)
    assert alpha is not None
    assert [alpha.getpixel((5, 5)), alpha.getpixel((SIDE + 5, 5))] == [0, 255]


SIDES = dict(
    enumerate(
        [
            *(("top", "left"), ("top", "right"), ("bottom", "right"), ("bottom", "left")),
            *(("left", "top"), ("right", "top"), ("right", "bottom"), ("left", "bottom")),
        ],
        1,
    )
)
"""EXIF 2.32, 4.6.4: of each orientation the side where a person sees the 0th row and the 0th column."""


def seen(rows: list[list[Colour]], orientation: int) -> list[list[Colour]]:
    """Return rows of colours as a person sees them."""
    row_side, column_side = SIDES[orientation]
    height, width = len(rows), len(rows[0])
    sideways = row_side in ("left", "right")
    shown = [[BLACK] * (height if sideways else width) for _ in range(width if sideways else height)]
    for row, colours in enumerate(rows):
        for column, colour in enumerate(colours):
            place = {row_side: row, column_side: column}
            y = place["top"] if "top" in place else len(shown) - 1 - place["bottom"]
            x = place["left"] if "left" in place else len(shown[0]) - 1 - place["right"]
            shown[y][x] = colour
    return shown


def exif(orientation: int, order: str) -> bytes:
    """Return EXIF data with nothing but an orientation."""
    mark = {"<": b"II", ">": b"MM"}[order]
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _before(data: bytes, rows: list[list[int]]) -> bytes:
    return png(8, RGB, rows, chunk(b"eXIf", data))


def _after(data: bytes, rows: list[list[int]]) -> bytes:
    return png(8, RGB, rows, after=chunk(b"eXIf", data))


def _webp(data: bytes, rows: list[list[int]]) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png(8, RGB, rows))).save(file, "WEBP", lossless=True, exif=data)
    return file.getvalue()


def _jpeg(data: bytes, rows: list[list[int]]) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png(8, RGB, rows))).save(file, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + data)
    return file.getvalue()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("write", [_before, _after, _webp, _jpeg])
@pytest.mark.parametrize("orientation", SIDES)
def test_upright(
    orientation: int, write: Callable[[bytes, list[list[int]]], bytes], order: str, tmp_path: Path
) -> None:
    """A picture is learned as a person sees it, whichever way the camera was held; lint counts with the same size."""
    rows = [[RED, BLUE, GREEN], [WHITE, PINK, BLACK]]
    numbers = [[int.from_bytes(bytes(colour), "big") for colour in row] for row in rows]
    suffix = {"_webp": "webp", "_jpeg": "jpg"}.get(write.__name__, "png")
    path = laid_out(tmp_path, f"a.{suffix}", write(exif(orientation, order), numbers))
    wanted = seen(rows, orientation)
    size = (SIDE * len(wanted[0]), SIDE * len(wanted))
    (picture,) = folder.pictures_of(folder.scan(tmp_path / "pics"))
    header = read_picture_header(path)
    assert header is not None
    image = pixels.load(path)
    assert image.size == size == (picture.width, picture.height) == (header.width, header.height)
    for y, colours in enumerate(wanted):
        for x, colour in enumerate(colours):
            middle = image.getpixel((x * SIDE + SIDE // 2, y * SIDE + SIDE // 2))
            assert numpy.abs(numpy.subtract(middle, colour)).max() <= (2 if suffix == "jpg" else 0)  # type: ignore[arg-type]


CUT = [name for name in STRANGE if not name.startswith("a ") and name not in ("palette.bmp", "moving.png")]
"""GIF's end is not looked at by lint, and of the others the header or the first frame is all of it."""


@pytest.mark.parametrize("name", CUT)
def test_cut_off(name: str, tmp_path: Path) -> None:
    """A file whose end is missing is an error for lint, and a line that names it for the trainer."""
    data = STRANGE[name][0]
    path = laid_out(tmp_path, name, data[: len(data) * 6 // 10])
    assert set(said(tmp_path).values()) & {"error"}
    with pytest.raises(Failure, match=path.name):
        pixels.load(path)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000)])
def test_more_than_a_picture_has(mode: str, value: float, tmp_path: Path) -> None:
    """Floating point and 32 bits, as tools for science write them, would be learned as black or white: refused."""
    path = laid_out(tmp_path, "a.png", drawn("TIFF", mode, value))
    with pytest.raises(Failure, match=r"a\.png cannot be decoded \(its pixels have more than 16 bits\)"):
        pixels.check([path])
