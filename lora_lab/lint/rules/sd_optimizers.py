"""LL45x: learning rates, schedules and optimizers as sd-scripts takes them."""

import ast
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from lora_lab.lint.rule import THEIRS, Hit, View, rule
from lora_lab.lint.theirs import Theirs

_theirs = partial(rule, reads=(), sees="theirs", targets=THEIRS)
_TU = "sd-scripts train_util.py"
_SCHEDULER = f"{_TU} get_scheduler_fix"
_OPTIMIZER = f"{_TU} get_optimizer"


def optimizer_of(theirs: Theirs) -> str:
    """Return the optimizer's name in small letters, "adamw" where none is said."""
    if theirs.on("use_8bit_adam"):
        return "adamw8bit"
    if theirs.varies("optimizer_type"):
        return ""
    return theirs.word("optimizer_type") or theirs.word("optimizer") or "adamw"


def is_adaptive(optimizer: str) -> bool:
    """Say whether an optimizer finds its own learning rate."""
    return optimizer.startswith(("dadapt", "prodigy"))


def warmup_of(theirs: Theirs) -> str:
    """Return the setting that says how long the rate climbs, "" without a warm-up."""
    for name in ("lr_warmup_steps", "lr_warmup", "warmup_lr_ratio"):
        value = theirs.get(name)
        if value not in (None, 0, "0", "0%", False) and not theirs.varies(name):
            return name
    return ""


def is_relative(theirs: Theirs) -> bool:
    """Say whether AdaFactor is to find its own learning rate, as it does unless told not to."""
    return theirs.arguments("optimizer_args").get("relative_step", "true").lower() != "false"


@_theirs("LL450", "no-learning-rate", "error", source=f"{_TU} add_optimizer_arguments")
def no_learning_rate(view: View) -> Iterator[Hit]:
    """No learning rate is set, and the default is 2e-6.

    What it does
    Looks for a run without `learning_rate`, `unet_lr` and `text_encoder_lr`.

    Why is this bad
    2e-6 is for training whole models. A LoRA learns nothing with it, and nothing says so.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    optimizer_type = "AdamW"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    ```
    """
    theirs = view.theirs
    rates = ("learning_rate", "unet_lr", "text_encoder_lr")
    set_to = [name for name in rates if theirs.number(name) or theirs.varies(name)]
    left_to_default = theirs.dialect == "own" and not theirs.has("learning_rate")
    if not theirs.whole or theirs.gui or set_to or left_to_default or theirs.varies("learning_rate"):
        return
    if optimizer_of(theirs) == "adafactor" and is_relative(theirs):
        return
    yield theirs.hit(
        "no learning rate is set: it is 2e-6, at which a LoRA learns nothing", rates, "set learning_rate to 1e-4"
    )


@_theirs("LL451", "warmup-stops-constant", "error", source=f"{_SCHEDULER} 9577a9f3; kohya_ss #1769")
def warmup_stops_constant(view: View) -> Iterator[Hit]:
    """A warm-up is set with the schedule `constant`.

    What it does
    Looks for both; without `lr_scheduler` the schedule is `constant`.

    Why is this bad
    sd-scripts stops: `constant does not require num_warmup_steps`. kohya's GUI leaves the warm-up out and says so in
    its log.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler = "constant"
    lr_warmup_steps = 100
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler = "constant_with_warmup"
    lr_warmup_steps = 100
    ```
    """
    theirs = view.theirs
    name = warmup_of(theirs)
    if not name or theirs.on("lr_scheduler_type") or theirs.varies("lr_scheduler"):
        return
    schedule = theirs.word("lr_scheduler") or ("constant" if theirs.whole and theirs.dialect != "own" else "")
    if schedule != "constant" or optimizer_of(theirs) == "adafactor" or "schedulefree" in optimizer_of(theirs):
        return
    stops = "the GUI leaves it out" if theirs.gui else "sd-scripts stops"
    message = f"{theirs.key(name)} with {theirs.key('lr_scheduler')} constant: {stops}"
    remedy = "use constant_with_warmup, or no warm-up"
    yield theirs.hit(message, (name, "lr_scheduler"), remedy, "warning" if theirs.gui else None)


