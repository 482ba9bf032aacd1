"""LL35x: the network that sd-scripts builds."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from lora_lab.lint.rule import THEIRS, Hit, View, rule
from lora_lab.lint.theirs import Theirs

_theirs = partial(rule, reads=(), sees="theirs", targets=THEIRS)
_LORA = "sd-scripts lora.py"


def _plain_lora(theirs: Theirs) -> bool:
    """Say whether the network is networks.lora."""
    return (
        theirs.word("network_module").removeprefix("sd_scripts.") in ("", "networks.lora")
        and not theirs.gui
        and not theirs.on("lyco")
    )


@_theirs("LL350", "default-rank", "warning", source=f"{_LORA} create_network")
def default_rank(view: View) -> Iterator[Hit]:
    """No rank is set, and it is 4 then.

    What it does
    Looks for a run of `networks.lora` without `network_dim`.

    Why is this bad
    It is smaller than nearly every guide means, and the file does not show it.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    network_module = "networks.lora"
    learning_rate = 1e-4
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    network_module = "networks.lora"
    network_dim = 16
    network_alpha = 8
    learning_rate = 1e-4
    ```
    """
    theirs = view.theirs
    known = ("network_dim", "dim_from_weights")
    lora = theirs.word("network_module") in ("networks.lora", "sd_scripts.networks.lora")
    if theirs.whole and lora and theirs.dialect not in ("own", "kohya-gui") and not any(map(theirs.has, known)):
        yield theirs.hit("network_dim is not set: the rank is 4", ("network_module",), "set network_dim, say to 16")


@_theirs("LL351", "default-alpha", "warning", source=f"{_LORA}; sd-scripts #98, kohya_ss #1919, #386")
def default_alpha(view: View) -> Iterator[Hit]:
    """No alpha is set, and it is 1 then, whatever the rank is.

    What it does
    Looks for `network_dim` of 8 and more without `network_alpha`.

    Why is this bad
    The update is multiplied by alpha/rank, so with rank 128 the LoRA has almost no effect.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    network_dim = 128
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    network_dim = 128
    network_alpha = 64
    ```
    """
    theirs = view.theirs
    rank = theirs.number("network_dim")
    if not rank or rank < 8 or rank > 10000 or theirs.has("network_alpha") or theirs.dialect == "own":
        return
    if theirs.part in ("dataset", "some") or theirs.has("config_file") or not _plain_lora(theirs):
        return
    message = f"{theirs.key('network_alpha')} is not set, so it is 1: the LoRA counts 1/{rank:g} of what it learns"
    yield theirs.hit(message, ("network_dim",), f"set network_alpha, say to {rank / 2:g}")


@_theirs("LL352", "dims-from-nowhere", "error", source=f"{_LORA} create_network_from_weights")
def dims_from_nowhere(view: View) -> Iterator[Hit]:
    """`dim_from_weights` has no file to take the rank from, or hides other settings.

    What it does
    Looks for it without `network_weights`, and beside `network_dim`, `network_alpha` and `network_dropout`.

    Why is this bad
    Without a file sd-scripts stops; with one, rank, alpha and dropout of the config are ignored.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    dim_from_weights = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    dim_from_weights = true
    network_weights = "before.safetensors"
    ```
    """
    theirs = view.theirs
    if theirs.get("dim_from_weights") is not True:
        return
    if not theirs.get("network_weights"):
        if not theirs.gui:
            yield theirs.hit(
                "dim_from_weights without network_weights: sd-scripts stops", ("dim_from_weights",), "name the file"
            )
        return
    lost = [name for name in ("network_dim", "network_alpha", "network_dropout") if theirs.on(name)]
    if lost and not theirs.gui:
        names = ", ".join(map(theirs.key, lost))
        yield theirs.hit(
            f"ignored, because dim_from_weights reads it from the file: {names}",
            (*lost, "dim_from_weights"),
            "take it out",
            "warning",
        )


@_theirs("LL353", "conv-alpha-missing", "warning", source=f"{_LORA} create_network")
def conv_alpha_missing(view: View) -> Iterator[Hit]:
    """`conv_dim` is set without `conv_alpha`, which is 1 then.

    What it does
    Looks in `network_args` of `networks.lora` for `conv_dim` of 4 and more alone.

    Why is this bad
    What the convolutions learn is divided by `conv_dim`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["conv_dim=32"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["conv_dim=32", "conv_alpha=16"]
    ```
    """
    given = view.theirs.arguments("network_args")
    size = given.get("conv_dim", "")
    if size.isdigit() and int(size) >= 4 and "conv_alpha" not in given and _plain_lora(view.theirs):
        message = f"conv_dim {size} without conv_alpha, which is 1: the convolutions count 1/{size}"
        yield view.theirs.hit(message, ("network_args",), "add conv_alpha")


_LENGTHS: Final = {
    "block_dims": (25, 23),
    "block_alphas": (25, 23),
    "conv_block_dims": (25, 23),
    "conv_block_alphas": (25, 23),
    "down_lr_weight": (12, 9),
    "up_lr_weight": (12, 9),
    "mid_lr_weight": (1, 3),
}
"""How many numbers each list of blocks has for SD 1 and 2, and for SDXL."""


@_theirs("LL354", "number-of-blocks", "error", source=f"{_LORA} get_block_dims_and_alphas, get_block_lr_weight")
def number_of_blocks(view: View) -> Iterator[Hit]:
    """A list of blocks has not as many numbers as there are blocks.

    What it does
    Counts the numbers in `block_dims`, `block_alphas`, `down_lr_weight` and the like.

    Why is this bad
    sd-scripts stops at dims; weights that are too many are cut off, and missing ones are 1.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["block_dims=4,4,4,4"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["down_lr_weight=0,0,0,1,1,1,1,1,1,1,1,1"]
    ```
    """
    theirs = view.theirs
    if not _plain_lora(theirs):
        return
    for key, text in theirs.arguments("network_args").items():
        counts = _LENGTHS.get(key)
        if counts is None or not re.fullmatch(r"[\s\d.,]+", text):
            continue
        allowed = {"sd": counts[:1], "sdxl": counts[1:]}.get(theirs.family, counts)
        count = len(text.strip().strip(",").split(","))
        if count not in allowed:
            dims = "dims" in key or "alphas" in key
            does = "sd-scripts stops" if dims else "the rest is 1 or cut off"
            wanted = " or ".join(map(str, allowed))
            message = f"{key} has {count} numbers where {wanted} blocks are: {does}"
            yield theirs.hit(message, ("network_args",), f"write {wanted} numbers", None if dims else "warning")


_ARGUMENTS: Final = frozenset(
    [
        *("conv_dim", "conv_alpha", "dropout", "rank_dropout", "module_dropout", "block_dims", "block_alphas"),
        *("conv_block_dims", "conv_block_alphas", "down_lr_weight", "mid_lr_weight", "up_lr_weight"),
        *("block_lr_zero_threshold", "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "verbose"),
        *("loraplus_text_encoder_lr_ratio", "varbose", "network_reg_alphas", "network_reg_dims", "reg_dims"),
    ]
)
_LYCORIS: Final = frozenset(
    [
        *("algo", "preset", "factor", "decompose_both", "use_tucker", "use_cp", "dora_wd", "train_norm"),
        *("use_scalar", "rescaled", "constraint", "bypass_mode", "rank_dropout_scale", "full_matrix", "wd_on_output"),
    ]
)


@_theirs("LL355", "argument-of-another-network", "warning", source=f"{_LORA} create_network; kohya_ss #2326")
def argument_of_another_network(view: View) -> Iterator[Hit]:
    """`network_args` holds what the plain LoRA does not know.

    What it does
    Looks for arguments of LyCORIS (`algo`, `preset`, `factor`) and for slips of the hand with `networks.lora`.

    Why is this bad
    They are ignored in silence: the LoCon or LoHa that was chosen is a plain LoRA.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_module = "networks.lora"
    network_args = ["algo=loha", "conv_dim=8", "conv_alpha=4"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_module = "lycoris.kohya"
    network_args = ["algo=loha", "conv_dim=8", "conv_alpha=4"]
    ```
    """
    theirs = view.theirs
    if not theirs.on("network_module") or not _plain_lora(theirs) or theirs.family == "other":
        return
    if theirs.dialect == "mixed":
        return  # its [network_args] holds the network's own settings too
    for key in theirs.arguments("network_args"):
        if key in _LYCORIS:
            message = f"{key} is ignored: {theirs.word('network_module')} is a plain LoRA"
            yield theirs.hit(message, ("network_args", "network_module"), 'set network_module to "lycoris.kohya"')
        elif key not in _ARGUMENTS:
            yield theirs.hit(
                f"{key} is no argument of networks.lora: it is ignored", ("network_args",), "check its name"
            )


@_theirs("LL356", "dropout-of-everything", "error", source=f"{_LORA} forward")
def dropout_of_everything(view: View) -> Iterator[Hit]:
    """A dropout of the network is 1, so nothing learns.

    What it does
    Looks for `rank_dropout` and `module_dropout` of 1 and more.

    Why is this bad
    Nothing is left to learn; with `rank_dropout` the run stops at a division by 0.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["module_dropout=1"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["module_dropout=0.1"]
    ```
    """
    theirs = view.theirs
    inner = theirs.arguments("network_args")
    for name in ("rank_dropout", "module_dropout"):
        value = theirs.number(name)
        text = inner.get(name, "")
        if value is None and re.fullmatch(r"\d+(\.\d+)?", text):
            value = float(text)
        if value is not None and value >= 1:
            yield theirs.hit(f"{name} {value:g} leaves nothing to learn", (name, "network_args"), "use about 0.1")


@_theirs("LL357", "dylora-unit", "error", source="sd-scripts dylora.py")
def dylora_unit(view: View) -> Iterator[Hit]:
    """A DyLoRA's rank is no multiple of its unit.

    What it does
    Divides `network_dim` by `unit` in `network_args` of `networks.dylora`.

    Why is this bad
    sd-scripts stops.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_module = "networks.dylora"
    network_dim = 10
    network_args = ["unit=4"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_module = "networks.dylora"
    network_dim = 16
    network_alpha = 8
    network_args = ["unit=4"]
    ```
    """
    theirs = view.theirs
    unit = theirs.arguments("network_args").get("unit", "")
    rank = theirs.number("network_dim")
    if theirs.word("network_module").endswith("dylora") and unit.isdigit() and int(unit) and rank and rank % int(unit):
        yield theirs.hit(
            f"rank {rank:g} is no multiple of unit {unit}: sd-scripts stops",
            ("network_dim",),
            f"use a multiple of {unit}",
        )


@_theirs("LL358", "multipliers-missing", "warning", source="sd-scripts train_network.py")
def multipliers_missing(view: View) -> Iterator[Hit]:
    """There are fewer `base_weights_multiplier` than `base_weights`.

    What it does
    Counts both.

    Why is this bad
    The rest are merged with 1.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    base_weights = ["a.safetensors", "b.safetensors"]
    base_weights_multiplier = [0.5]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    base_weights = ["a.safetensors", "b.safetensors"]
    base_weights_multiplier = [0.5, 1.0]
    ```
    """
    files, weights = view.theirs.get("base_weights"), view.theirs.get("base_weights_multiplier")
    if isinstance(files, list) and isinstance(weights, list) and 0 < len(weights) < len(files):
        message = f"{len(files)} base_weights and {len(weights)} multipliers: the rest are 1"
        yield view.theirs.hit(message, ("base_weights_multiplier",), "write one for each file")


@_theirs(
    "LL359",
    "network-module-of-easy",
    "error",
    source="LoRA_Easy_Training_Scripts c2ffb64 ArgsList.py",
    targets=("sd-scripts",),
)
def network_module_of_easy(view: View) -> Iterator[Hit]:
    """`network_module` starts with `sd_scripts.`, a folder of LoRA Easy Training Scripts.

    What it does
    Looks at the name's beginning.

    Why is this bad
    sd-scripts itself stops: `No module named 'sd_scripts'`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_module = "sd_scripts.networks.lora"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_module = "networks.lora"
    ```
    """
    if view.theirs.word("network_module").startswith("sd_scripts."):
        yield view.theirs.hit(
            "sd-scripts has no folder sd_scripts: it stops", ("network_module",), 'write "networks.lora"'
        )
