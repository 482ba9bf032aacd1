"""LL103–LL108: the folders of training pictures."""

from collections import Counter
from collections.abc import Iterator

from lora_lab.lint.data_folder import Subset, repeats_of
from lora_lab.lint.dataset import DATA_KEYS, both, span_of, training
from lora_lab.lint.disk import Disk
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule

_LEAF = "https://github.com/bmaltais/kohya_ss/issues/3374"
_FOLDERS = "sd-scripts library/config_util.py"


@rule(
    "LL103",
    "image-folder-not-found",
    "error",
    reads=("img_folder",),
    source="https://github.com/bmaltais/kohya_ss/issues/3374",
    sees="disk",
)
def image_folder_not_found(view: View) -> Iterator[Hit]:
    """There is no folder of pictures where the config says.

    What it does
    Looks for the folder.

    Why is this bad
    Nothing can be trained.

    Bad
    ```json
    {"img_folder": "gone"}
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    ```
    """
    data = training(view)
    parent = "give the folder that holds folders like 10_name with the pictures"
    remedy = "give the folder with the pictures themselves" if data.named else parent
    for path in [subset.path for subset in data.subsets] if data.named else [data.path]:
        if not view.disk.is_folder(path):
            what = "is a file, not a folder" if view.disk.exists(path) else "does not exist"
            yield Hit(f"{path} {what}", ("img_folder",), remedy, span=span_of(view, path))


@rule("LL104", "images-in-parent-folder", "error", reads=("img_folder",), source=_LEAF, sees="disk")
def images_in_parent_folder(view: View) -> Iterator[Hit]:
    """Pictures lie directly in the image folder, where they are not used.

    What it does
    Looks for pictures beside the `N_name` folders, and for a config that names such a folder instead of its parent. It
    is a warning where other pictures are found.

    Why is this bad
    Only folders called `N_name` inside the image folder are read: N is how often an epoch shows their pictures. This is
    the mistake that is made most; older tools then end with "No data found" and the exit code of success.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/a.png
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    ```
    """
    data = training(view)
    path = data.path
    if not data.stray:
        return
    count = len(data.stray)
    if repeats_of(path.name) is not None and "_" in path.name and not data.pictures:
        message = f"{path.name} holds the pictures themselves: img_folder is the folder above it"
        yield Hit(message, ("img_folder",), f"write {path.parent}", set_to("img_folder", str(path.parent)))
    elif data.pictures:
        message = f"{count} picture(s) directly in {path} are not used, only those in its folders like 10_name"
        yield Hit(message, ("img_folder",), "move them into such a folder", severity="warning")
    else:
        message = f"{path} holds {count} picture(s) directly, where they are not used"
        yield Hit(message, ("img_folder",), f"move them into a folder like {path / '10_name'} (10 = uses per epoch)")


@rule("LL105", "folder-without-repeats", "warning", reads=("img_folder",), source=_FOLDERS, sees="disk")
def folder_without_repeats(view: View) -> Iterator[Hit]:
    """A folder of pictures is not used, because its name does not start with a number of repeats.

    What it does
    Looks at each folder inside the image folder that holds pictures and whose name is not `N_name`. It is an error when
    no other folder can be used.

    Why is this bad
    Such a folder is passed over, so its pictures are not learned.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/cat/a.png
    pictures/10_dog/b.png
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_dog/b.png
    ```
    """
    data = training(view)
    for subset in data.subsets:
        count = len(subset.listing.pictures)
        if subset.repeats is None and count:
            message = f'the folder "{subset.name}" with {count} picture(s) is not used: its name has no repeats'
            remedy = f'call it "10_{subset.name}" or with another number (uses of each picture per epoch)'
            yield Hit(message, ("img_folder",), remedy, severity="warning" if data.pictures else "error")


@rule("LL106", "zero-repeats", "warning", reads=("img_folder",), source=_FOLDERS, sees="disk")
def zero_repeats(view: View) -> Iterator[Hit]:
    """A folder is called `0_name`, so its pictures are never shown.

    What it does
    Looks at the numbers of the folders inside the image folder.

    Why is this bad
    Such a folder is passed over. As a way to leave pictures out it works; as a mistake it is silent.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/0_cat/a.png
    pictures/5_dog/a.png
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/5_dog/a.png
    ```
    """
    for subset in training(view).subsets:
        if subset.repeats == 0:
            message = f'the folder "{subset.name}" is shown 0 times an epoch: it is not used'
            yield Hit(
                message,
                ("img_folder",),
                "give it a number of at least 1, or move it away",
                span=span_of(view, subset.path),
            )


@rule("LL107", "no-images", "error", reads=DATA_KEYS, source=_LEAF, sees="disk")
def no_images(view: View) -> Iterator[Hit]:
    """A folder that training reads has no picture.

    What it does
    Counts png, jpg, jpeg, webp and bmp files in each `N_name` folder, of training and of regularisation; folders inside
    those are not searched.

    Why is this bad
    The run can't start.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/set1/a.png
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    ```
    """
    for key, data in both(view):
        for subset in data.used:
            if not subset.listing.pictures and view.disk.is_folder(subset.path):
                remedy = _where_they_are(view.disk, subset)
                yield Hit(f'the folder "{subset.name}" has no picture', (key,), remedy, span=span_of(view, subset.path))
    data = training(view)
    unnamed = any(subset.listing.pictures for subset in data.subsets)
    if view.disk.is_folder(data.path) and not data.used and not unnamed and not data.stray:
        message = f"{data.path} has no folder like 10_name with pictures"
        yield Hit(message, ("img_folder",), "make one and put pictures into it")


def _where_they_are(disk: Disk, subset: Subset) -> str:
    """Return what to do about a folder without pictures of its own."""
    inside = [name for name in subset.listing.folders if disk.listing(subset.path / name).pictures]
    if not inside:
        return "add some, or remove it"
    if repeats_of(inside[0]) is not None and repeats_of(subset.name) is None:
        return f"the pictures are in {inside[0]} inside it: name that folder itself here"
    return f"move those of {inside[0]}/ up: folders inside are not searched"


@rule(
    "LL108",
    "same-name-pictures",
    "warning",
    reads=("img_folder",),
    source="sd-scripts library/train_util.py read_caption",
    sees="disk",
)
def same_name_pictures(view: View) -> Iterator[Hit]:
    """Two pictures differ in their suffix only, so they share one caption.

    What it does
    Looks for `a.png` beside `a.jpg`.

    Why is this bad
    A caption belongs to a picture by its name, so both get the same; mostly one is a forgotten copy of the other.

    Bad
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/a.jpg
    ```

    Good
    ```json
    {"img_folder": "pictures"}
    ```
    ```files
    pictures/10_cat/a.png
    pictures/10_cat/b.jpg
    ```
    """
    for subset in training(view).used:
        stems = Counter(name.rpartition(".")[0] for name in subset.listing.pictures)
        twice = [name for name in subset.listing.pictures if stems[name.rpartition(".")[0]] > 1]
        if twice:
            message = f"{subset.name}: {len(twice)} pictures share name and caption with another, such as {twice[0]}"
            where = span_of(view, subset.path)
            yield Hit(message, ("img_folder",), "rename one of each pair, or remove the copy", span=where)