@_theirs("LL452", "two-schedules", "error", source=_SCHEDULER)
def two_schedules(view: View) -> Iterator[Hit]:
    """`lr_scheduler_type` is set, and a schedule or a warm-up beside it.

    What it does
    Looks for `lr_scheduler` or a warm-up beside a schedule that is given as a class.

    Why is this bad
    `lr_scheduler` is ignored, and with a warm-up sd-scripts stops.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler_type = "CosineAnnealingLR"
    lr_warmup_steps = 100
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler_type = "CosineAnnealingLR"
    lr_scheduler_args = ["T_max=100"]
    ```
    """
    theirs = view.theirs
    if not theirs.on("lr_scheduler_type"):
        return
    warmup = warmup_of(theirs)
    if warmup and not theirs.gui and theirs.dialect != "easy-toml":
        message = f"{theirs.key(warmup)} with lr_scheduler_type: sd-scripts stops"
        yield theirs.hit(message, (warmup, "lr_scheduler_type"), "leave the warm-up out")
    elif theirs.word("lr_scheduler") not in ("", "constant", "cosine"):
        message = f"{theirs.key('lr_scheduler')} is ignored: lr_scheduler_type says the schedule"
        yield theirs.hit(message, ("lr_scheduler", "lr_scheduler_type"), "keep one of the two", "warning")


@_theirs("LL453", "adafactor-schedule-of-another", "error", source=_SCHEDULER)
def adafactor_schedule_of_another(view: View) -> Iterator[Hit]:
    """The schedule `adafactor` goes with another optimizer, or with an AdaFactor of fixed rate.

    What it does
    Looks for `lr_scheduler` adafactor without AdaFactor, or with `relative_step=False`.

    Why is this bad
    sd-scripts stops: the schedule only shows what AdaFactor finds by itself.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler = "adafactor"
    optimizer_type = "AdamW8bit"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler = "adafactor"
    optimizer_type = "AdaFactor"
    ```
    """
    theirs = view.theirs
    if not theirs.word("lr_scheduler").startswith("adafactor") or not optimizer_of(theirs):
        return
    if optimizer_of(theirs) != "adafactor":
        message = f"{theirs.key('lr_scheduler')} adafactor is for the optimizer AdaFactor only: sd-scripts stops"
        yield theirs.hit(message, ("lr_scheduler", "optimizer_type"), "use cosine or constant")
    elif not is_relative(theirs):
        message = f"{theirs.key('lr_scheduler')} adafactor needs relative_step=True: sd-scripts stops"
        yield theirs.hit(message, ("lr_scheduler", "optimizer_args"), "use constant_with_warmup")


@_theirs("LL454", "adafactor-relative-step", "warning", source=f"{_OPTIMIZER}; kohya_ss #617, #565, sd-scripts #342")
def adafactor_relative_step(view: View) -> Iterator[Hit]:
    """AdaFactor finds its own rate, and rates, a schedule or a warm-up are set.

    What it does
    Looks for AdaFactor without `relative_step=False` in `optimizer_args`.

    Why is this bad
    `relative_step` is on by default: `unet_lr` and `text_encoder_lr` are dropped, the schedule becomes `adafactor`, and
    with a warm-up sd-scripts stops, after the latents are cached.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "AdaFactor"
    lr_scheduler = "constant_with_warmup"
    lr_warmup_steps = 100
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "AdaFactor"
    optimizer_args = ["scale_parameter=False", "relative_step=False", "warmup_init=False"]
    lr_scheduler = "constant_with_warmup"
    lr_warmup_steps = 100
    ```
    """
    theirs = view.theirs
    if optimizer_of(theirs) != "adafactor" or not is_relative(theirs):
        return
    warmup = warmup_of(theirs)
    remedy = "add relative_step=False to optimizer_args, with scale_parameter=False and warmup_init=False"
    if warmup:
        message = f"{theirs.key(warmup)} with an AdaFactor that finds its own rate: sd-scripts stops"
        yield theirs.hit(message, (warmup, "optimizer_type"), remedy, "error")
    rates = [name for name in ("unet_lr", "text_encoder_lr") if theirs.number(name)]
    schedule = theirs.word("lr_scheduler")
    if rates or schedule not in ("", "adafactor", "constant"):
        lost = [theirs.key(name) for name in rates]
        lost += [theirs.key("lr_scheduler")] if schedule not in ("", "adafactor", "constant") else []
        message = f"{' and '.join(lost)} {'has' if len(lost) == 1 else 'have'} no effect: AdaFactor finds its own rate"
        yield theirs.hit(message, (*rates, "lr_scheduler", "optimizer_type"), remedy)


