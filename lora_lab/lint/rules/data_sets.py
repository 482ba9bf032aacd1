"""LL15x: the data set file of `dataset_config`."""

import re
from collections.abc import Iterator
from pathlib import Path

from lora_lab.config.data_sets import OF_A_DATA_SET, OF_A_FOLDER, OF_ONE_FOLDER
from lora_lab.document import Document
from lora_lab.document.data_sets import NO_PATH, DataSetFile, FileProblem, interpret
from lora_lab.document.tree import Tree
from lora_lab.failure import Failure
from lora_lab.lint.finding import removed
from lora_lab.lint.parts import file_of
from lora_lab.lint.rule import OURS, Hit, View, rule

_SOURCE = "sd-scripts library/config_util.py ConfigSanitizer"
_READS = ("dataset_config",)


@rule("LL150", "data-set-file-faulty", "error", reads=_READS, source=_SOURCE, sees="disk", targets=OURS)
def data_set_file_faulty(view: View) -> Iterator[Hit]:
    """No run can be made of a data set file.

    What it does
    Reads the file of `dataset_config`, or such a file by itself: keys that do not exist or stand in the wrong place,
    values of a wrong type or out of range, subsets without a folder.

    Why is this bad
    The run ends at its start; sd-scripts answers `extra keys not allowed @ data['datasets'][0]`.

    Bad
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\nresoluton = 512\\n[[datasets.subsets]]\\nimage_dir = "cat"
    cat/a.png:
    cat/a.txt: cat
    ```

    Good
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\nresolution = 512\\n[[datasets.subsets]]\\nimage_dir = "cat"\\nnum_repeats = 9
    cat/a.png:
    cat/a.txt: cat
    ```
    """
    failure = file_of(view)
    if isinstance(failure, Failure) and view.disk.is_file(view.disk.resolve(str(view.config.dataset_config))):
        yield Hit(failure.what, _READS, failure.remedy)
    for one in _problems(view):
        if one.error:
            yield _hit(view, one)


@rule("LL151", "data-set-setting-left-out", "warning", reads=_READS, source=_SOURCE, sees="disk", targets=OURS)
def data_set_setting_left_out(view: View) -> Iterator[Hit]:
    """A setting of a data set file is none that lora_lab has.

    What it does
    Names what sd-scripts or its siblings read from such a file and lora_lab does not.

    Why is this bad
    The run is trained without it.

    Bad
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "cat"\\nface_crop_aug_range = [1.0, 2.0]
    cat/a.png:
    cat/a.txt: cat
    ```

    Good
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "cat"
    cat/a.png:
    cat/a.txt: cat
    ```
    """
    for one in _problems(view):
        if not one.error:
            yield _hit(view, one)


@rule(
    "LL152",
    "data-set-folder-unusable",
    "error",
    reads=_READS,
    source="lora_lab/train/data/folder.py",
    sees="disk",
    targets=OURS,
)
def data_set_folder_unusable(view: View) -> Iterator[Hit]:
    """A folder that a data set file names is not there, or holds no pictures.

    What it does
    Looks at each `image_dir` and `conditioning_data_dir`. Relative paths start from the data set file.

    Why is this bad
    The run ends at its start. sd-scripts passes over a folder that is not there with a warning, and trains the rest.

    Bad
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "gone"
    ```

    Good
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "cat"
    cat/a.png:
    cat/a.txt: cat
    ```
    """
    found = file_of(view)
    for one in found.folders if isinstance(found, DataSetFile) else ():
        where = f"{_name(found)}:{one.span.line}"
        if not view.disk.is_folder(one.path):
            yield Hit(f"{where}: there is no folder {one.path}", _READS, "name the folder that holds the pictures")
        elif not view.disk.listing(one.path).pictures:
            inside = [name for name in view.disk.listing(one.path).folders if re.match("[0-9]+_", name)]
            remedy = f"it holds {inside[0]}: name such folders one by one" if inside else "put pictures into it"
            yield Hit(f"{where}: no picture lies in {one.path}", _READS, remedy)


