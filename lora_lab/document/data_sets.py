"""The file of `dataset_config`, as sd-scripts has it: `[general]` < `[[datasets]]` < `[[datasets.subsets]]`.

What a level says holds for everything below it unless that says otherwise; what the file leaves out, the run's config
says. Source: sd-scripts `config_util.BlueprintGenerator` and docs/config_README-en.md.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from lora_lab.config import check, resolve_path
from lora_lab.config.data_sets import OF_A_DATA_SET, OF_A_FOLDER, OF_ONE_FOLDER, DataSet, Subset
from lora_lab.document.dialects.draft import Draft, is_idle
from lora_lab.document.dialects.names import SD_SCRIPTS, is_known, theirs
from lora_lab.document.dialects.sd_scripts import take
from lora_lab.document.document import Span
from lora_lab.document.read import read_bytes
from lora_lab.document.toml_text import parse_toml
from lora_lab.document.tree import Item, Place, Tree
from lora_lab.failure import Failure

_LEVELS: Final[Mapping[str, frozenset[str]]] = {
    "[general]": frozenset([*OF_A_FOLDER, *OF_A_DATA_SET]),
    "[[datasets]]": frozenset([*OF_A_FOLDER, *OF_A_DATA_SET]),
    "[[datasets.subsets]]": frozenset([*OF_A_FOLDER, *OF_ONE_FOLDER]),
}
"""Our keys that may stand at each level."""

_ANYWHERE: Final = frozenset(["num_repeats", "class_tokens", "cache_info"])
_OF_FOLDERS: Final = frozenset(["image_dir", "is_reg"])
_SIBLINGS: Final = {
    "image_directory": "that is musubi-tuner's name; it is called image_dir here",
    "train_data_dir": "name the folders that hold the pictures, each as image_dir",
    "train_batch_size": "it is called batch_size here",
    "repeats": "it is called num_repeats here",
    "dataset_repeats": "it is called num_repeats here",
}
NO_PATH: Final = "image_dir is no path"
_NOWHERE: Final = Span(0, 0, 1, 1)
_Value = TypeVar("_Value", int, bool, str)


class FileProblem(NamedTuple):
    """What is wrong in a data set file; `error` says that no run can be made of it."""

    message: str
    remedy: str
    span: Span
    error: bool = True


class Named(NamedTuple):
    """A folder that the file names, and where; `counted` says that it has repeats."""

    path: Path
    repeats: int
    is_reg: bool
    counted: bool
    data_set: int
    span: Span


@dataclass(frozen=True)
class DataSetFile:
    """What a data set file says, with everything that is wrong with it."""

    path: Path
    data_sets: tuple[DataSet, ...]
    folders: tuple[Named, ...]
    problems: tuple[FileProblem, ...]


@dataclass
class _Reading:
    """What has been found so far."""

    tree: Tree
    folder: Path
    folders: list[Named] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)

    def problem(self, message: str, remedy: str, span: Span, *, error: bool = True) -> None:
        """Note a problem."""
        self.problems.append(FileProblem(message, remedy, span, error))


def data_sets_of(path: Path) -> tuple[DataSet, ...]:
    """Return the data sets that a file names. Raises `Failure` for the first thing that is wrong with it."""
    found = read_data_sets(path)
    for one in found.problems:
        if one.error:
            raise Failure(f"{path}:{one.span.line}: {one.message}", one.remedy)
    return found.data_sets


def read_data_sets(path: Path) -> DataSetFile:
    """Read a data set file. Raises `Failure` only where it can't be read at all."""
    text = read_bytes(path).decode("utf-8-sig", "replace")
    if path.suffix.lower() == ".json":
        return interpret(_json_tree(text, path), path)
    return interpret(parse_toml(text, path), path)


def interpret(tree: Tree, path: Path) -> DataSetFile:
    """Return what a tree says as a data set file; relative paths start from its folder."""
    reading = _Reading(tree, path.parent)
    for wrong in tree.problems:
        reading.problem(wrong.message, "mend the line", wrong.span, error=wrong.kind == "syntax")
    items = [one for item in tree.items for one in _opened(item)]
    for item in items:
        if item.place[0] not in ("general", "datasets") or len(item.place) < 2:
            reading.problem(
                f"{item.key} stands outside [general] and [[datasets]]",
                "move it below one of them, or into the training config",
                item.key_span,
            )
    general = _level(reading, "[general]", [item for item in items if item.place[0] == "general"])
    numbers = sorted({item.place[1] for item in items if _is_below(item.place, 0)}, key=str)
    sets = [_data_set(reading, [item for item in items if item.place[:2] == ("datasets", n)], general) for n in numbers]
    _demand_pictures(reading, items)
    _demand_one_seed(reading, items)
    return DataSetFile(path, tuple(one for one in sets if one.subsets), tuple(reading.folders), tuple(reading.problems))