@_theirs("LL455", "adaptive-with-loraplus", "error", source="sd-scripts lora.py; docs/train_network_advanced.md")
def adaptive_with_loraplus(view: View) -> Iterator[Hit]:
    """LoRA+ with an optimizer that finds one learning rate for all.

    What it does
    Looks for `loraplus_…_ratio` with Prodigy or D-Adaptation.

    Why is this bad
    LoRA+ needs several learning rates, and these optimizers take one: they stop, or follow the first.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "Prodigy"
    network_args = ["loraplus_lr_ratio=16"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "AdamW8bit"
    network_args = ["loraplus_lr_ratio=16"]
    ```
    """
    theirs = view.theirs
    given = {**{one.key: one.value for one in theirs.every}, **theirs.arguments("network_args")}
    plus = [key for key, value in given.items() if key.startswith("loraplus_") and value not in (None, "", 0, "0", 0.0)]
    if plus and is_adaptive(optimizer_of(theirs)):
        message = f"{plus[0]} needs several learning rates, and {optimizer_of(theirs)} takes one"
        yield theirs.hit(message, (plus[0], "network_args", "optimizer_type"), "leave one of the two out")


@_theirs("LL456", "optimizer-argument-no-value", "error", source=f"{_OPTIMIZER} ast.literal_eval; kohya_ss #2343")
def optimizer_argument_no_value(view: View) -> Iterator[Hit]:
    """An argument of the optimizer is no `key=value` with a Python value.

    What it does
    Looks for `true` for `True`, bare words, items without `=`, several arguments in one text.

    Why is this bad
    sd-scripts reads the value as Python does, and stops: `malformed node or string`, `not enough values to unpack`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "Prodigy"
    optimizer_args = ["decouple=true", "weight_decay=0.01"]
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "Prodigy"
    optimizer_args = ["decouple=True", "weight_decay=0.01"]
    ```
    """
    theirs = view.theirs
    for name in ("optimizer_args", "lr_scheduler_args"):
        for text in _texts(theirs, name):
            wrong = _wrong(text)
            if wrong:
                message = f'{theirs.key(name)} holds "{text[:60]}": {wrong}'
                yield theirs.hit(message, (name,), "write each as key=value, with True and False in capitals")


@_theirs("LL457", "network-argument-no-pair", "error", source="sd-scripts train_network.py; kohya-trainer #130, #111")
def network_argument_no_pair(view: View) -> Iterator[Hit]:
    """`network_args` holds something that is no `key=value`, or is one text.

    What it does
    Looks for items without `=`, and for a text with several pairs where a list belongs.

    Why is this bad
    sd-scripts goes through the text letter by letter and stops: `not enough values to unpack`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = "conv_dim=8 conv_alpha=1"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    network_args = ["conv_dim=8", "conv_alpha=1"]
    ```
    """
    theirs = view.theirs
    for name in ("network_args", "optimizer_args", "lr_scheduler_args"):
        one = theirs.settings.get(name)
        if one is None or theirs.varies(name):
            continue
        if isinstance(one.value, str) and one.value and theirs.dialect in ("sd-scripts", "mixed"):
            message = f"{one.key} is one text: sd-scripts takes it letter by letter and stops"
            yield theirs.hit(message, (name,), 'write a list: ["key=value", "key=value"]')
        elif name == "network_args" and isinstance(one.value, list):
            bad = [
                str(text)
                for text in one.value
                if "=" not in str(text) and re.search(r"\w", str(text)) and not re.match(r"[$<{]", str(text))
            ]
            if bad:
                message = f'{one.key} holds "{bad[0][:60]}", which is no key=value: sd-scripts stops'
                yield theirs.hit(message, (name,), "write key=value")


def _texts(theirs: Theirs, name: str) -> list[str]:
    """Return the single texts of a list of arguments, as sd-scripts gets them."""
    one = theirs.settings.get(name)
    if one is None:
        return []
    if isinstance(one.value, list):
        return [str(text) for text in one.value]
    return [f"{key}={value}" for key, value in theirs.arguments(name).items()] if theirs.gui else []


