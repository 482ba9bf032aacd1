"""One picture of a sweep: a row for each prompt, a column for the base alone and for each run's finished LoRA."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MARGIN, LABEL = 8, 20  # pixels


def columns(runs: Sequence[tuple[str, Path]]) -> list[tuple[str, list[Path]]]:
    """Label and sample pictures, in order of the prompts, of each column.

    `runs` are label and folder of each run. The base's pictures are those that the first run drew before its first
    step; runs without pictures have no column.
    """
    drawn = [(label, _by_step(folder)) for label, folder in runs]
    drawn = [(label, steps) for label, steps in drawn if steps]
    if not drawn:
        return []
    first = drawn[0][1]
    base = [("base alone", first[0])] if 0 in first else []
    return base + [(label, steps[max(steps)]) for label, steps in drawn]


def _by_step(folder: Path) -> dict[int, list[Path]]:
    """Sample pictures of a run by optimizer step: `{name}_{step}_{number}.png`."""
    steps: dict[int, list[Path]] = {}
    for path in sorted((folder / "sample").glob("*.png")):
        steps.setdefault(int(path.stem.split("_")[-2]), []).append(path)
    return steps


def sheet(table: Sequence[tuple[str, Sequence[Path]]], scale: int = 1) -> Image.Image:
    """Put the columns side by side, each picture enlarged `scale` times. Raises ValueError for an empty table."""
    if not table:
        raise ValueError("no pictures to compare")
    with Image.open(table[0][1][0]) as one:
        width, height = one.width * scale, one.height * scale
    rows = max(len(pictures) for _, pictures in table)
    size = (MARGIN + len(table) * (width + MARGIN), LABEL + MARGIN + rows * (height + MARGIN))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for place, (label, pictures) in enumerate(table):
        left = MARGIN + place * (width + MARGIN)
        pen.text((left, MARGIN // 2), label, fill="black", font=ImageFont.load_default(11))
        for row, path in enumerate(pictures):
            with Image.open(path) as picture:
                shown = picture.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(shown, (left, LABEL + MARGIN // 2 + row * (height + MARGIN)))
    return canvas
