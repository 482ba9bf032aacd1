"""The data set that a config asks for, as rules see it: its folders, captions and pictures, and their buckets."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lora_lab.config import StepPlan, plan_steps, processes
from lora_lab.document import Span
from lora_lab.failure import Failure
from lora_lab.lint.caption_survey import CAPTION_SUFFIXES, Captions
from lora_lab.lint.data_folder import DataFolder
from lora_lab.lint.disk import Disk
from lora_lab.lint.parts import data_sets
from lora_lab.lint.rule import Part, View

if TYPE_CHECKING:  # what follows is imported where it is needed: a text alone is judged without it
    from lora_lab.config.buckets import BucketOptions, Placement, Size
    from lora_lab.lint.picture_header import PictureHeader

LOOKS = ("train_resolution", "buckets", "min_bucket_resolution", "max_bucket_resolution")
LOOKS_FINER = ("bucket_reso_steps", "bucket_no_upscale")
BUCKET_KEYS = (*LOOKS, *LOOKS_FINER)
"""What decides the bucket of a picture."""

DATA_KEYS = ("img_folder", "reg_img_folder")
EPOCH_KEYS = (*DATA_KEYS, *BUCKET_KEYS, "batch_size", "validation_split")
"""What decides how many batches an epoch has."""

_NAMED_DEFAULT = ".caption"
"""What sd-scripts looks for where neither a data set file nor its command line names an extension."""


class Seen(NamedTuple):
    """A picture with its header; `name` is relative to the data folder."""

    name: str
    header: "PictureHeader"
    repeats: int
    is_reg: bool = False

    @property
    def size(self) -> "Size":
        """Return width and height in pixels, turned upright."""
        return self.header.width, self.header.height


class Placed(NamedTuple):
    """The pictures in their buckets; `refused` fit none. `uses` counts pictures with repeats by bucket."""

    pictures: "tuple[tuple[Seen, Placement], ...]"
    refused: tuple[Seen, ...]
    uses: "Mapping[Size, int]"


def training(view: View) -> DataFolder:
    """Return the folders of training pictures."""
    if view.config.dataset_config:
        return _of_sets(view, is_reg=False) or DataFolder(view.disk.folder, (), (), named=True)
    return _named(view, is_reg=False) or view.disk.data_folder(view.disk.resolve(view.config.img_folder))


def regularisation(view: View) -> DataFolder | None:
    """Return the folders of regularisation pictures, None without any."""
    if view.config.dataset_config:
        return _of_sets(view, is_reg=True)
    named = _named(view, is_reg=True)
    if named or not view.config.reg_img_folder or _has_named(view):
        return named
    return view.disk.data_folder(view.disk.resolve(view.config.reg_img_folder))


def both(view: View) -> Iterator[tuple[str, DataFolder]]:
    """Yield the key and the data folder of the training pictures and of the regularisation pictures."""
    yield "img_folder", training(view)
    other = regularisation(view)
    if other is not None:
        yield "reg_img_folder", other


def span_of(view: View, path: Path) -> Span | None:
    """Return where a file names a folder of pictures by itself, None where it names the parent."""
    named = view.document.origin.image_dirs if view.document.origin else ()
    return next((one.span for one in named if view.disk.resolve(one.path) == path), None)


def captions(view: View) -> Captions:
    """Return the training captions that the run would read."""
    return view.disk.captions(training(view), extension(view))


def extension(view: View) -> str:
    """Return the captions' extension; where a file leaves it to a command line, the one that most captions have."""
    if not extension_is_open(view):
        return view.config.caption_extension
    data = training(view)
    counts = {suffix: len(view.disk.captions(data, suffix).texts) for suffix in CAPTION_SUFFIXES}
    return max(counts, key=lambda suffix: (counts[suffix], suffix == _NAMED_DEFAULT))


def extension_is_open(view: View) -> bool:
    """Say whether the file is a data set alone that names no extension."""
    return is_data_alone(view) and "caption_extension" not in view.given


def is_data_alone(view: View) -> bool:
    """Say whether the file holds a data set and the rest of the run's settings stand elsewhere."""
    return view.document.origin is not None and view.document.origin.partial == "dataset"


def pictures(disk: Disk, data: DataFolder, *, is_reg: bool = False) -> tuple[Seen, ...]:
    """Return the pictures that training reads, with their headers."""
    return disk.kept(
        ("seen", is_reg, *data.key),
        lambda: tuple(
            Seen(f"{subset.name}/{name}", header, subset.repeats or 0, is_reg)
            for subset in data.used
            for name, header in disk.headers(subset).items()
        ),
    )