class _Level(NamedTuple):
    """The settings of a level by our keys, and what only folders have by sd-scripts' names."""

    settings: Mapping[str, object]
    others: Mapping[str, Item]

    def over(self, outer: "_Level") -> "_Level":
        """Return what holds at this level."""
        return _Level({**outer.settings, **self.settings}, {**outer.others, **self.others})


def _data_set(reading: _Reading, items: Sequence[Item], general: _Level) -> DataSet:
    own = [item for item in items if not _is_below(item.place, 2)]
    level = _level(reading, "[[datasets]]", own).over(general)
    numbers = sorted({item.place[3] for item in items if _is_below(item.place, 2)}, key=str)
    subsets = []
    for number in numbers:
        inner = [item for item in items if item.place[2:4] == ("subsets", number)]
        subset = _subset(reading, _level(reading, "[[datasets.subsets]]", inner).over(level), inner)
        if subset is not None:
            subsets.append(subset)
    return DataSet(tuple(subsets), {key: one for key, one in level.settings.items() if key in OF_A_DATA_SET})


def _subset(reading: _Reading, level: _Level, items: Sequence[Item]) -> Subset | None:
    named = level.others.get("image_dir")
    if named is None:
        reading.problem("a subset names no image_dir", "name its folder of pictures", items[0].key_span)
        return None
    path = named.value
    if not isinstance(path, str) or not path.strip():
        reading.problem(NO_PATH, "name a folder of pictures", named.value_span)
        return None
    repeats = _typed(reading, level.others.get("num_repeats"), int, 1)
    if repeats < 1:
        at = level.others["num_repeats"]
        reading.problem(f"num_repeats is {repeats}", "1 or more: how often an epoch shows each picture", at.value_span)
    is_reg = _typed(reading, level.others.get("is_reg"), bool, False)
    tokens = _typed(reading, level.others.get("class_tokens"), str, "")
    settings = {key: one for key, one in level.settings.items() if key in (*OF_A_FOLDER, *OF_ONE_FOLDER)}
    if isinstance(mask := settings.get("mask_folder"), str) and mask:
        settings["mask_folder"] = str(resolve_path(mask, reading.folder))
    folder = resolve_path(path.rstrip(), reading.folder)
    number = items[0].place[1]
    counted = "num_repeats" in level.others
    at_data_set = number if isinstance(number, int) else 0
    reading.folders.append(Named(folder, max(repeats, 1), is_reg, counted, at_data_set, named.value_span))
    return Subset(folder, max(repeats, 1), tokens, is_reg, settings)


def _typed(reading: _Reading, item: Item | None, kind: type[_Value], default: _Value) -> _Value:
    """Return an item's value, or the default, after noting why, where it is of another type."""
    if item is None:
        return default
    if isinstance(item.value, kind) and isinstance(item.value, bool) == (kind is bool):
        return item.value
    words = {int: "a whole number", bool: "true or false", str: "a text"}[kind]
    reading.problem(f"{item.key} is {item.value!r}", f"write {words}", item.value_span)
    return default


def _level(reading: _Reading, name: str, items: Sequence[Item]) -> _Level:
    settings: dict[str, object] = {}
    others: dict[str, Item] = {}
    for item in items:
        ours = SD_SCRIPTS.get(item.key, "")
        if "custom_attributes" in item.place[:-1]:
            continue  # the table itself is spoken of once
        if item.key in _ANYWHERE or (item.key in _OF_FOLDERS and name == "[[datasets.subsets]]"):
            others[item.key] = item
        elif ours in _LEVELS[name] and item.key not in _SIBLINGS:
            _put(reading, item, ours, settings)
        else:
            _refuse(reading, item, ours, name)
    return _Level(settings, others)


