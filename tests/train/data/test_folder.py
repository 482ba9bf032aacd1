"""Reading the data set from disk, and what is said when it can't be read."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lora_lab.failure import Failure
from lora_lab.train.data.folder import Picture, Reading, balance_regularisation, digest, pictures_of, scan


def _picture(path: Path, size: tuple[int, int] = (40, 30), colour: tuple[int, int, int] = (200, 10, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_subsets_pictures_and_captions(tmp_path: Path) -> None:
    """Repeats and class tokens come from the folder's name, captions from the first line, stripped."""
    _picture(tmp_path / "10_lumi_ghost" / "b.png", (40, 30)).with_suffix(".txt").write_text("  lumi, night \nsecond\n")
    _picture(tmp_path / "10_lumi_ghost" / "a.JPG", (64, 32))
    _picture(tmp_path / "2_cat" / "c.webp")
    (tmp_path / "2_cat" / "c.txt").write_bytes(b"\xef\xbb\xbfK\xc3\xa4tzchen")
    _picture(tmp_path / "no_number" / "x.png")
    _picture(tmp_path / "0_never" / "x.png")
    _picture(tmp_path / "2_cat" / "deeper" / "x.png")
    (tmp_path / "2_cat" / "notes.md").write_text("not a picture")
    (tmp_path / "2_cat" / "._c.webp").write_text("left there by a Mac")
    subsets = scan(tmp_path)
    assert [(s.name, s.repeats, s.class_tokens, len(s.pictures)) for s in subsets] == [
        ("10_lumi_ghost", 10, "lumi_ghost", 2),
        ("2_cat", 2, "cat", 1),
    ]
    first, second, third = pictures_of(subsets)
    assert (first.path.name, first.width, first.height, first.caption) == ("a.JPG", 64, 32, "lumi_ghost")
    assert (second.path.name, second.width, second.height, second.caption) == ("b.png", 40, 30, "lumi, night")
    assert (third.caption, third.repeats, third.is_reg, third.subset) == ("Kätzchen", 2, False, "2_cat")
    assert third.digest == hashlib.sha256(third.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp", "PNG", "JpEg"])
def test_extensions_in_any_case(tmp_path: Path, suffix: str) -> None:
    """All five formats are found, whatever the case of their extension."""
    _picture(tmp_path / "1_a" / f"x.{suffix}")
    assert len(pictures_of(scan(tmp_path))) == 1


def test_caption_extension_may_lack_its_dot(tmp_path: Path) -> None:
    """`caption` means `.caption`; another extension's file is not read; an empty file is an empty caption."""
    picture = _picture(tmp_path / "1_a" / "x.png")
    picture.with_suffix(".txt").write_text("from txt")
    picture.with_suffix(".caption").write_text("from caption")
    assert pictures_of(scan(tmp_path, Reading("caption")))[0].caption == "from caption"
    assert pictures_of(scan(tmp_path, Reading(".tags")))[0].caption == "a"
    picture.with_suffix(".txt").write_text("")
    assert pictures_of(scan(tmp_path, Reading(".txt")))[0].caption == ""


def test_every_line(tmp_path: Path) -> None:
    """With every line wanted, the lines that are not blank are there, stripped, one a line."""
    _picture(tmp_path / "1_a" / "x.png").with_suffix(".txt").write_text("\n a lumi \r\n\n\tghost, night\n")
    assert pictures_of(scan(tmp_path, Reading(every_line=True)))[0].caption == "a lumi\nghost, night"
    assert pictures_of(scan(tmp_path))[0].caption == ""


def test_face_position_in_the_name_shares_a_caption(tmp_path: Path) -> None:
    """`a_1_2_3_4.png` without a caption of its own takes `a.txt`, as in sd-scripts."""
    _picture(tmp_path / "1_a" / "pic_10_20_30_40.png")
    (tmp_path / "1_a" / "pic.txt").write_text("shared")
    assert pictures_of(scan(tmp_path))[0].caption == "shared"


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_size_respects_exif_orientation(tmp_path: Path, suffix: str) -> None:
    """A picture stored sideways has the size that a person sees."""
    path = tmp_path / "1_a" / f"x.{suffix}"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    picture = pictures_of(scan(tmp_path))[0]
    assert (picture.width, picture.height) == (20, 40)


def _no_folder(root: Path) -> None:
    shutil.rmtree(root)


def _a_file(root: Path) -> None:
    root.rmdir()
    root.write_text("x")


def _pictures_directly(root: Path) -> None:
    _picture(root / "x.png")


def _wrong_names(root: Path) -> None:
    _picture(root / "cats" / "x.png")


def _empty_subset(root: Path) -> None:
    (root / "10_cat").mkdir()


def _text_as_picture(root: Path) -> None:
    _picture(root / "1_a" / "good.png")
    (root / "1_a" / "bad.png").write_text("no picture at all")


def _empty_file(root: Path) -> None:
    (root / "1_a").mkdir()
    (root / "1_a" / "bad.png").touch()


def _latin_1(root: Path) -> None:
    _picture(root / "1_a" / "x.png")
    (root / "1_a" / "x.txt").write_bytes(b"K\xe4tzchen")


@pytest.mark.parametrize(
    ("spoil", "said", "remedy"),
    [
        (_no_folder, "does not exist", "10_name"),
        (_a_file, "is not a folder", "10_name"),
        (lambda root: None, "is empty", "10_name"),
        (_pictures_directly, "holds pictures but no folder", "put them into a folder like 10_name"),
        (_wrong_names, "no folder named like 10_name", "name its folders"),
        (_empty_subset, "10_cat holds no picture", "remove the folder"),
        (_text_as_picture, "bad.png is not a picture", "remove it or convert it"),
        (_empty_file, "bad.png is not a picture", "remove it or convert it"),
        (_latin_1, "x.txt is not UTF-8", "save the caption as UTF-8"),
    ],
)
def test_what_cannot_be_read_is_said_with_a_remedy(
    tmp_path: Path, spoil: Callable[[Path], None], said: str, remedy: str
) -> None:
    """Each way to get the folder wrong gives one line that names it and what to do."""
    root = tmp_path / "pictures"
    root.mkdir()
    spoil(root)
    with pytest.raises(Failure) as failure:
        scan(root)
    assert said in failure.value.what
    assert remedy in failure.value.remedy
    assert "\n" not in str(failure.value)


def _made(name: str, repeats: int = 1, **values: object) -> Picture:
    fields: dict[str, object] = {"width": 8, "height": 8, "caption": "c", "is_reg": False, "subset": "1_a"}
    return Picture(path=Path(name), repeats=repeats, digest=name, **fields | values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "own", "balanced"),
    [
        (73, (1, 1), (37, 36)),  # round-robin, the first gets the odd one
        (5, (2, 2, 2), (2, 2, 2)),
        (4, (2, 2, 2), (2, 2)),  # surplus pictures stay unused
        (3, (5, 1), (5,)),
        (6, (1, 2, 1), (2, 3, 1)),
        (6, (), ()),
    ],
)
def test_regularisation_is_balanced_as_in_sd_scripts(
    wanted: int, own: tuple[int, ...], balanced: tuple[int, ...]
) -> None:
    """Registered once with their repeats, then repeats grow in turn until the training count is reached."""
    regularisation = [_made(f"r{index}", repeats, is_reg=True) for index, repeats in enumerate(own)]
    result = balance_regularisation([_made("t", wanted)], regularisation)
    assert tuple(picture.repeats for picture in result) == balanced


def test_digest_names_content_not_place() -> None:
    """Order and the folder above don't matter; bytes, captions and repeats do."""
    pictures = [_made("/x/1_a/a.png"), _made("/x/1_a/b.png")]
    moved = [_made("/x/1_a/b.png"), _made("/x/1_a/a.png")]
    moved = [Picture(**{**vars(p), "path": Path("/elsewhere") / p.path.name}) for p in moved]
    same = digest(pictures)
    assert digest(moved) == same
    assert digest([*pictures[:1], _made("/x/1_a/b.png", caption="other")]) != same
    assert digest([*pictures[:1], _made("/x/1_a/b.png", 2)]) != same
    assert digest([*pictures[:1], Picture(**{**vars(pictures[1]), "digest": "other"})]) != same
    assert digest(pictures[:1]) != same
