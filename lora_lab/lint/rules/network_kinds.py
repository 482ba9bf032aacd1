"""LL32x: kinds of networks, convolutions, LoRA+, sizes from a file."""

from collections.abc import Iterator

from lora_lab.config import TrainConfig
from lora_lab.config.blocks import adapts_convolutions
from lora_lab.lint.finding import removed
from lora_lab.lint.rates import family
from lora_lab.lint.rule import OURS, Hit, View, rule

_LORA = "sd-scripts networks/lora.py"
_SIZES = ("net_dim", "alpha", "conv_dim", "conv_alpha")
_OF_LOKR = ("lokr_factor", "decompose_both")
_KINDS = (*_OF_LOKR, "use_tucker", "network_dropout")
_BLOCK_SIZES = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
_BLOCK_WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_BLOCKS = (*_BLOCK_SIZES, *_BLOCK_WEIGHTS, "block_lr_zero_threshold")
_RATIOS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")


def _idle(config: TrainConfig) -> Iterator[tuple[str, str, str]]:
    """Yield each key that has no effect, with the key that is to blame and the words for it."""
    yield from _idle_sizes(config)
    if not adapts_convolutions(config) and not config.dim_from_weights:
        yield "use_tucker", "conv_dim", "without conv_dim"
    if not config.base_weights:
        yield "base_weights_multiplier", "base_weights", "without base_weights"
    if config.network_type != "lokr":
        yield from ((key, "network_type", f"on a {config.network_type}") for key in _OF_LOKR)
    if config.network_type != "lora":
        yield "network_dropout", "network_type", f"on a {config.network_type}"
    if config.text_only:
        yield from ((key, "text_only", "with text_only") for key in ("loraplus_unet_lr_ratio", *_BLOCKS))
    if config.unet_only:
        yield "loraplus_text_encoder_lr_ratio", "unet_only", "with unet_only"


def _idle_sizes(config: TrainConfig) -> Iterator[tuple[str, str, str]]:
    """Yield the ranks, alphas and weights among them."""
    if config.dim_from_weights and config.lora_model_for_resume:
        yield from ((key, "dim_from_weights", "with dim_from_weights") for key in (*_SIZES, *_BLOCK_SIZES))
    elif config.conv_block_dims is not None:
        yield "conv_dim", "conv_block_dims", "beside conv_block_dims"
        if config.conv_block_alphas is not None:
            yield "conv_alpha", "conv_block_alphas", "beside conv_block_alphas"
    elif config.conv_dim is None:
        yield from ((key, "conv_dim", "without conv_dim") for key in ("conv_alpha", "conv_block_alphas"))
    if all(getattr(config, key) is None for key in _BLOCK_WEIGHTS):
        yield "block_lr_zero_threshold", "down_lr_weight", "without a weight of blocks"


@rule(
    "LL321",
    "network-setting-without-effect",
    "warning",
    reads=(
        *(*_SIZES, *_RATIOS[1:], *_KINDS, *_BLOCKS),
        *(
            "base_weights",
            "base_weights_multiplier",
            "network_type",
            "dim_from_weights",
            "lora_model_for_resume",
            "text_only",
            "unet_only",
        ),
    ),
    source=f"{_LORA} create_network, create_network_from_weights",
    idle=(*_SIZES, *_RATIOS[1:], *_KINDS, *_BLOCKS, "base_weights_multiplier"),
    targets=OURS,
)
def network_setting_without_effect(view: View) -> Iterator[Hit]:
    """A setting of the network has no effect beside another one.

    What it does
    Looks for `conv_alpha` without `conv_dim`, for sizes beside `dim_from_weights`, which takes them from the file, for
    the LoRA+ ratio of a part that is not trained, for LoKr's settings on another network, for `network_dropout` on a
    LoHa or LoKr, which have nothing between two matrices to drop, and for what blocks are given where nothing reads it.

    Why is this bad
    Either it can go, or what it belongs to was forgotten.

    Bad
    ```json
    {"conv_alpha": 4}
    ```

    Good
    ```json
    {"conv_alpha": 4, "conv_dim": 8}
    ```
    """
    for key, other, words in _idle(view.config):
        off = key in (*_KINDS, *_BLOCKS) and getattr(view.config, key) in (None, 0, False, -1)
        if key in view.given and not off:
            yield Hit(f"{key} has no effect {words}", (key, other), "leave it out", removed(key))


@rule(
    "LL322",
    "loraplus-with-adaptive-optimizer",
    "error",
    reads=(*_RATIOS, "optimizer_type", "use_8bit_adam"),
    source=f"{_LORA} prepare_optimizer_params; prodigyopt",
    targets=OURS,
)
def loraplus_with_adaptive_optimizer(view: View) -> Iterator[Hit]:
    """LoRA+ wants two learning rates, and the optimizer finds one.

    What it does
    Looks for a LoRA+ ratio with Prodigy and D-Adaptation.

    Why is this bad
    They estimate one step size for all matrices and refuse two rates, so the run ends at its start.

    Bad
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1.0, "loraplus_lr_ratio": 16}
    ```

    Good
    ```json
    {"optimizer_type": "AdamW", "learning_rate": 5e-5, "loraplus_lr_ratio": 16}
    ```
    """
    asked = [key for key in _RATIOS if getattr(view.config, key) not in (None, 1.0)]
    if asked and family(view.config) == "adaptive":
        message = f"{asked[0]} asks for two rates, and {view.config.optimizer_type} finds one for all"
        fix = removed(*asked, safe=False)
        yield Hit(message, (asked[0], "optimizer_type"), "leave it out, or use AdamW", fix)


@rule(
    "LL323",
    "dim-from-nowhere",
    "error",
    reads=("dim_from_weights", "lora_model_for_resume"),
    source=f"{_LORA} create_network_from_weights",
    targets=OURS,
)
def dim_from_nowhere(view: View) -> Iterator[Hit]:
    """Rank and alpha are to come from a file, and none is named.

    What it does
    Looks for `dim_from_weights` without `lora_model_for_resume`.

    Why is this bad
    The run stops at its start.

    Bad
    ```json
    {"dim_from_weights": true}
    ```

    Good
    ```json
    {"dim_from_weights": true, "lora_model_for_resume": "before.safetensors"}
    ```
    """
    if view.config.dim_from_weights and not view.config.lora_model_for_resume:
        message = "dim_from_weights has no file to take rank and alpha from"
        remedy = "name it in lora_model_for_resume, or leave dim_from_weights out"
        yield Hit(
            message, ("dim_from_weights", "lora_model_for_resume"), remedy, removed("dim_from_weights", safe=False)
        )


@rule(
    "LL324",
    "dora-cost",
    "info",
    reads=("use_dora",),
    source="peft docs, lora developer guide; lora_lab/train/pack.py",
    targets=OURS,
)
def dora_cost(view: View) -> Iterator[Hit]:
    """DoRA makes every step slower.

    What it does
    Looks for `use_dora`.

    Why is this bad
    Each step makes every layer's whole correction to measure how long its rows are. What it gains over a LoRA is most
    at low ranks: with a high `net_dim` a plain LoRA learns as much in less time.

    Bad
    ```json
    {"use_dora": true}
    ```

    Good
    ```json
    {"use_dora": false, "net_dim": 64, "alpha": 32}
    ```
    """
    if view.config.use_dora:
        message = "use_dora measures every layer's whole weight in each step, which makes it slower"
        yield Hit(message, ("use_dora",), "compare it with a plain LoRA of higher net_dim")
