"""The view of the disk: read once, bounded, never raising."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.lint import Disk, caption_survey, picture_header
from lora_lab.lint import disk as disk_module
from lora_lab.lint.caption_survey import Captions

LayOut = Callable[[str], Path]


def _captions(disk: Disk, folder: Path, extension: str = ".txt") -> Captions:
    return disk.captions(disk.data_folder(folder), extension)


@pytest.mark.parametrize(
    ("name", "repeats"),
    [
        ("10_cat", 10),
        ("1", 1),
        ("007_bond", 7),
        ("0_x", 0),
        ("cat", None),
        ("10 cat", None),
        ("-3_x", None),
        ("x_10", None),
    ],
)
def test_repeats_of_a_folder(name: str, repeats: int | None, lay_out: LayOut) -> None:
    """Only `N` or `N_name` gives repeats, as the trainer reads it."""
    folder = lay_out(f"{name}/a.png")
    (subset,) = Disk(folder).data_folder(folder).subsets
    assert subset.repeats == repeats
    assert subset.used == bool(repeats)


def test_pictures_are_counted_by_suffix_in_any_case(lay_out: LayOut) -> None:
    """JPEG and jpeg are pictures, gif, hidden files and files of deeper folders are not."""
    folder = lay_out("3_cat/a.PNG\n3_cat/b.jpeg\n3_cat/c.gif\n3_cat/.d.png\n3_cat/deep/e.png\nf.webp")
    data = Disk(folder).data_folder(folder)
    assert (data.pictures, data.samples, data.stray) == (2, 6, ("f.webp",))


def test_captions_are_surveyed(lay_out: LayOut) -> None:
    """Each caption is in the list that it belongs to."""
    folder = lay_out(
        "1_x/a.png\n1_x/a.txt: a\n1_x/b.png\n1_x/b.txt:\n1_x/c.png\n1_x/c.txt: \\xff\n"
        "1_x/d.png\n1_x/d.txt: d\\ne\n1_x/e.png\n1_x/f.png\n1_x/f.caption: f"
    )
    captions = _captions(Disk(folder), folder, "txt")
    assert captions.texts["1_x/a.txt"] == "a"
    assert captions.missing == ("1_x/e.png", "1_x/f.png")
    assert captions.empty == ("1_x/b.txt",)
    assert [name for name, _ in captions.not_utf8] == ["1_x/c.txt"]
    assert captions.more_lines == ("1_x/d.txt",)
    assert captions.other_suffixes == ((".caption", 1),)


def test_shared_caption_of_numbered_pictures(lay_out: LayOut) -> None:
    """`a_1_2_3_4.png` shares `a.txt`, as in the trainer."""
    folder = lay_out("1_x/a_1_2_3_4.png\n1_x/a.txt: cat")
    captions = _captions(Disk(folder), folder)
    assert captions.missing == ()
    assert list(captions.texts.values()) == ["cat"]


def test_everything_is_read_once(lay_out: LayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of a thousand runs looks at each folder and caption once."""
    folder = lay_out("1_x/a.png\n1_x/a.txt: cat")
    disk = Disk(folder)
    (subset,) = disk.data_folder(folder).subsets
    first = (disk.data_folder(folder), _captions(disk, folder), disk.exists(folder / "1_x"), disk.headers(subset))

    def forbidden(*_: object) -> None:
        raise AssertionError("read again")

    for name in ("_listing", "survey", "_kind", "start_of"):
        monkeypatch.setattr(disk_module, name, forbidden)
    monkeypatch.setattr(picture_header, "read_picture_header", forbidden)
    moved = disk.moved_to(folder / "1_x")
    again = (moved.data_folder(folder), _captions(moved, folder), moved.exists(folder / "1_x"), moved.headers(subset))
    assert first == again
    assert moved.resolve("a.png") == folder / "1_x" / "a.png"


def test_work_is_bounded(lay_out: LayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a huge folder only so many entries and captions are looked at."""
    folder = lay_out("\n".join(f"1_x/{i}.png\n1_x/{i}.txt: cat" for i in range(10)))
    monkeypatch.setattr(caption_survey, "MOST_CAPTIONS", 3)
    assert len(_captions(Disk(folder), folder).texts) == 3
    monkeypatch.setattr(disk_module, "MOST_ENTRIES", 5)
    assert len(Disk(folder).listing(folder / "1_x").files) == 5


@pytest.mark.parametrize("text", ["gone", "a\0b", "x" * 5000, "file.txt", ""])
def test_what_is_not_there_is_empty(text: str, lay_out: LayOut) -> None:
    """Missing, impossible and wrong paths give nothing instead of an error."""
    folder = lay_out("file.txt: x")
    disk = Disk(folder)
    path = folder / text / "inside"
    assert not disk.exists(path)
    assert disk.listing(path).files == ()
    assert disk.data_folder(path).pictures == 0
    assert _captions(disk, path).texts == {}
    assert disk.text(path) is None
