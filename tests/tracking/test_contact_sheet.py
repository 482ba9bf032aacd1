"""Pictures side by side: which are shown, where, and what happens to those that are gone."""

from pathlib import Path

import pytest
from PIL import Image

from lora_lab.tracking.contact_sheet import spread, write_contact_sheet, write_grid
from lora_lab.tracking.events import SamplePicture


def picture(folder: Path, step: int, key: str, colour: tuple[int, int, int]) -> SamplePicture:
    """Write a picture of one colour."""
    path = folder / f"{key}{step}.png"
    Image.new("RGB", (32, 32), colour).save(path)
    return SamplePicture(step=step, key=key, path=path)


def centre(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Return where a colour is."""
    found = [(x, y) for x in range(sheet.width) for y in range(sheet.height) if sheet.getpixel((x, y)) == colour]
    assert len(found) == 32 * 32
    return sum(x for x, _ in found) / len(found), sum(y for _, y in found) / len(found)


def test_rows_are_prompts_and_columns_steps(tmp_path: Path) -> None:
    """Each picture lies in its prompt's row and its step's column; one that is gone leaves its place empty."""
    red, green, blue = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    gone = SamplePicture(step=100, key="b", path=tmp_path / "gone.png")
    pictures = [
        picture(tmp_path, 100, "a", green),
        picture(tmp_path, 5, "a", red),
        picture(tmp_path, 5, "b", blue),
        gone,
    ]
    assert write_contact_sheet(pictures, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = opened.convert("RGB")
    places = [centre(sheet, colour) for colour in (red, green, blue)]
    assert places[0][1] == places[1][1] < places[2][1]
    assert places[2][0] == places[0][0] < places[1][0]


def test_without_pictures_there_is_no_sheet(tmp_path: Path) -> None:
    """Nothing drawn, or nothing that can be read: no file, no error."""
    (tmp_path / "no.png").write_text("no picture")
    assert not write_contact_sheet([], tmp_path / "sheet.png")
    assert not write_contact_sheet([SamplePicture(step=0, key="a", path=tmp_path / "no.png")], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_a_long_text_does_not_break_the_grid(tmp_path: Path) -> None:
    """A column is no wider than a picture may be, whatever stands over it."""
    path = picture(tmp_path, 0, "a", (1, 2, 3)).path
    assert write_grid({(0, 0): path}, (["x" * 1000], ["row"]), tmp_path / "grid.png", "title")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width < 500


@pytest.mark.parametrize(("values", "most", "expected"), [([1, 2], 8, [1, 2]), (list(range(9)), 3, [0, 4, 8])])
def test_of_many_steps_the_ends_and_some_between_are_shown(values: list[int], most: int, expected: list[int]) -> None:
    """The first and the last are always among them."""
    assert spread(values, most) == expected
