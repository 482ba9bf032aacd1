"""LL3xx: the LoRA itself."""

from collections.abc import Iterator

from lora_lab.config import scale
from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rates import OPTIMIZER_KEYS, fixed_rate_family
from lora_lab.lint.rule import Hit, View, rule
from lora_lab.lint.rules.base_model import base_header

NARROWEST_LAYER = 320
"""Channels of the narrowest adapted layer of SD 1.x and 2.x (fixtures/lora_modules.json); a rank above adds nothing."""

NARROWEST_OF_SDXL = 640


@rule(
    "LL301",
    "rank-above-layer-width",
    "warning",
    reads=("net_dim", "base_model", "network_type"),
    source="sd-scripts networks/lora.py, layer widths",
)
def rank_above_layer_width(view: View) -> Iterator[Hit]:
    """The rank is higher than the narrowest layers are wide.

    What it does
    Compares `net_dim` with 320, the width of the first blocks of SD 1.x and 2.x; with 640 where the base's header says
    SDXL. A LoKr may have any rank: from half the width of its larger matrix on that matrix is whole, which
    100000 is the custom for.

    Why is this bad
    A correction of a 320 wide layer has rank 320 at most: the rest is memory and disk for nothing.

    Bad
    ```json
    {"net_dim": 512, "alpha": 256}
    ```

    Good
    ```json
    {"net_dim": 32, "alpha": 16}
    ```
    """
    header = base_header(view) if view.disk_view and view.config.net_dim > NARROWEST_LAYER else None
    narrowest = NARROWEST_OF_SDXL if header and header.family == "sdxl" else NARROWEST_LAYER
    if view.config.net_dim > narrowest and view.config.network_type != "lokr":
        message = f"net_dim {view.config.net_dim} is above {narrowest}, the width of the narrowest layers"
        yield Hit(message, ("net_dim",), "8 to 128 is what people use; keep alpha/net_dim when changing it")


@rule(
    "LL302",
    "alpha-zero",
    "info",
    reads=("alpha", "net_dim"),
    source="sd-scripts networks/lora.py LoRAModule",
    idle=("alpha",),
)
def alpha_zero(view: View) -> Iterator[Hit]:
    """Alpha is 0, which means as large as the rank.

    What it does
    Looks for `alpha` 0.

    Why is this bad
    It reads like "off", and is the strongest usual setting: alpha / net_dim becomes 1.

    Bad
    ```json
    {"net_dim": 32, "alpha": 0}
    ```

    Good
    ```json
    {"net_dim": 32, "alpha": 32}
    ```
    """
    if "alpha" in view.given and view.config.alpha == 0:
        dim = view.config.net_dim
        fix = set_to("alpha", dim, safe=True)
        yield Hit(f"alpha 0 means net_dim, here {dim}: the scale is 1", ("alpha",), f"write {dim}, or half of it", fix)


@rule(
    "LL303",
    "alpha-above-rank",
    "warning",
    reads=("alpha", "net_dim", "network_type", "lokr_factor"),
    source="sd-scripts networks/lora.py LoRAModule.scale",
)
def alpha_above_rank(view: View) -> Iterator[Hit]:
    """Alpha is larger than the rank.

    What it does
    Compares `alpha` with `net_dim`; the LoRA's correction is multiplied by alpha / net_dim.

    Why is this bad
    It multiplies the effective learning rate. Often only net_dim was lowered and alpha forgotten.

    Bad
    ```json
    {"net_dim": 8, "alpha": 64}
    ```

    Good
    ```json
    {"net_dim": 8, "alpha": 4}
    ```
    """
    if scale(view.config) > 1:
        source = "" if "alpha" in view.given else " (its default)"
        message = (
            f"alpha {view.config.alpha:g}{source} is above net_dim {view.config.net_dim}: "
            f"the LoRA is scaled by {scale(view.config):.3g}"
        )
        yield Hit(message, ("alpha", "net_dim"), f"use {max(view.config.net_dim // 2, 1)} to {view.config.net_dim}")


@rule(
    "LL304",
    "alpha-far-below-rank",
    "warning",
    reads=("alpha", "net_dim", "network_type", "lokr_factor", *OPTIMIZER_KEYS),
    source="https://github.com/kohya-ss/sd-scripts/issues/98",
)
def alpha_far_below_rank(view: View) -> Iterator[Hit]:
    """Alpha is tiny against the rank, and the learning rate does not make up for it.

    What it does
    Looks for alpha / net_dim of 1/32 and less with an AdamW learning rate of 2e-4 and less.

    Why is this bad
    1 is the default of sd-scripts, which with net_dim 128 scales the LoRA by 1/128: it has almost no effect.

    Bad
    ```json
    {"net_dim": 128, "alpha": 1, "learning_rate": 1e-4}
    ```

    Good
    ```json
    {"net_dim": 128, "alpha": 64, "learning_rate": 1e-4}
    ```
    """
    family = fixed_rate_family(view.config)
    if family != "adam" or scale(view.config) > 1 / 32:
        return
    rate = view.config.unet_lr if view.config.unet_lr is not None else view.config.learning_rate
    if rate <= 2e-4:
        message = (
            f"alpha {view.config.alpha:g} with net_dim {view.config.net_dim} scales the LoRA by "
            f"1/{1 / scale(view.config):.0f}: at learning rate {rate:g} it has almost no effect"
        )
        yield Hit(message, ("alpha", "net_dim"), f"use alpha {view.config.net_dim // 2}, or a higher learning rate")


