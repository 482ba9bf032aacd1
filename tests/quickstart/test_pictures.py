"""The quickstart's data set is what its script draws, and the base has never seen its shape."""

from pathlib import Path

from PIL import Image, ImageChops

import lora_lab
from lora_lab.quickstart import pictures
from lora_lab.quickstart.draw import SHAPES, draw

FOLDER = Path(lora_lab.__file__).parent / "quickstart" / "pictures" / pictures.SUBSET


def test_committed_pictures_are_what_the_script_draws() -> None:
    """Every committed picture has the pixels of its scene (but for rounding), and its caption."""
    drawn = pictures.scenes()
    files = sorted(FOLDER.glob("*.png"))
    assert len(files) == len(drawn) == pictures.COUNT
    for file, (scene, caption) in zip(files, drawn, strict=True):
        with Image.open(file) as committed:
            difference = ImageChops.difference(committed.convert("RGB"), draw(scene))
        assert max(high for _, high in difference.getextrema()) <= 8, file.name
        assert file.with_suffix(".txt").read_text() == caption + "\n"


def test_captions_name_the_trigger_word() -> None:
    """Each caption says `lumi`, a colour and a background, and nothing of eyes: those are part of what a lumi is."""
    for scene, caption in pictures.scenes():
        assert f"{scene.colour} lumi on a {scene.background} background" in caption
        assert "eyes" not in caption


def test_base_has_never_seen_a_lumi() -> None:
    """The shapes that the base is taught do not include the quickstart's."""
    assert "lumi" not in SHAPES
