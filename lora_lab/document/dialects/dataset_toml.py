"""sd-scripts' `--dataset_config`: `[general]` < `[[datasets]]` < `[[datasets.subsets]]`.

It names leaf folders with their repeats, where lora_lab takes the parent of folders called `N_name`; the two agree
when each leaf folder is called so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath

from lora_lab.document.command_text import is_placeholder, is_variable
from lora_lab.document.dialects.draft import Draft, is_idle
from lora_lab.document.dialects.names import SD_SCRIPTS, theirs
from lora_lab.document.dialects.sd_scripts import settle, take
from lora_lab.document.document import Document, ImageDir
from lora_lab.document.tree import Item, Place, Tree

NAME = "dataset"
TITLE = "an sd-scripts --dataset_config"

_REPEATS = re.compile(r"([0-9]+)_.+")
_DIFFERS = "it differs between data sets or folders; lora_lab has one for all"
_MUSUBI = frozenset(["image_directory", "video_directory", "cache_directory", "control_directory"])
_FOLDER = ("image_dir", "num_repeats", "is_reg", "class_tokens", "name")


def convert(tree: Tree) -> Document:
    """Return the document: what holds for every picture, and the parent folder where the leaves are called so."""
    draft = Draft(tree)
    inside = [item for item in tree.items if "subsets" in item.place]
    everywhere = [item for item in tree.items if "subsets" not in item.place]
    _common(draft, everywhere)
    subsets(draft, inside, depth=4)
    settle(draft)
    draft.partial = "dataset"
    musubi = any(
        item.key in ("image_directory", "video_directory", "cache_directory", "control_directory")
        for item in tree.items
    )
    if musubi:
        document = draft.document(NAME, "a musubi-tuner data set config", {})
        return replace(document, origin=replace(document.origin, readable=False) if document.origin else None)
    return draft.document(NAME, TITLE, theirs("sd-scripts") | {"batch_size": "batch_size", "img_folder": "image_dir"})


def subsets(draft: Draft, items: Sequence[Item], depth: int) -> None:
    """Put the settings of subsets; `depth` is the length of the place of a subset itself."""
    _common(draft, [item for item in items if item.key not in _FOLDER])
    by_subset: dict[Place, dict[str, Item]] = {}
    for item in items:
        by_subset.setdefault(item.place[:depth], {})[item.key] = item
    draft.image_dirs = _image_dirs(by_subset)
    training = [one for one in by_subset.values() if not _is_reg(one)]
    _folder(draft, training, "img_folder")
    _folder(draft, [one for one in by_subset.values() if _is_reg(one)], "reg_img_folder")


def _image_dirs(by_subset: Mapping[Place, dict[str, Item]]) -> list[ImageDir]:
    """Return the folders that subsets name; none where one of them, or its repeats, only the run decides."""
    found: list[ImageDir] = []
    for place, subset in by_subset.items():
        item = subset.get("image_dir")
        repeats = subset["num_repeats"].value if "num_repeats" in subset else 1
        if item is None or not isinstance(item.value, str) or not item.value.strip():
            return []
        if is_variable(item.value) or is_placeholder(item.value):
            return []
        if not isinstance(repeats, int) or isinstance(repeats, bool):
            return []
        dataset = place[1] if place[0] == "datasets" and isinstance(place[1], int) else 0
        counted = "num_repeats" in subset
        found.append(ImageDir(item.value, repeats, _is_reg(subset), counted, dataset, item.value_span))
    return found


def _is_reg(subset: dict[str, Item]) -> bool:
    return "is_reg" in subset and subset["is_reg"].value is True


def _common(draft: Draft, items: Iterable[Item]) -> None:
    """Put settings that hold for all; where a key has several values, the later ones can't be taken over."""
    for item in items:
        name = SD_SCRIPTS.get(item.key)
        if name in draft.entries and draft.entries[name].value != item.value and draft.value(name) is not None:
            draft.drop(item, _DIFFERS)
        else:
            take(draft, item)


def _folder(draft: Draft, found: Sequence[dict[str, Item]], name: str) -> None:
    """Put the parent of the leaf folders, if each is called `N_name` with the N that its repeats say."""
    folders = [subset["image_dir"] for subset in found if "image_dir" in subset]
    for subset in found:
        for key in ("is_reg", "name"):
            if key in subset:
                draft.drop(subset[key], "part of how the folders are given", asks=False)
    if not folders:
        return
    parents = {_parent(subset) for subset in found}
    parent = parents.pop() if len(parents) == 1 else None
    if parent is None:
        draft.leave_open(name, folders[0])
    else:
        draft.put(name, folders[0], parent)
    for subset in found:
        for key in ("image_dir", "num_repeats", "class_tokens"):
            if key in subset and (parent is None or subset[key] is not folders[0]):
                reason = "lora_lab takes the parent of folders called N_name: rename the folder and name its parent"
                asks = parent is None and not is_idle(key, subset[key].value)
                draft.drop(subset[key], reason if parent is None else "the folder's name says it", asks=asks)


def _parent(subset: dict[str, Item]) -> str | None:
    """Return the folder above a leaf called `N_name`, None where the name does not say the repeats."""
    item = subset.get("image_dir")
    if item is None or not isinstance(item.value, str) or is_variable(item.value):
        return None
    windows = "\\" in item.value or re.match("[A-Za-z]:", item.value)
    path = PureWindowsPath(item.value.rstrip()) if windows else PurePosixPath(item.value.rstrip())
    match = _REPEATS.fullmatch(path.name)
    repeats = subset["num_repeats"].value if "num_repeats" in subset else 1
    return str(path.parent) if match and int(match[1]) == repeats else None