def placed(view: View) -> Placed | None:
    """Return the pictures in the buckets that the trainer puts them into, regularisation pictures among them.

    None where no bucket is possible, which other rules say. What is held out for validation is counted too.
    """
    found = [_placed_in(one) for one in _by_data_set(view)]
    every = [one for one in found if one is not None]
    if len(found) == 1 or len(every) < len(found):
        return found[0] if len(found) == 1 else None
    uses: Counter[Size] = Counter()
    for one in every:
        uses.update(one.uses)
    pictures, refused = ([x for one in every for x in one[at]] for at in (0, 1))
    return Placed(tuple(pictures), tuple(refused), uses)  # type: ignore[arg-type]  # of one kind each


def _by_data_set(view: View) -> list[View]:
    """Return the view of each data set with its settings; the view itself where there is but one."""
    if view.part is not None or not view.config.dataset_config:
        return [view]
    return [
        view._replace(config=one.of(view.config), part=Part("", (one,), frozenset(), view)) for one in data_sets(view)
    ]


def _placed_in(view: View) -> Placed | None:
    from lora_lab.config.buckets import bucket_options  # noqa: PLC0415

    options = bucket_options(view.config)
    data, reg = training(view), regularisation(view)
    key = ("placed", options, *data.key, "reg", *(reg.key if reg else ()))
    return view.disk.kept(key, lambda: _placed(view.disk, options, data, reg))


def batches_per_epoch(view: View) -> int:
    """Return the batches of an epoch: Σ over buckets of ceil(uses / batch size); 0 if that can't be known.

    It can't where a picture's size is unknown. With `validation_split` it is the most that it can be.
    """
    batches = [_batches(one) for one in _by_data_set(view.part.whole if view.part else view)]
    return sum(batches) if all(batches) else 0


def _batches(view: View) -> int:
    from lora_lab.config.buckets import count_batches  # noqa: PLC0415

    found = placed(view)
    known = sum(seen.header.sized for key, data in both(view) for seen in pictures(view.disk, data))
    if found is None or found.refused or known < sum(data.pictures for _, data in both(view)):
        return 0
    return count_batches(found.uses.values(), view.config.batch_size * processes())


def steps_of(view: View) -> StepPlan | None:
    """Return the length of the run in optimizer steps; None if it can't be known."""
    batches = batches_per_epoch(view)
    return plan_steps(view.config, batches) if batches else None


def _placed(disk: Disk, options: "BucketOptions", data: DataFolder, reg: DataFolder | None) -> Placed | None:
    from lora_lab.config.buckets import make_resolutions  # noqa: PLC0415

    try:
        resolutions = make_resolutions(options)
    except Failure:
        return None
    every = (*pictures(disk, data), *_balanced(disk, data, reg))
    sizes = {seen.size for seen in every if seen.header.sized}
    known = {size: _placement(size, options, resolutions) for size in sizes}
    found: list[tuple[Seen, Placement]] = []
    uses: Counter[Size] = Counter()
    for seen in every:
        placement = known.get(seen.size)
        if placement is not None:
            found.append((seen, placement))
            uses[placement.bucket] += seen.repeats
    refused = tuple(seen for seen in every if seen.header.sized and known[seen.size] is None)
    return Placed(tuple(found), refused, uses)


def _placement(size: "Size", options: "BucketOptions", resolutions: "tuple[Size, ...]") -> "Placement | None":
    """Return how a picture gets into its bucket, None where it fits none."""
    from lora_lab.config.buckets import select  # noqa: PLC0415

    try:
        return select(size, options, resolutions)
    except Failure:
        return None


def _balanced(disk: Disk, data: DataFolder, reg: DataFolder | None) -> Iterator[Seen]:
    """Yield the regularisation pictures that are used, as often as they are used."""
    from lora_lab.config.buckets import balanced_repeats  # noqa: PLC0415

    own = pictures(disk, reg, is_reg=True) if reg else ()
    repeats = balanced_repeats([seen.repeats for seen in own], data.samples)
    yield from (seen._replace(repeats=count) for seen, count in zip(own, repeats, strict=False))


def _of_sets(view: View, *, is_reg: bool) -> DataFolder | None:
    """Return the folders that a data set file names, None where there are none of the kind."""
    found = [
        (subset.folder, subset.repeats) for one in data_sets(view) for subset in one.subsets if subset.is_reg == is_reg
    ]
    return view.disk.named_folders(found) if found else None


def _has_named(view: View) -> bool:
    return bool(view.document.origin and view.document.origin.image_dirs)


def _named(view: View, *, is_reg: bool) -> DataFolder | None:
    """Return the folders that a file names one by one, None where it names their parent."""
    origin = view.document.origin
    found = [one for one in origin.image_dirs if one.is_reg == is_reg] if origin else []
    if not found:
        return None
    return view.disk.named_folders([(view.disk.resolve(one.path), one.repeats) for one in found])
