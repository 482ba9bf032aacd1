"""Masks that are black all over are seen without a picture library, and no others."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lora_lab.lint.black import is_black


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (300, 7), (2048, 1024)])
def test_black_ones(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    """In greys, in colours and in black and white, of any size; one white pixel is enough for the contrary."""
    image = Image.new(mode, size)
    image.save(tmp_path / "a.png")
    assert is_black(tmp_path / "a.png")
    image.putpixel((size[0] - 1, size[1] - 1), 255 if mode != "RGB" else (1, 0, 0))
    image.save(tmp_path / "b.png")
    assert not is_black(tmp_path / "b.png")


def test_others(tmp_path: Path) -> None:
    """Other formats, palettes, transparency, and what is no picture can't be told, and are not said to be black."""
    Image.new("L", (8, 8)).save(tmp_path / "a.jpg")
    Image.new("RGBA", (8, 8)).save(tmp_path / "b.png")
    Image.new("P", (8, 8)).save(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert not any(is_black(tmp_path / name) for name in ("a.jpg", "b.png", "c.png", "d.png", "gone.png"))


@given(cut=st.integers(0, 90), at=st.integers(8, 80), byte=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_any_damage(cut: int, at: int, byte: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A damaged file is no reason to raise."""
    path = tmp_path_factory.mktemp("black") / "a.png"
    Image.new("L", (9, 9)).save(path)
    data = bytearray(path.read_bytes())
    data[min(at, len(data) - 1)] = byte
    path.write_bytes(bytes(data[: len(data) - cut]))
    is_black(path)
