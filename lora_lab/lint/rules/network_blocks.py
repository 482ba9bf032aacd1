"""LL325 to LL329: what single blocks of the U-Net are given."""

from collections.abc import Iterator

from lora_lab.config import TrainConfig
from lora_lab.config.blocks import (
    OF_SD,
    OF_SDXL,
    SIZES,
    WEIGHTS,
    Counts,
    blocks_of,
    lr_weights,
    uses_blocks,
    wrong_counts,
)
from lora_lab.config.number_lists import is_curve, numbers
from lora_lab.lint.finding import removed
from lora_lab.lint.rates import fixed_rate_family
from lora_lab.lint.rule import OURS, Hit, View, rule
from lora_lab.lint.rules.base_model import base_header

_LORA = "sd-scripts networks/lora.py"
_READS = (*WEIGHTS, *SIZES, "block_lr_zero_threshold", "base_model")


def _family(view: View) -> str | None:
    """Return the base's family where its header tells."""
    header = base_header(view) if view.disk_view and uses_blocks(view.config) else None
    return header.family if header and header.family in ("sd1", "sd2", "sdxl") else None


def _sure(view: View) -> str | None:
    """Return the family by which every list can be read: the base's, else the one that the lists' lengths tell."""
    known = [family for family in (_family(view) or "sd1", "sdxl") if not list(wrong_counts(view.config, family))]
    if _family(view):
        return known[0] if known and known[0] == _family(view) else None
    return known[0] if known else None


@rule(
    "LL325",
    "number-of-block-values",
    "error",
    reads=_READS,
    source=f"{_LORA} get_block_dims_and_alphas, get_block_lr_weight",
    targets=OURS,
)
def number_of_block_values(view: View) -> Iterator[Hit]:
    """A list for the U-Net's blocks has not as many numbers as there are blocks.

    What it does
    Counts the numbers: 12 down, 1 in the middle and 12 up for SD 1 and 2, 9, 3 and 9 for SDXL; ranks and alphas have 25
    and 23. Which base it is, its header says.

    Why is this bad
    It would be unclear which block a number is for, so the run stops. sd-scripts cuts weights off or fills them with 1.

    Bad
    ```json
    {"block_dims": [4, 4, 8, 8]}
    ```

    Good
    ```json
    {"down_lr_weight": "0,0,0,0,1,1,1,1,1,1,1,1", "mid_lr_weight": 1}
    ```
    """
    family = _family(view)
    for key, found, right in wrong_counts(view.config, family):
        wanted = " or ".join(map(str, right))
        what = {"sdxl": " of SDXL", None: ""}.get(family, " of SD 1 and 2")
        yield Hit(f"{key} has {found} numbers, and the blocks{what} are {wanted}", (key,), f"write {wanted} numbers")
    if family is None and not list(wrong_counts(view.config, None)) and _sure(view) is None:
        keys = tuple(key for key in (*WEIGHTS, *SIZES) if _is_list(view.config, key))
        message = f"{' and '.join(keys)} are for different families"
        yield Hit(message, keys, f"{_told(OF_SD, keys)} for SD 1 and 2, or {_told(OF_SDXL, keys)} for SDXL")


def _is_list(config: TrainConfig, key: str) -> bool:
    value = getattr(config, key)
    return value is not None and not is_curve(value)


def _told(counts: Counts, keys: tuple[str, ...]) -> str:
    return ", ".join(str(counts.of(key)) for key in keys)


@rule(
    "LL326",
    "blocks-without-lora",
    "info",
    reads=(*_READS, "unet_only", "text_only", "conv_dim", "dim_from_weights", "lora_model_for_resume"),
    source=f"{_LORA} remove_block_dims_and_alphas",
    targets=OURS,
)
def blocks_without_lora(view: View) -> Iterator[Hit]:
    """A curve of weights, or the threshold, leaves blocks of the U-Net without a LoRA.

    What it does
    Looks for blocks whose weight comes out as 0 though no 0 was written, and for a U-Net of which nothing is left.

    Why is this bad
    sine and linear begin with 0, cosine and reverse_linear end with it: those blocks are not trained a little, but not
    at all.

    Bad
    ```json
    {"up_lr_weight": "sine"}
    ```

    Good
    ```json
    {"up_lr_weight": "sine+0.1"}
    ```
    """
    config, family = view.config, _sure(view)
    if family is None or not uses_blocks(config) or config.text_only or config.dim_from_weights:
        return
    blocks = blocks_of(config, family)
    keys = tuple(key for key in (*WEIGHTS, *SIZES) if key in view.given)
    if blocks and not any(blocks.narrow) and not any(blocks.wide or ()):
        what = "nothing is left to train" if config.unet_only else "of the U-Net nothing is trained"
        message = f"every block has the weight or rank 0: {what}"
        yield Hit(message, keys, "give some block more", severity="error" if config.unet_only else "warning")
        return
    for key, row in _rows(config, family).items():
        value = getattr(config, key)
        written = 0 if value is None or is_curve(value) else numbers(value).count(0.0)
        lost = row.count(0.0) - written
        if lost > 0 and value != "zeros":
            cause = "block_lr_zero_threshold" if config.block_lr_zero_threshold else str(value)
            message = f"{key} leaves {lost} of {len(row)} blocks without a LoRA ({cause})"
            remedy = f'write "{value}+0.1" if they are to be trained a little' if is_curve(value) else "lower it"
            yield Hit(message, (key,), remedy)


