"""Which sample pictures a report shows, as small copies inside it, within a budget of bytes."""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lora_lab.compare.run import Run
from lora_lab.tracking.contact_sheet import spread
from lora_lab.tracking.events import SamplePicture
from lora_lab.tracking.thumbnail import thumbnail

SIDE = 160
MOST_STEPS = 8
MOST_PROMPTS = 8
MOST_PICTURES = 1500
AT_A_TIME = 64
RUNS_IN_FULL = 12
"""Runs, the best ones, of which earlier steps are shown before those of all others."""


@dataclass
class Shown:
    """The pictures of a report: `urls`, and for each run's number, prompt and step the place in them.

    `known` counts the pictures that runs have drawn, `size` the bytes of the embedded ones.
    """

    urls: list[str] = field(default_factory=list)
    places: dict[int, dict[str, dict[int, int]]] = field(default_factory=dict)
    known: int = 0
    size: int = 0


def choose_pictures(runs: Sequence[Run], budget: int) -> Shown:
    """Return small copies of the runs' pictures, the best run first, until `budget` bytes are full.

    Every run's last pictures come first, then the steps before. Only pictures from below the folder that the runs'
    own folders lie in are taken: what a run has told must not bring other pictures of the machine into a page.
    """
    shown = Shown(known=sum(len(run.pictures) for run in runs))
    for number, picture, small in _thumbnails(runs):
        if shown.size + len(small) > budget or len(shown.urls) >= MOST_PICTURES:
            break
        shown.size += len(small)
        shown.places.setdefault(number, {}).setdefault(picture.key, {})[picture.step] = len(shown.urls)
        shown.urls.append(f"data:image/webp;base64,{base64.b64encode(small).decode('ascii')}")
    return shown


def _thumbnails(runs: Sequence[Run]) -> Iterator[tuple[int, SamplePicture, bytes]]:
    """Yield the pictures that can be read, in their order; PIL works on several at a time, without Python's lock."""

    def small(one: tuple[int, SamplePicture]) -> bytes | None:
        number, picture = one
        return thumbnail(picture.path, SIDE) if _is_ours(picture.path, runs[number].folder) else None

    left = _in_order(runs)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        while some := list(islice(left, AT_A_TIME)):
            for (number, picture), content in zip(some, pool.map(small, some), strict=True):
                if content is not None:
                    yield number, picture, content


def _in_order(runs: Sequence[Run]) -> Iterator[tuple[int, SamplePicture]]:
    """Yield run numbers and pictures: all last steps, the best runs' other steps, then the rest's."""
    keys = sorted({picture.key for run in runs for picture in run.pictures})[:MOST_PROMPTS]
    steps = spread(sorted({picture.step for run in runs for picture in run.pictures}), MOST_STEPS)
    kept = [_kept(run.pictures, set(keys), set(steps)) for run in runs]
    for number, pictures in enumerate(kept):
        yield from ((number, picture) for picture in pictures.get("last", ()))
    for number, pictures in enumerate(kept):
        if number < RUNS_IN_FULL:
            yield from ((number, picture) for picture in pictures.get("before", ()))
    for number, pictures in enumerate(kept):
        if number >= RUNS_IN_FULL:
            yield from ((number, picture) for picture in pictures.get("before", ()))


def _kept(pictures: Sequence[SamplePicture], keys: set[str], steps: set[int]) -> Mapping[str, list[SamplePicture]]:
    """Return a run's last picture of each prompt, and its earlier ones at the steps that are shown."""
    wanted = [picture for picture in pictures if picture.key in keys]
    last = {picture.key: picture.step for picture in sorted(wanted, key=lambda one: one.step)}
    before = [picture for picture in wanted if picture.step in steps and picture.step != last[picture.key]]
    return {"last": [picture for picture in wanted if picture.step == last[picture.key]], "before": before}


def _is_ours(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve().parent.parent)
    except (OSError, ValueError, RuntimeError):
        return False
