"""Sample pictures side by side: one sheet for a run, and one grid for a whole sweep."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_lab.tracking.events import SamplePicture
from lora_lab.whole_files import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

SHEET = "contact_sheet.png"
CELL = 256  # pixels: what a picture is scaled down to
GAP = 8
MOST_COLUMNS = 8
MOST_ROWS = 12
INK, PAPER, EMPTY = (32, 32, 32), (255, 255, 255), (235, 235, 235)


def write_contact_sheet(pictures: Sequence[SamplePicture], path: Path) -> bool:
    """Write a run's pictures as one PNG, a row for each prompt and a column for each step; say whether it was written.

    Of many steps the first, the last and some in between are shown. Pictures that are gone leave their cell empty.
    """
    keys = sorted({picture.key for picture in pictures})[:MOST_ROWS]
    steps = spread(sorted({picture.step for picture in pictures}), MOST_COLUMNS)
    known = {(picture.key, picture.step): picture.path for picture in pictures}
    cells = {
        (row, column): known[key, step]
        for row, key in enumerate(keys)
        for column, step in enumerate(steps)
        if (key, step) in known
    }
    return write_grid(cells, ([f"step {step}" for step in steps], keys), path)


def write_grid(
    cells: Mapping[tuple[int, int], Path], labels: tuple[Sequence[str], Sequence[str]], path: Path, title: str = ""
) -> bool:
    """Write pictures as one PNG; `cells` has them by (row, column), `labels` the columns' and the rows' texts.

    Returns whether it was written: not without pictures, without PIL, or where the disk takes nothing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        return False
    read = {place: picture for place, file in cells.items() if (picture := _thumbnail(Image, file)) is not None}
    if not read:
        return False
    columns, rows = labels
    font = _font()
    side = max(max(picture.size) for picture in read.values())
    wide = max([side, *(min(int(font.getlength(text)) + 1, CELL) for text in columns)])
    margin = max([GAP, *(int(font.getlength(text)) + 2 * GAP for text in rows)])
    top = GAP + (28 if title else 0) + 24
    across = max(margin + (wide + GAP) * len(columns), int(font.getlength(title)) + 2 * GAP)
    sheet = Image.new("RGB", (across, top + (side + GAP) * len(rows)), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), title, INK, font=font)
    for column, text in enumerate(columns):
        pen.text((margin + (wide + GAP) * column, top - 22), _fitting(text, font, wide), INK, font=font)
    for row, text in enumerate(rows):
        pen.text((GAP, top + (side + GAP) * row + side // 2 - 8), text, INK, font=font)
        for column in range(len(columns)):
            corner = (margin + (wide + GAP) * column, top + (side + GAP) * row)
            if (row, column) in read:
                sheet.paste(read[row, column], corner)
            else:
                pen.rectangle((*corner, corner[0] + side, corner[1] + side), EMPTY)
    return _save(sheet, path)


def spread(values: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the values, the first and the last among them, evenly spread."""
    if len(values) <= most:
        return list(values)
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]


def _thumbnail(image: Any, path: Path) -> "Image | None":
    """Return the picture, small enough for a cell; None where it can't be read."""
    broken = (OSError, ValueError, SyntaxError, image.DecompressionBombError)
    with contextlib.suppress(*broken), image.open(path, formats=("PNG",)) as opened:
        picture: Image = opened.convert("RGB")
        picture.thumbnail((CELL, CELL))
        return picture
    return None


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(14)


def _fitting(text: str, font: Any, width: int) -> str:
    """Return the text, cut where it is wider than its column."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _save(sheet: "Image", path: Path) -> bool:
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    except OSError:
        return False
    return True
