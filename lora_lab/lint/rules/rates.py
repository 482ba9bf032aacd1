"""LL40x: learning rates."""

from collections.abc import Iterator

from lora_lab.config import learning_rate_of, scale, trained_parts
from lora_lab.lint.finding import Edit, Fix, removed, set_to
from lora_lab.lint.rates import OPTIMIZER_KEYS, fixed_rate_family, rates_in_use
from lora_lab.lint.rule import OURS, Hit, View, rule

_READS = (*OPTIMIZER_KEYS, "unet_only", "text_only")
_OTHER_KINDS = 4
"""How many times the rate of a LoRA a LoHa or LoKr takes: LyCORIS' author's own preset for LoHa has 2e-3."""
_GET_OPTIMIZER = "sd-scripts library/train_util.py get_optimizer"


@rule(
    "LL401",
    "zero-learning-rate",
    "error",
    reads=("learning_rate", "unet_lr", "text_encoder_lr"),
    source="LoRA_Easy_Training_Scripts d14b240; sd-scripts networks/lora.py",
    sees="raw",
    targets=OURS,
)
def zero_learning_rate(view: View) -> Iterator[Hit]:
    """A learning rate is 0 to leave a part out.

    What it does
    Looks for 0 in the three learning rates.

    Why is this bad
    It does not leave the part out: one old tool trained it with `learning_rate` all the same, another saved a LoRA of
    zeros for it. Here it is refused.

    Bad
    ```json
    {"text_encoder_lr": 0}
    ```

    Good
    ```json
    {"unet_only": true}
    ```
    """
    switches = {"text_encoder_lr": "unet_only", "unet_lr": "text_only"}
    for key in ("learning_rate", "unet_lr", "text_encoder_lr"):
        value = view.values.get(key)
        if isinstance(value, bool) or value not in (0, "0", "0.0"):
            continue
        if key == "learning_rate":
            yield Hit("learning_rate 0 trains nothing", (key,), "1e-4 is usual with AdamW, 1.0 with Prodigy")
            continue
        switch = switches[key]
        edits = (Edit(key, "remove"), Edit(switch, "set", True))
        message = f"{key} 0 does not leave that part out"
        yield Hit(message, (key,), f"remove it and set {switch} to true", Fix(edits, safe=False))


@rule(
    "LL402",
    "learning-rate-too-high",
    "warning",
    reads=("alpha", "net_dim", "network_type", "lokr_factor", *_READS),
    source="https://github.com/bmaltais/kohya_ss/issues/137",
)
def learning_rate_too_high(view: View) -> Iterator[Hit]:
    """A learning rate is far above what the optimizer can take.

    What it does
    Judges each learning rate in use by the optimizer and by alpha / net_dim, which acts as a factor on it. With AdamW
    more than 1e-3 after that factor, or more than 1e-2 before it, is reported; from 0.1 on it is an error. LoHa and
    LoKr take four times as much. Prodigy, D-Adaptation and Adafactor with relative_step are left to LL404.

    Why is this bad
    The pictures turn into noise or "fried" colours, or the loss becomes NaN.

    Bad
    ```json
    {"optimizer_type": "AdamW", "learning_rate": 1.0}
    ```

    Good
    ```json
    {"optimizer_type": "AdamW", "learning_rate": 1e-4}
    ```
    """
    kind = fixed_rate_family(view.config)
    if kind not in {"adam", "lion"}:
        return
    limit, ceiling = (1e-3, 1e-2) if kind == "adam" else (3e-4, 3e-3)
    limit *= 1 if view.config.network_type == "lora" else _OTHER_KINDS
    for key, rate in rates_in_use(view.config, view.given).items():
        if rate * min(scale(view.config), 1.0) <= limit * 1.001 and rate <= ceiling * 1.001:
            continue
        name = view.config.optimizer_type
        message = f"{key} {rate:g} is too high for {name}"
        if rate >= 0.1:
            remedy = f"1.0 is right for Prodigy; {name} wants about {'1e-4' if kind == 'adam' else '2e-5'}"
            yield Hit(message, (key,), remedy, set_to(key, 1e-4 if kind == "adam" else 2e-5), "error")
        else:
            effective = rate * scale(view.config)
            remedy = f"with alpha/net_dim it acts like {effective:.2g}; {limit / 10:g} is usual"
            yield Hit(message, (key,), remedy)


@rule("LL403", "learning-rate-too-low", "warning", reads=_READS, source="sd-scripts docs/train_network.md")
def learning_rate_too_low(view: View) -> Iterator[Hit]:
    """A learning rate is so low that nothing is learned.

    What it does
    Looks for learning rates below 1e-6 with AdamW, below 1e-7 with Lion.

    Why is this bad
    The LoRA hardly differs from none at the end of the run.

    Bad
    ```json
    {"learning_rate": 4e-7}
    ```

    Good
    ```json
    {"learning_rate": 1e-4}
    ```
    """
    limit = {"adam": 1e-6, "lion": 1e-7}.get(fixed_rate_family(view.config), 0.0)
    for key, rate in rates_in_use(view.config, view.given).items():
        if rate < limit:
            yield Hit(f"{key} {rate:g} is so low that hardly anything is learned", (key,), "1e-4 is usual with AdamW")


@rule(
    "LL406",
    "text-encoder-faster-than-unet",
    "warning",
    reads=("unet_lr", "text_encoder_lr", "learning_rate", "unet_only", "text_only"),
    source="sd-scripts docs/train_network.md",
)
def text_encoder_faster_than_unet(view: View) -> Iterator[Hit]:
    """The text encoder learns faster than the U-Net.

    What it does
    Compares `text_encoder_lr` with the U-Net's learning rate.

    Why is this bad
    The text encoder over-fits first; a half to a tenth of the U-Net's rate is usual.

    Bad
    ```json
    {"unet_lr": 1e-4, "text_encoder_lr": 5e-4}
    ```

    Good
    ```json
    {"unet_lr": 1e-4, "text_encoder_lr": 5e-5}
    ```
    """
    config = view.config
    if len(trained_parts(config)) < 2 or "text_encoder_lr" not in view.given:
        return
    text, unet = learning_rate_of(config, "text_encoder"), learning_rate_of(config, "unet")
    if text > unet:
        message = f"text_encoder_lr {text:g} is above the U-Net's {unet:g}"
        yield Hit(message, ("text_encoder_lr", "unet_lr"), f"use {unet / 10:g} to {unet / 2:g}")


@rule(
    "LL409",
    "learning-rate-without-effect",
    "info",
    reads=("learning_rate", "unet_lr", "text_encoder_lr"),
    source="sd-scripts networks/lora.py",
    idle=("learning_rate",),
)
def learning_rate_without_effect(view: View) -> Iterator[Hit]:
    """`learning_rate` has no effect, because both parts have their own.

    What it does
    Looks for a `learning_rate` that differs from `unet_lr` while that and `text_encoder_lr` are set.

    Why is this bad
    Changing it changes nothing, which a sweep over it would show only at its end.

    Bad
    ```json
    {"learning_rate": 3e-4, "unet_lr": 1e-4, "text_encoder_lr": 5e-5}
    ```

    Good
    ```json
    {"unet_lr": 1e-4, "text_encoder_lr": 5e-5}
    ```
    """
    rate = view.config.learning_rate
    if {"learning_rate", "unet_lr", "text_encoder_lr"} <= view.given and rate != view.config.unet_lr:
        message = f"learning_rate {rate:g} has no effect: both parts have their own"
        yield Hit(message, ("learning_rate",), "leave it out", removed("learning_rate"))
