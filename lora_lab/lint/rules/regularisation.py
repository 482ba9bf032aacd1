"""LL12x: regularisation pictures."""

from collections.abc import Iterator

from lora_lab.lint.data_folder import repeats_of
from lora_lab.lint.dataset import regularisation, span_of
from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rule import Hit, View, rule

_PRIOR = "sd-scripts library/train_util.py DreamBoothDataset"


@rule(
    "LL120",
    "regularisation-not-found",
    "error",
    reads=("reg_img_folder",),
    source="https://github.com/bmaltais/kohya_ss/issues/3322",
    sees="disk",
)
def regularisation_not_found(view: View) -> Iterator[Hit]:
    """The regularisation folder is missing, or has no `N_name` folder with pictures.

    What it does
    Looks for the folder and its `N_name` folders: a flat folder of pictures, or such a folder itself, is not enough.

    Why is this bad
    sd-scripts goes on without regularisation and says nothing; here the run stops.

    Bad
    ```json
    {"reg_img_folder": "class"}
    ```
    ```files
    class/a.png
    ```

    Good
    ```json
    {"reg_img_folder": "class"}
    ```
    ```files
    class/1_cat/a.png
    ```
    """
    data = regularisation(view)
    if data is None:
        return
    key = ("reg_img_folder",)
    for path in [subset.path for subset in data.subsets] if data.named else [data.path]:
        if not view.disk.is_folder(path):
            where = span_of(view, path)
            yield Hit(f"no regularisation folder at {path}", key, "give a folder, or null for none", span=where)
    path = data.path
    if data.named or data.pictures or not view.disk.is_folder(path):
        return
    unnumbered = [subset.name for subset in data.subsets if subset.repeats is None and subset.listing.pictures]
    if repeats_of(path.name) is not None and "_" in path.name and data.stray:
        message = f"{path.name} holds the regularisation pictures themselves: reg_img_folder is the folder above it"
        yield Hit(message, key, f"write {path.parent}", set_to("reg_img_folder", str(path.parent)))
    elif data.stray:
        message = f"{path} holds {len(data.stray)} picture(s) directly, where they are not used"
        yield Hit(message, key, f"move them into a folder like {path / '1_class'}")
    elif unnumbered:
        message = f'the regularisation folder "{unnumbered[0]}" has no repeats in its name and is not used'
        yield Hit(message, key, f'call it "1_{unnumbered[0]}"')
    else:
        yield Hit(f"{path} has no folder like 1_name with pictures in it", key, "put the class pictures into one")


@rule(
    "LL121",
    "regularisation-is-training-data",
    "warning",
    reads=("reg_img_folder", "img_folder"),
    source="DreamBooth, arXiv:2208.12242",
)
def regularisation_is_training_data(view: View) -> Iterator[Hit]:
    """The same folder is training data and regularisation.

    What it does
    Compares `reg_img_folder` with `img_folder`.

    Why is this bad
    Regularisation pictures show the class as the base draws it. The training pictures themselves only double the steps.

    Bad
    ```json
    {"img_folder": "pictures", "reg_img_folder": "pictures"}
    ```

    Good
    ```json
    {"img_folder": "pictures", "reg_img_folder": "class"}
    ```
    """
    reg = view.config.reg_img_folder
    if reg and reg.rstrip("/\\") == view.config.img_folder.rstrip("/\\"):
        message = "reg_img_folder is the training folder itself: every picture is trained twice"
        yield Hit(message, ("reg_img_folder", "img_folder"), "remove it", removed("reg_img_folder", safe=False))


@rule(
    "LL122",
    "weight-without-regularisation",
    "info",
    reads=("prior_loss_weight", "reg_img_folder"),
    source="sd-scripts library/train_util.py",
    idle=("prior_loss_weight",),
)
def weight_without_regularisation(view: View) -> Iterator[Hit]:
    """A weight for regularisation pictures is set, and there are none.

    What it does
    Looks for a `prior_loss_weight` other than 1 without a `reg_img_folder`.

    Why is this bad
    It has no effect: training pictures always count 1.

    Bad
    ```json
    {"prior_loss_weight": 0.5}
    ```

    Good
    ```json
    {"prior_loss_weight": 0.5, "reg_img_folder": "class"}
    ```
    """
    if not view.config.reg_img_folder and view.config.prior_loss_weight != 1:
        message = "prior_loss_weight has no effect without reg_img_folder"
        yield Hit(message, ("prior_loss_weight",), "remove it", removed("prior_loss_weight"))


@rule("LL123", "regularisation-without-weight", "warning", reads=("prior_loss_weight", "reg_img_folder"), source=_PRIOR)
def regularisation_without_weight(view: View) -> Iterator[Hit]:
    """Regularisation pictures are trained with weight 0.

    What it does
    Looks for `prior_loss_weight` 0 with a `reg_img_folder`.

    Why is this bad
    Half of all steps compute a loss of zero.

    Bad
    ```json
    {"prior_loss_weight": 0, "reg_img_folder": "class"}
    ```

    Good
    ```json
    {"prior_loss_weight": 1, "reg_img_folder": "class"}
    ```
    """
    if view.config.reg_img_folder and view.config.prior_loss_weight == 0:
        message = "prior_loss_weight 0 makes the regularisation pictures a waste of half the steps"
        fix = removed("reg_img_folder", "prior_loss_weight", safe=False)
        yield Hit(message, ("prior_loss_weight", "reg_img_folder"), "leave reg_img_folder out, or use 1", fix)