def _put(reading: _Reading, item: Item, ours: str, settings: dict[str, object]) -> None:
    draft = Draft(reading.tree)
    take(draft, item)
    if ours not in draft.entries:
        reading.problem(f"{item.key} is {item.value!r}", "write a value in place of the variable", item.value_span)
        return
    value = draft.entries[ours].value
    wrong = next((one for one in check({ours: value}).problems if one.key == ours), None)
    if wrong is not None:
        message = wrong.message.replace(ours, item.key, 1)
        remedy = "mend it" if wrong.suggestion is None else f"did you mean {json.dumps(wrong.suggestion)}?"
        reading.problem(message, remedy, item.value_span)
        return
    settings[ours] = getattr(check({ours: value}).config, ours)  # null is the default


def _refuse(reading: _Reading, item: Item, ours: str, name: str) -> None:
    """Say why a key can't stand where it does."""
    places = [level for level, allowed in _LEVELS.items() if ours in allowed]
    if item.key in _OF_FOLDERS:
        places = ["[[datasets.subsets]]"]
    if item.key == "metadata_file":
        reading.problem(
            "metadata_file is sd-scripts' fine-tuning: lora_lab reads captions beside the pictures",
            "write them into files there, one for each picture",
            item.key_span,
        )
    elif places and item.key not in _SIBLINGS:
        reading.problem(f"{item.key} can't stand in {name}", f"move it into {places[-1]}", item.key_span)
    elif item.key in _SIBLINGS:
        reading.problem(f"{item.key} is no setting of a data set file", _SIBLINGS[item.key], item.key_span)
    elif ours:
        reading.problem(f"{item.key} is no setting of a data set", "set it in the training config", item.key_span)
    elif is_known(item.key) or item.key == "network_multiplier":
        if not is_idle(item.key, item.value) and item.value != 1.0:
            message = f"{item.key} is left out: lora_lab does not have it"
            reading.problem(message, "remove it, and see to it that you can do without", item.key_span, error=False)
    else:
        reading.problem(f'"{item.key}" is no setting of a data set file', _guess(item.key, name), item.key_span)


def _guess(key: str, name: str) -> str:
    import difflib  # noqa: PLC0415 - only for a mistake

    others = theirs("sd-scripts") | {"batch_size": "batch_size"}
    known = [others[ours] for ours in _LEVELS[name] if ours in others] + sorted(_ANYWHERE | _OF_FOLDERS)
    near = difflib.get_close_matches(key[:60], known, n=1)
    return f"did you mean {near[0]}?" if near else "remove it"


def _demand_pictures(reading: _Reading, items: Sequence[Item]) -> None:
    span = items[0].key_span if items else _NOWHERE
    if not reading.folders and not any(one.error for one in reading.problems):
        reading.problem("the file names no folder of pictures", "write [[datasets.subsets]] with image_dir", span)
    elif reading.folders and all(one.is_reg for one in reading.folders):
        reading.problem(
            "every folder is regularisation: nothing is left to learn",
            "take is_reg out where the pictures of the concept are",
            reading.folders[0].span,
        )


def _demand_one_seed(reading: _Reading, items: Sequence[Item]) -> None:
    """One picture may lie in several data sets, so that one draw must decide on which side it is."""
    seeds = [item for item in items if item.key == "validation_seed" and item.place[0] == "datasets"]
    other = next((item for item in seeds if item.value != seeds[0].value), None)
    if other is not None:
        message = "validation_seed differs between data sets: the same picture could be learned and judged by"
        reading.problem(message, "write it once, in [general]", other.value_span)


def _is_below(place: Place, at: int) -> bool:
    """Say whether a place lies in a numbered table: of data sets at 0, of subsets at 2."""
    return len(place) > at + 2 and place[at] == ("subsets" if at else "datasets") and isinstance(place[at + 1], int)


def _opened(item: Item) -> Iterator[Item]:
    """Yield the items of tables that are written inline, at the place of the outermost."""
    pairs: Iterable[tuple[str | int, object]] = ()
    if isinstance(item.value, Mapping) and item.key != "custom_attributes":
        pairs = item.value.items()
    elif isinstance(item.value, list) and all(isinstance(one, Mapping) for one in item.value):
        pairs = enumerate(item.value)
    if not pairs:
        yield item
        return
    for key, value in pairs:
        yield from _opened(Item((*item.place, key), value, item.key_span, item.value_span))


def _json_tree(text: str, path: Path) -> Tree:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path} can't be read as JSON: {error}", "mend it, or write it as TOML") from None
    if not isinstance(whole, dict):
        raise Failure(f"{path} is no JSON object", 'write {"datasets": [{"subsets": [{"image_dir": "..."}]}]}')
    return Tree("json", path, text, tuple(Item((key,), value, _NOWHERE, _NOWHERE) for key, value in whole.items()))