@rule(
    "LL153",
    "repeats-not-read",
    "warning",
    reads=_READS,
    source="sd-scripts docs/config_README-en.md",
    sees="disk",
    targets=OURS,
)
def repeats_not_read(view: View) -> Iterator[Hit]:
    """A folder of a data set file is called `N_name`, and has no `num_repeats`.

    What it does
    Looks for an `image_dir` whose name starts with a number above 1.

    Why is this bad
    Here the number is not read, as it is in folders below `img_folder`: each picture is shown once an epoch.

    Bad
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "10_cat"
    10_cat/a.png:
    10_cat/a.txt: cat
    ```

    Good
    ```json
    {"dataset_config": "data.toml"}
    ```
    ```files
    data.toml: [[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "10_cat"\\nnum_repeats = 10
    10_cat/a.png:
    10_cat/a.txt: cat
    ```
    """
    found = file_of(view)
    for one in found.folders if isinstance(found, DataSetFile) else ():
        match = re.match(r"([0-9]{1,6})_.", one.path.name)
        if match and int(match[1]) > 1 and not one.counted:
            message = f"{_name(found)}:{one.span.line}: the {match[1]} in the folder's name is not read here"
            yield Hit(f"{message}: its pictures count once", _READS, f"write num_repeats = {match[1]} below it")


@rule(
    "LL154",
    "overruled-by-data-set-file",
    "warning",
    reads=(*_READS, "img_folder", "reg_img_folder", *OF_A_DATA_SET, *OF_A_FOLDER, *OF_ONE_FOLDER),
    source="sd-scripts library/config_util.py generate_params_by_fallbacks; train_network.py train",
    sees="disk",
    targets=OURS,
)
def overruled_by_data_set_file(view: View) -> Iterator[Hit]:
    """The config says something that its data set file says otherwise.

    What it does
    Looks for `img_folder` and `reg_img_folder` beside `dataset_config`, and for settings that the file sets to
    something else for every data set or folder.

    Why is this bad
    The file wins: what the config says has no effect.

    Bad
    ```json
    {"dataset_config": "data.toml", "batch_size": 4}
    ```
    ```files
    data.toml: [general]\\nbatch_size = 2\\n[[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "cat"
    cat/a.png:
    cat/a.txt: cat
    ```

    Good
    ```json
    {"dataset_config": "data.toml", "img_folder": null}
    ```
    ```files
    data.toml: [general]\\nbatch_size = 2\\n[[datasets]]\\n[[datasets.subsets]]\\nimage_dir = "cat"
    cat/a.png:
    cat/a.txt: cat
    ```
    """
    whole = view.part.whole if view.part else view
    found = file_of(whole)
    if not isinstance(found, DataSetFile):
        return
    for key in ("img_folder", "reg_img_folder"):
        if key in whole.given and getattr(whole.config, key):
            yield Hit(f"{key} is not looked at: {_name(found)} names the folders", (key,), "leave it out", removed(key))
    folders = [subset.settings for one in found.data_sets for subset in one.subsets]
    for key in (*OF_A_DATA_SET, *OF_A_FOLDER, *OF_ONE_FOLDER):
        own = getattr(whole.config, key)
        settings = [one.settings for one in found.data_sets] if key in OF_A_DATA_SET else folders
        if key in whole.given and settings and all(own != one.get(key, own) for one in settings):
            message = f"{key} has no effect: {_name(found)} says otherwise wherever it holds"
            yield Hit(message, (key,), "leave it out", removed(key))


def _problems(view: View) -> tuple[FileProblem, ...]:
    """Return what is wrong with the file that is named, or with the file itself where it is one."""
    found = file_of(view)
    if isinstance(found, DataSetFile):
        return found.problems
    found_alone = _of_itself(view.document).problems if _is_alone(view) else ()
    return tuple(one for one in found_alone if one.message != NO_PATH)  # left open until somebody fills it in


def _is_alone(view: View) -> bool:
    origin = view.document.origin
    return origin is not None and origin.partial == "dataset" and origin.readable and origin.form == "toml"


def _of_itself(document: Document) -> DataSetFile:
    assert document.origin is not None
    path = document.path or Path("data.toml")
    return interpret(Tree("toml", path, document.text, document.origin.items), path)


def _hit(view: View, one: FileProblem) -> Hit:
    found = file_of(view)
    if isinstance(found, DataSetFile):
        return Hit(f"{_name(found)}:{one.span.line}: {one.message}", _READS, one.remedy)
    return Hit(one.message, (), one.remedy, span=one.span)


def _name(found: object) -> str:
    return found.path.name if isinstance(found, DataSetFile) else ""