def _rows(config: TrainConfig, family: str) -> dict[str, tuple[float, ...]]:
    """Return the weights of each key that is set."""
    counts = OF_SDXL if family == "sdxl" else OF_SD
    weights, found = list(lr_weights(config, family)), {}
    start = 1 if family == "sdxl" else 0
    for key in WEIGHTS:
        found[key] = tuple(weights[start : start + counts.of(key)])
        start += counts.of(key)
    return {key: row for key, row in found.items() if getattr(config, key) is not None}


@rule(
    "LL327",
    "block-rates-with-adaptive-optimizer",
    "error",
    reads=(*_READS, "optimizer_type", "use_8bit_adam", "optimizer_args", "text_only"),
    source=f"{_LORA} prepare_optimizer_params; prodigyopt; lora_lab/train/optimizer.py",
    targets=OURS,
)
def block_rates_with_adaptive_optimizer(view: View) -> Iterator[Hit]:
    """The blocks have learning rates of their own, and the optimizer finds one for all.

    What it does
    Looks for weights of blocks beside Prodigy, D-Adaptation, and AdaFactor with its `relative_step`.

    Why is this bad
    The first two refuse several rates, the last takes none from outside: the run ends at its start. Weights of 0 and 1
    alone work with all of them, as they only say which blocks have a LoRA.

    Bad
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1.0, "down_lr_weight": "cosine+0.2"}
    ```

    Good
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1.0, "down_lr_weight": "zeros"}
    ```
    """
    family = _sure(view)
    if family is None or fixed_rate_family(view.config) != "adaptive" or view.config.text_only:
        return
    if set(lr_weights(view.config, family)) - {0.0, 1.0}:
        keys = tuple(key for key in WEIGHTS if key in view.given)
        message = f"{keys[0]} asks for several rates, and {view.config.optimizer_type} finds one for all"
        yield Hit(message, (*keys, "optimizer_type"), "leave it out, or use AdamW", removed(*keys, safe=False))


@rule(
    "LL328",
    "alpha-above-rank-of-block",
    "warning",
    reads=(*_READS, "alpha", "net_dim", "conv_dim", "conv_alpha", "network_type", "dim_from_weights", "text_only"),
    source=f"{_LORA} get_block_dims_and_alphas",
    targets=OURS,
)
def alpha_above_rank_of_block(view: View) -> Iterator[Hit]:
    """Alpha is above the rank of a block.

    What it does
    Compares the rank of each block with its alpha, which is `alpha` where `block_alphas` is left out.

    Why is this bad
    The block's correction is multiplied by alpha / rank: a block of a lower rank than the others learns much faster,
    which is hardly what was meant.

    Bad
    ```json
    {"block_dims": "4,4,4,4,4,4,4,4,4,4,4,4,32,32,32,32,32,32,32,32,32,32,32,32,32", "alpha": 16}
    ```

    Good
    ```json
    {"block_dims": "4,4,4,4,4,4,4,4,4,4,4,4,8,8,8,8,8,8,8,8,8,8,8,8,8", "alpha": 4}
    ```
    """
    config, family = view.config, _sure(view)
    if family is None or config.dim_from_weights or config.text_only or config.network_type == "lokr":
        return
    blocks = blocks_of(config, family)
    for key, alphas, rows in (
        ("block_dims", "block_alphas", blocks.narrow if blocks else ()),
        ("conv_block_dims", "conv_block_alphas", (blocks.wide if blocks else None) or ()),
    ):
        worst = max((size for size in rows if size), key=lambda size: size.alpha / size.rank, default=None)
        given = key in view.given or alphas in view.given
        if worst is not None and given and worst.alpha > worst.rank:
            message = (
                f"a block of rank {worst.rank} has alpha {worst.alpha:g}: it is scaled by "
                f"{worst.alpha / worst.rank:.3g}"
            )
            yield Hit(message, (key, alphas), f"write {alphas}, half of each rank to all of it")


@rule(
    "LL329",
    "resume-blocks-mismatch",
    "error",
    reads=(*_READS, "lora_model_for_resume", "dim_from_weights", "text_only", "net_dim", "alpha"),
    source="lora_lab/train/lora_file.py load_into",
    sees="disk",
    targets=OURS,
)
def resume_blocks_mismatch(view: View) -> Iterator[Hit]:
    """The LoRA to start from has blocks that this run gives none.

    What it does
    Compares the blocks of the U-Net in the file with those whose weight and rank are above 0.

    Why is this bad
    The run stops: what the file has of those blocks would be lost. sd-scripts loses it.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8, "unet_only": true, "down_lr_weight": "zeros"}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": {"shape": [8, 4]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8, "unet_only": true, "mid_lr_weight": 0}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": {"shape": [8, 4]}}
    ```
    """
    config, family = view.config, _sure(view)
    if family is None or not config.lora_model_for_resume or config.dim_from_weights or config.text_only:
        return
    header = view.disk.model(view.disk.resolve(config.lora_model_for_resume))
    blocks = blocks_of(config, family)
    if header is None or header.lora is None or blocks is None:
        return
    lost = sorted(number for number in header.lora.blocks if blocks.narrow[number] is None)
    if lost:
        keys = tuple(key for key in (*WEIGHTS, *SIZES) if key in view.given)
        which = f"block {lost[0]}" if len(lost) == 1 else f"{len(lost)} blocks, the first of them {lost[0]},"
        message = f"the LoRA to start from has {which} of the U-Net, of which this run makes none"
        yield Hit(message, ("lora_model_for_resume", *keys), "give them more than 0, or set dim_from_weights to true")
