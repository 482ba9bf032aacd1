"""The quickstart's data set: `python -m lora_lab.quickstart.pictures FOLDER` draws it again."""

import random
import shutil
from pathlib import Path

import click

from lora_lab.quickstart.draw import Scene, draw, random_scene

COUNT = 24
SUBSET = "4_lumi"


def scenes() -> list[tuple[Scene, str]]:
    """`COUNT` ghosts with their captions: the caption names colour and background, and `lumi` for all the rest."""
    draws = random.Random(20)
    drawn = [random_scene(draws, ("lumi",), eyes=1.0) for _ in range(COUNT)]
    return [(scene, scene.caption.replace(" with eyes", "")) for scene in drawn]


def write(folder: Path) -> None:
    """Draw the pictures and write their captions to `folder/4_lumi`, replacing what is there."""
    target = folder / SUBSET
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for number, (scene, caption) in enumerate(scenes(), 1):
        draw(scene).save(target / f"{number:02d}.png", optimize=True)
        (target / f"{number:02d}.txt").write_text(caption + "\n", encoding="utf-8")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write the quickstart's pictures to FOLDER."""
    write(folder)


if __name__ == "__main__":
    main()
