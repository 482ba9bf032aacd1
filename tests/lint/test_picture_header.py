"""Headers say of a picture what Pillow finds when it opens and decodes the file."""

import io
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lora_lab.lint.picture_header import PictureHeader, read_picture_header

FORMATS = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "webp": ("WEBP", {}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
}
by_format = pytest.mark.parametrize("name", FORMATS)


def saved(name: str, mode: str = "RGB", size: tuple[int, int] = (30, 20), **more: object) -> bytes:
    """Return the bytes of a picture of noise."""
    form, options = FORMATS[name]
    noise = Image.frombytes("RGB", size, random.Random(7).randbytes(3 * size[0] * size[1])).convert(mode)
    file = io.BytesIO()
    noise.save(file, form, **options, **more)
    return file.getvalue()


def header(tmp_path: Path, data: bytes) -> PictureHeader:
    """Return what the header of a file with these bytes says."""
    path = tmp_path / "a.png"
    path.write_bytes(data)
    found = read_picture_header(path)
    assert found is not None
    return found


def decodes(data: bytes) -> bool:
    """Say whether Pillow can decode all of a picture."""
    try:
        Image.open(io.BytesIO(data)).load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


@by_format
@pytest.mark.parametrize("size", [(1, 1), (7, 513), (3000, 3), (64, 64)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_size_and_format(name: str, size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    """Width, height and format of whole pictures of every kind."""
    mode = "RGB" if name.endswith("webp") else mode
    found = header(tmp_path, saved(name, mode, size))
    assert found == PictureHeader({"WEBP": "WebP"}.get(FORMATS[name][0], FORMATS[name][0]), *size)


@by_format
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(name: str, orientation: int, tmp_path: Path) -> None:
    """The size is that of the picture as a person sees it, whatever the EXIF orientation."""
    exif = Image.Exif()
    exif[0x010E] = "a text before it"
    exif[0x0112] = orientation
    data = saved(name, exif=exif)
    found = header(tmp_path, data)
    assert (found.width, found.height) == ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size


@pytest.mark.parametrize("width", range(20, 30))
def test_orientation_behind_pixels_of_any_length(width: int, tmp_path: Path) -> None:
    """A WebP's chunk of odd length has a byte more than it says."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("webp", "lossless.webp", "png"):
        assert header(tmp_path, saved(name, size=(width, 20), exif=exif))[1:3] == (20, width)


def test_orientation_in_xmp(tmp_path: Path) -> None:
    """The orientation may stand in XMP data alone."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert header(tmp_path, saved("webp", xmp=xmp))[1:3] == (20, 30)
    assert header(tmp_path, saved("jpg", xmp=xmp))[1:3] == (20, 30)


@by_format
def test_animated(name: str, tmp_path: Path) -> None:
    """Animated PNG and WebP are told from still ones."""
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    moving = name in ("png", "webp")
    data = saved(name)
    if moving:
        file = io.BytesIO()
        frames[0].save(file, FORMATS[name][0], save_all=True, append_images=frames[1:])
        data = file.getvalue()
    assert header(tmp_path, data).animated == moving


@by_format
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.99])
def test_cut_off(name: str, part: float, tmp_path: Path) -> None:
    """A file whose end is missing is told by its header and tail, as Pillow tells it by decoding."""
    whole = saved(name, size=(300, 200))
    data = whole[: int(len(whole) * part)]
    assert not decodes(data)
    found = header(tmp_path, data)
    assert found.cut_off
    assert not found.problem
    assert not header(tmp_path, whole).cut_off


@by_format
@pytest.mark.parametrize("tail", [b"\0" * 5_000, b"junk"])
def test_what_follows_a_picture_does_no_harm(name: str, tail: bytes, tmp_path: Path) -> None:
    """Programs hang their own data behind a picture, which Pillow passes over."""
    data = saved(name, size=(300, 200)) + tail
    assert decodes(data)
    assert not header(tmp_path, data).cut_off


@pytest.mark.parametrize("lost", range(1, 17))
def test_png_without_its_last_chunk_is_whole(lost: int, tmp_path: Path) -> None:
    """Pillow decodes a PNG whose pixels are all there, so its last chunk and checksum may be missing."""
    data = saved("png", size=(300, 200))[:-lost]
    assert decodes(data)
    assert not header(tmp_path, data).cut_off


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"\0" * 500, "it begins with zeros, as after a broken copy"),
        (b"  <!DOCTYPE HTML><title>404", "it is a web page"),
        (b"\xef\xbb\xbf<html>", "it is a web page"),
        (b'{"error": 1}', "it is a JSON file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS, not the picture itself"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC picture"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "it is a video"),
        (b"anything", "its format is unknown"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "its PNG header is broken"),
        (b"\xff\xd8\xff\xe0", "its JPEG header is broken"),
        (b"RIFF\x10\0\0\0WEBPxxxx", "its WebP header is broken"),
        (b"BM", "its BMP header is broken"),
    ],
)
def test_what_is_no_picture(data: bytes, said: str, tmp_path: Path) -> None:
    """What is there instead of a picture is said, and Pillow does not open it either."""
    found = header(tmp_path, data)
    assert found.problem == said
    assert not found.sized
    assert not decodes(data)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "ICO", "PPM", "JPEG2000", "QOI"])
def test_other_formats_are_no_problem(form: str, tmp_path: Path) -> None:
    """What Pillow reads whatever its suffix says is not called unreadable; its size is not known."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, form)
    found = header(tmp_path, file.getvalue())
    assert found.kind
    assert not found.problem
    assert not found.sized


def test_missing_file(tmp_path: Path) -> None:
    """A file that vanished has no header."""
    assert read_picture_header(tmp_path / "gone.png") is None
    assert read_picture_header(tmp_path) is None


@settings(deadline=None)  # the disk may be slow
@given(data=st.data(), name=st.sampled_from(sorted(FORMATS)))
def test_no_bytes_raise(data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is changed in a picture, its header is read without an exception."""
    picture = bytearray(saved(name))
    for at in data.draw(st.lists(st.integers(0, len(picture) - 1), max_size=8)):
        picture[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(picture)))
    path = tmp_path_factory.getbasetemp() / "any.png"
    path.write_bytes(bytes(picture[:cut]))
    assert read_picture_header(path) is not None
