"""Pictures and captions on disk: `N_name` folders, each picture used N times per epoch, `name` the fallback caption."""

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lora_lab.config.buckets import balanced_repeats
from lora_lab.failure import Failure
from lora_lab.plain_files import read_file
from lora_lab.train.data.pixels import BROKEN, FORMATS

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

_FOLDER_NAME = re.compile(r"(?P<repeats>[0-9]+)(?:_(?P<tokens>.*))?")
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_PNG_ORIENTATION_CHUNKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


@dataclass(frozen=True)
class Picture:
    """One picture of the data set: size in pixels as a person sees it (EXIF orientation applied), text as written.

    `digest` is the SHA-256 of the file's bytes; `repeats` how often an epoch uses it; `subset` its folder's name.
    `mask` is the picture that says where the loss looks, `mask_digest` the SHA-256 of its bytes; with `alpha` it is the
    picture's own alpha channel. `part` is the number of its folder in a data set file.
    """

    path: Path
    width: int
    height: int
    caption: str
    repeats: int
    is_reg: bool
    subset: str
    digest: str
    mask: Path | None = None
    mask_digest: str = ""
    alpha: bool = False
    part: int = 0

    @property
    def item(self) -> str:
        """The picture's name in the data set, wherever the data set lies: what its random draws depend on."""
        return f"{'reg' if self.is_reg else 'train'}/{self.subset}/{self.path.name}"


@dataclass(frozen=True)
class Subset:
    """One `N_name` folder: `repeats` is N, `class_tokens` is name."""

    name: str
    folder: Path
    repeats: int
    class_tokens: str
    is_reg: bool
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Reading:
    """How captions are read: the extension of their files, and the first line or every one that is not blank."""

    extension: str = ".txt"
    every_line: bool = False


def scan(folder: Path, read: Reading = Reading(), is_reg: bool = False) -> tuple[Subset, ...]:
    """The subsets of `folder`, sorted by name, their pictures too; sub-folders of a subset are not looked into.

    Folders whose name is not `N_name` with N ≥ 1, and names that start with a dot, are passed over. Every file is read
    once. Raises Failure for a missing or empty folder, a file that is no picture, a caption that is not UTF-8.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise Failure(f"{folder} {what}", "name the folder that holds folders like 10_name with the pictures")
    named = [(child, *_repeats_and_tokens(child.name)) for child in sorted(folder.iterdir()) if child.is_dir()]
    subsets = tuple(
        _read_subset(child, read, repeats, tokens, is_reg) for child, repeats, tokens in named if repeats >= 1
    )
    if not subsets:
        raise _no_subset(folder)
    return subsets


def pictures_of(subsets: Iterable[Subset]) -> tuple[Picture, ...]:
    """All pictures of `subsets`, in order."""
    return tuple(itertools.chain.from_iterable(subset.pictures for subset in subsets))


def balance_regularisation(training: Sequence[Picture], regularisation: Sequence[Picture]) -> tuple[Picture, ...]:
    """The regularisation pictures with the repeats that match the training pictures' count (repeats included).

    What is left over when the count is reached stays unused: `config.buckets.balanced_repeats`.
    """
    wanted = sum(picture.repeats for picture in training)
    repeats = balanced_repeats([picture.repeats for picture in regularisation], wanted)
    return tuple(replace(picture, repeats=count) for picture, count in zip(regularisation, repeats, strict=False))


def digest(pictures: Iterable[Picture]) -> str:
    """A hash of what the pictures teach: bytes, caption, repeats, subset, mask; whatever the order and the place."""
    rows = sorted(
        [p.item, p.digest, p.caption, str(p.repeats), *([p.mask_digest] if p.mask_digest else [])] for p in pictures
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_folder(folder: Path, read: Reading, repeats: int, class_tokens: str, is_reg: bool) -> Subset:
    """One folder of pictures that a data set file names, whatever it is called; `scan` says what is raised."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise Failure(f"{folder} {what}", "name the folder that holds the pictures, relative to the data set file")
    return _read_subset(folder, read, repeats, class_tokens, is_reg)


def _repeats_and_tokens(name: str) -> tuple[int, str]:
    match = _FOLDER_NAME.fullmatch(name)
    return (int(match["repeats"]), match["tokens"] or "") if match else (0, "")


def _picture_files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and not path.is_dir()
    ]


def _no_subset(folder: Path) -> Failure:
    if _picture_files(folder):
        return Failure(
            f"{folder} holds pictures but no folder named like 10_name",
            "put them into a folder like 10_name inside it (10 = uses of each picture per epoch)",
        )
    if any(folder.iterdir()):
        remedy = "name its folders like 10_name (10 = uses of each picture per epoch) and put the pictures there"
        return Failure(f"{folder} holds no folder named like 10_name", remedy)
    return Failure(f"{folder} is empty", "put pictures into a folder like 10_name inside it")


def _read_subset(folder: Path, read: Reading, repeats: int, class_tokens: str, is_reg: bool) -> Subset:
    files = _picture_files(folder)
    if not files:
        known = ", ".join(name[1:] for name in EXTENSIONS)
        raise Failure(f"{folder} holds no picture ({known})", "put pictures into it or remove the folder")
    pictures = []
    for path in files:
        width, height, content_hash = _header(path)
        caption = _caption(path, read)
        if caption is None:
            caption = class_tokens
        pictures.append(Picture(path, width, height, caption, repeats, is_reg, folder.name, content_hash))
    return Subset(folder.name, folder, repeats, class_tokens, is_reg, tuple(pictures))


def _header(path: Path) -> tuple[int, int, str]:
    """(width, height, SHA-256) of a picture file; the pixels are not decoded."""
    try:
        content = read_file(path)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            sideways = _orientation(image, content) in _SIDEWAYS
    except BROKEN as error:
        raise Failure(
            f"{path} is not a picture that can be read ({_reason(error)})", "remove it or convert it"
        ) from None
    if sideways:
        width, height = height, width
    return width, height, hashlib.sha256(content).hexdigest()


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "unknown format"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _orientation(image: Image.Image, content: bytes) -> int | None:
    # Pillow decodes a whole PNG to look for a chunk after the pixels; so look for the chunk's name first.
    if image.format == "PNG" and not any(name in content for name in _PNG_ORIENTATION_CHUNKS):
        return None
    orientation = image.getexif().get(_ORIENTATION_TAG)
    return orientation if isinstance(orientation, int) else None


def _caption(picture: Path, read: Reading) -> str | None:
    """First line of the caption file, or all that are not blank; None if there is no file.

    `a_1_2_3_4.png` may share `a.txt`: the four numbers are the face position that older tools put into names.
    """
    extension = read.extension if read.extension.startswith(".") else f".{read.extension}"
    stems = [picture.stem]
    if picture.stem.count("_") >= 4:
        stems.append(picture.stem.rsplit("_", 4)[0])
    for stem in stems:
        path = picture.with_name(stem + extension)
        try:
            text = read_file(path).decode("utf-8-sig")
        except FileNotFoundError:
            continue
        except UnicodeDecodeError:
            raise Failure(f"{path} is not UTF-8 text", "save the caption as UTF-8") from None
        except OSError as error:
            raise Failure(f"{path} cannot be read ({_reason(error)})", "make it readable or remove it") from None
        lines = [line.strip() for line in text.splitlines()]
        if read.every_line:
            return "\n".join(line for line in lines if line)
        return next(iter(lines), "")
    return None