@rule("LL305", "nothing-to-train", "error", reads=("unet_only", "text_only"), source="sd-scripts train_network.py")
def nothing_to_train(view: View) -> Iterator[Hit]:
    """U-Net and text encoder are both left out.

    What it does
    Looks for `unet_only` together with `text_only`.

    Why is this bad
    Each leaves out what the other trains, so the optimizer has no parameters.

    Bad
    ```json
    {"unet_only": true, "text_only": true}
    ```

    Good
    ```json
    {"unet_only": true}
    ```
    """
    if view.config.unet_only and view.config.text_only:
        message = "unet_only and text_only together leave nothing to train"
        fix = removed("text_only", safe=False)
        yield Hit(message, ("text_only", "unet_only"), "remove one of them; leave out both to train both parts", fix)


@rule(
    "LL306",
    "learning-rate-of-frozen-part",
    "warning",
    reads=("unet_only", "text_only", "unet_lr", "text_encoder_lr"),
    source="sd-scripts train_network.py",
    idle=("text_encoder_lr", "unet_lr"),
)
def learning_rate_of_frozen_part(view: View) -> Iterator[Hit]:
    """A part that is not trained has a learning rate.

    What it does
    Looks for `text_encoder_lr` with `unet_only`, and for `unet_lr` with `text_only`.

    Why is this bad
    It has no effect. Perhaps the switch was forgotten, and the part was to be trained.

    Bad
    ```json
    {"unet_only": true, "text_encoder_lr": 5e-5}
    ```

    Good
    ```json
    {"unet_only": true, "unet_lr": 1e-4}
    ```
    """
    config = view.config
    for key, switch in (("text_encoder_lr", "unet_only"), ("unet_lr", "text_only")):
        frozen = config.unet_only if switch == "unet_only" else config.text_only
        if key in view.given and frozen and not (config.unet_only and config.text_only):
            message = f"{key} has no effect with {switch}"
            yield Hit(message, (key, switch), f"leave it out, or set {switch} to false", removed(key))


@rule("LL307", "text-encoder-alone", "info", reads=("text_only", "unet_only"), source="sd-scripts train_network.py")
def text_encoder_alone(view: View) -> Iterator[Hit]:
    """Only the text encoder is trained.

    What it does
    Looks for `text_only`.

    Why is this bad
    It is not the fast training without pictures that it is often taken for: pictures and U-Net are used all the same,
    and what the U-Net can't draw is not learned.

    Bad
    ```json
    {"text_only": true}
    ```

    Good
    ```json
    {"unet_only": false, "text_only": false}
    ```
    """
    if view.config.text_only and not view.config.unet_only:
        message = "text_only trains no U-Net: new shapes and styles are hardly learned, and no step gets cheaper"
        yield Hit(message, ("text_only",), "leave it out unless that is meant", removed("text_only", safe=False))


@rule(
    "LL308",
    "two-starting-points",
    "warning",
    reads=("lora_model_for_resume", "load_previous_save_state"),
    source="sd-scripts train_network.py train",
    idle=("lora_model_for_resume",),
)
def two_starting_points(view: View) -> Iterator[Hit]:
    """The run starts from a LoRA file and from a saved state.

    What it does
    Looks for `lora_model_for_resume` together with `load_previous_save_state`.

    Why is this bad
    The state holds the weights too and replaces those of the file.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "load_previous_save_state": "a-state"}
    ```

    Good
    ```json
    {"load_previous_save_state": "a-state"}
    ```
    """
    keys = ("lora_model_for_resume", "load_previous_save_state")
    if set(keys) <= view.given:
        message = "lora_model_for_resume is replaced by the weights in load_previous_save_state"
        yield Hit(message, keys, "keep the one that is meant", removed(keys[0]))


@rule(
    "LL309",
    "network-dropout-high",
    "warning",
    reads=("network_dropout", "rank_dropout", "module_dropout"),
    source="sd-scripts networks/lora.py LoRAModule.forward",
)
def network_dropout_high(view: View) -> Iterator[Hit]:
    """Most of the LoRA is switched off in each step.

    What it does
    Looks for `network_dropout`, `rank_dropout` and `module_dropout` above 0.5.

    Why is this bad
    Little is learned, from a noisy loss; 0.1 to 0.3 is what is used against over-fitting.

    Bad
    ```json
    {"network_dropout": 0.9}
    ```

    Good
    ```json
    {"network_dropout": 0.1}
    ```
    """
    for key in ("network_dropout", "rank_dropout", "module_dropout"):
        rate = getattr(view.config, key) or 0.0
        if rate > 0.5:
            yield Hit(f"{key} {rate:g} switches most of the LoRA off in each step", (key,), "use 0.1 to 0.3")