def _wrong(text: str) -> str:
    """Return what is wrong with one `key=value`, "" if nothing is."""
    if re.search(r"[${<]\w*[}>]?$|\$", text):
        return ""
    if "=" not in text:
        return "it has no ="
    value = text.partition("=")[2]
    if re.search(r"[\s\"']\w+\s*=", value):
        return "several arguments in one text"
    if "=" in value:
        return "it has more than one ="
    try:
        ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        capital = {"true": "True", "false": "False", "none": "None"}.get(value.strip().lower())
        return f"Python writes {capital}" if capital else f"{value[:30]} is no Python value"
    return ""


_UNUSABLE: Final = {
    "reduce_lr_on_plateau": "it needs the loss, which sd-scripts does not give it",
    "cosine_warmup_with_min_lr": "sd-scripts does not give it what it needs",
}
_NEEDED: Final = {"cosine_with_min_lr": "lr_scheduler_min_lr_ratio", "warmup_stable_decay": "lr_decay_steps"}


@_theirs("LL458", "schedule-lacks-argument", "error", source=f"{_SCHEDULER}; transformers optimization.py")
def schedule_lacks_argument(view: View) -> Iterator[Hit]:
    """A schedule lacks the argument that it needs.

    What it does
    Looks for `cosine_with_min_lr` without `lr_scheduler_min_lr_ratio`, `warmup_stable_decay` without `lr_decay_steps`,
    and the schedules that sd-scripts lists but can't start.

    Why is this bad
    The run stops before the first step, or the rate never falls.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler = "cosine_with_min_lr"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    lr_scheduler = "cosine_with_min_lr"
    lr_scheduler_min_lr_ratio = 0.1
    ```
    """
    theirs = view.theirs
    schedule = theirs.word("lr_scheduler")
    needed = _NEEDED.get(schedule)
    if schedule in _UNUSABLE:
        yield theirs.hit(f"{schedule} can't be started: {_UNUSABLE[schedule]}", ("lr_scheduler",), "use cosine")
    elif needed and not theirs.on(needed) and not theirs.arguments("lr_scheduler_args"):
        stops = schedule == "cosine_with_min_lr"
        message = f"{schedule} without {needed}: {'sd-scripts stops' if stops else 'the rate never falls'}"
        yield theirs.hit(message, ("lr_scheduler",), f"set {needed}", "error" if stops else "warning")


@_theirs("LL459", "text-encoder-not-frozen", "warning", source="sd-scripts lora.py assemble_params; Easy d14b240")
def text_encoder_not_frozen(view: View) -> Iterator[Hit]:
    """A learning rate of 0 is to leave a part out.

    What it does
    Looks for `text_encoder_lr` or `unet_lr` 0 without the switch that leaves the part out.

    Why is this bad
    sd-scripts runs the part with gradients all the same and saves its tensors, all 0. The early Easy scripts drop the 0
    and train the part at `learning_rate`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    unet_lr = 1e-4
    text_encoder_lr = 0
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    unet_lr = 1e-4
    network_train_unet_only = true
    ```
    """
    theirs = view.theirs
    pairs = (("text_encoder_lr", "network_train_unet_only"), ("unet_lr", "network_train_text_encoder_only"))
    if theirs.gui or all(theirs.number(rate) == 0 for rate, _ in pairs):
        return
    for rate, switch in pairs:
        if theirs.number(rate) == 0 and not theirs.on(switch):
            dropped = theirs.easy and theirs.dialect == "own"
            does = (
                "the tool drops the 0 and trains it at learning_rate"
                if dropped
                else "it is saved all the same, as zeros"
            )
            message = f"{theirs.key(rate)} 0 does not leave the part out: {does}"
            yield theirs.hit(message, (rate,), f"set {_ours(theirs, switch)}", "error" if dropped else None)


def _ours(theirs: Theirs, switch: str) -> str:
    """Return the switch by the name that the file's keys have."""
    ours = {"network_train_unet_only": "unet_only", "network_train_text_encoder_only": "text_only"}
    return ours[switch] if theirs.dialect == "own" else switch
