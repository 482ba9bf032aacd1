"""LL33x: the LoRA files that are merged into the base."""

from collections.abc import Iterator

from lora_lab.config.merged import with_multipliers
from lora_lab.document.lora_facts import KINDS
from lora_lab.document.model_header import PICKLED, ModelHeader
from lora_lab.lint.rule import OURS, Hit, View, rule
from lora_lab.lint.rules.base_model import NAMES, base_header
from lora_lab.lint.rules.starting_point import NETWORKS

_KEY = "base_weights"
_LOADER = "lora_lab/train/merging.py; sd-scripts train_network.py"


def _files(view: View) -> tuple[str, ...]:
    return tuple(name for name, _ in with_multipliers(view.config.base_weights, None))


def _header(view: View, name: str) -> ModelHeader | None:
    return view.disk.model(view.disk.resolve(name))


@rule("LL331", "merged-file-not-found", "error", reads=(_KEY,), source=_LOADER, sees="disk", targets=OURS)
def merged_file_not_found(view: View) -> Iterator[Hit]:
    """A LoRA that is to be merged into the base is not there.

    What it does
    Looks for the files that `base_weights` names.

    Why is this bad
    The run can't start.

    Bad
    ```json
    {"base_weights": ["style.safetensors"]}
    ```

    Good
    ```json
    {"base_weights": ["style.safetensors"]}
    ```
    ```files
    style.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```
    """
    for name in _files(view):
        path = view.disk.resolve(name)
        if not view.disk.is_file(path):
            found = "a folder" if view.disk.is_folder(path) else "nothing"
            yield Hit(f"{_KEY}: {found} is at {path}, and a file is needed", (_KEY,), "give the path of a LoRA file")


@rule("LL332", "merged-file-is-no-lora", "error", reads=(_KEY,), source=_LOADER, sees="disk", targets=OURS)
def merged_file_is_no_lora(view: View) -> Iterator[Hit]:
    """A file that is to be merged into the base is no LoRA, or of a kind that can't be merged.

    What it does
    Reads the names of the tensors in the file's header: LoRA, DoRA, LoHa and LoKr can be merged.

    Why is this bad
    The run stops while it loads.

    Bad
    ```json
    {"base_weights": "style.safetensors"}
    ```
    ```files
    style.safetensors: safetensors {"lora_unet_a.oft_blocks": {"shape": [8, 4, 4]}}
    ```

    Good
    ```json
    {"base_weights": "style.safetensors"}
    ```
    ```files
    style.safetensors: safetensors {"lora_unet_a.hada_w1_a": {"shape": [8, 4]}}
    ```
    """
    for name in _files(view):
        path = view.disk.resolve(name)
        header = _header(view, name)
        if header is None:
            if view.disk.is_file(path) and not name.lower().endswith(PICKLED):
                yield Hit(f"{name} is no file whose header can be read", (_KEY,), "give a whole .safetensors file")
        elif header.lora is None or header.lora.network not in KINDS:
            network = header.lora.network if header.lora else None
            what = NETWORKS.get(network or "", "no LoRA")
            yield Hit(f"{name} is {what}, which can't be merged here", (_KEY,), "give a LoRA, DoRA, LoHa or LoKr")


@rule(
    "LL333",
    "merged-file-of-other-family",
    "error",
    reads=(_KEY, "base_model"),
    source=_LOADER,
    sees="disk",
    targets=OURS,
)
def merged_file_of_other_family(view: View) -> Iterator[Hit]:
    """A LoRA that is to be merged was made for another family than the base.

    What it does
    Compares the width of the text features that the LoRA takes with that of the base model.

    Why is this bad
    Its tensors do not fit the layers: the run stops.

    Bad
    ```json
    {"base_weights": "a.safetensors", "base_model": "sd15"}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_attn2_to_k.lora_down.weight": {"shape": [8, 2048]}}
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```

    Good
    ```json
    {"base_weights": "a.safetensors", "base_model": "sd15"}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_attn2_to_k.lora_down.weight": {"shape": [8, 768]}}
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    """
    base = base_header(view)
    for name in _files(view) if base and base.family else ():
        header = _header(view, name)
        made_for = header.family if header and header.lora else None
        if base and base.family and made_for and made_for != base.family:
            made, found = (NAMES.get(family, family) for family in (made_for, base.family))
            message = f"{name} was made for {made}, and the base model is {found}"
            yield Hit(message, (_KEY, "base_model"), "name a LoRA of the base's family")


@rule(
    "LL334",
    "number-of-multipliers",
    "error",
    reads=(_KEY, "base_weights_multiplier"),
    source=_LOADER,
    targets=OURS,
)
def number_of_multipliers(view: View) -> Iterator[Hit]:
    """There are more or fewer multipliers than files to merge.

    What it does
    Counts `base_weights` and `base_weights_multiplier`; a single number is for all files.

    Why is this bad
    It is unclear how strong each file is to be, so the run stops. sd-scripts merges the rest with 1.

    Bad
    ```json
    {"base_weights": ["a.safetensors", "b.safetensors"], "base_weights_multiplier": [0.5]}
    ```

    Good
    ```json
    {"base_weights": ["a.safetensors", "b.safetensors"], "base_weights_multiplier": [0.5, 1.0]}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    b.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```
    """
    try:
        with_multipliers(view.config.base_weights, view.config.base_weights_multiplier)
    except ValueError as error:
        yield Hit(str(error), ("base_weights_multiplier", _KEY), "write one for each file, or one number for all")


@rule(
    "LL335",
    "merged-and-continued",
    "warning",
    reads=(_KEY, "lora_model_for_resume"),
    source=_LOADER,
    targets=OURS,
    sees="disk",
)
def merged_and_continued(view: View) -> Iterator[Hit]:
    """The LoRA that training goes on from is also merged into the base.

    What it does
    Looks for the file of `lora_model_for_resume` among those of `base_weights`.

    Why is this bad
    It counts twice: once in the base, once beside it.

    Bad
    ```json
    {"base_weights": "a.safetensors", "lora_model_for_resume": "a.safetensors"}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors"}
    ```
    """
    start = view.config.lora_model_for_resume
    if start and view.disk.resolve(start) in [view.disk.resolve(name) for name in _files(view)]:
        message = f"{start} is merged into the base and continued as well: it counts twice"
        yield Hit(message, (_KEY, "lora_model_for_resume"), "keep one of the two")
