"""What sd-scripts' settings mean here, whichever file they come in."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from lora_lab.config import BLOCK_ARGS, PARAMETERS
from lora_lab.document.command_text import is_placeholder, is_variable
from lora_lab.document.dialects.draft import Draft, typed
from lora_lab.document.dialects.names import FAMILY_MARKS, FAMILY_SWITCHES, SD_SCRIPTS
from lora_lab.document.dialects.networks import (
    network_of,
    of_blocks,
    put_arguments,
    settle_blocks,
    settle_lycoris,
    settle_merged,
    settle_whole,
)
from lora_lab.document.tree import Item

ASSUMED: Final[Mapping[str, object]] = {
    "net_dim": 4,
    "alpha": 1.0,
    "scheduler": "constant",
    "learning_rate": 2e-6,
    "mixed_precision": "no",
    "save_precision": "float",
    "caption_extension": ".caption",
    "buckets": False,
    "cache_latents": False,
    "max_steps": 1600,
    "num_workers": 8,
}
"""What sd-scripts takes for what is left out, where lora_lab takes something else (library/train_util.py)."""

_OFF_AT_ZERO = frozenset(
    [
        "noise_offset",
        "min_snr_gamma",
        "conv_dim",
        "rank_dropout",
        "module_dropout",
        "loraplus_lr_ratio",
        "loraplus_unet_lr_ratio",
        "loraplus_text_encoder_lr_ratio",
        "adaptive_noise_scale",
        "multires_noise_iterations",
        "ip_noise_gamma",
        "v_pred_like_loss",
        "scale_weight_norms",
        "network_dropout",
        "caption_dropout_every_n_epochs",
        "save_every_n_epochs",
        "save_every_n_steps",
        "save_last_n_epochs",
        "sample_every_n_epochs",
        "sample_every_n_steps",
        "lr_warmup_steps",
        "warmup_lr_ratio",
        "max_steps",
        "num_epochs",
    ]
)
"""Our keys whose 0 says in sd-scripts "not set"."""

_REFINES = {
    "noise_offset_type": "multires_noise_iterations",
}
"""Settings that do nothing unless another one is set."""

_NETWORKS = ("network_module", "LoRA_type", "algo")
_SCHEDULES = ("adafactor", "inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay", "piecewise_constant")


def _is_others(name: str, value: object) -> bool:
    """Say whether a schedule or optimizer is one that sd-scripts or a fork has and lora_lab has not."""
    if name == "scheduler":
        return value in _SCHEDULES or (isinstance(value, str) and "(" in value)
    return name == "optimizer_type" and isinstance(value, str) and value.endswith(("_adv", "_Advanced"))


def take(draft: Draft, item: Item, names: Mapping[str, str] = SD_SCRIPTS) -> None:
    """Put one setting of sd-scripts into the draft, or note that it has no counterpart."""
    name = names.get(item.key)
    value = item.value
    if name is None:
        _without_counterpart(draft, item)
    elif any(map(is_variable if draft.tree.form == "command" else is_placeholder, _parts_of(value))):
        draft.leave_open(name, item)
    elif value is False and PARAMETERS[name].kind is not bool:
        draft.put(name, item, None)  # what is false is not set, whatever the type
    elif _is_others(name, value):
        draft.drop(item, "lora_lab does not have it")
        draft.leave_open(name, item)
    elif value == "" or (name in _OFF_AT_ZERO and not isinstance(value, bool) and value in (0, "0")):
        draft.put(name, item, None)
    else:
        draft.put(name, item, _converted(name, value))


def _parts_of(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def settle(draft: Draft, *, script: str = "") -> None:
    """Resolve what depends on more than one setting, as sd-scripts does."""
    draft.dropped = [replace(one, asks=one.asks and not _hangs_idle(draft, one.key)) for one in draft.dropped]
    _warm_up(draft)
    _parts(draft)
    _length(draft)
    _network(draft)
    _family(draft, script)


def _hangs_idle(draft: Draft, key: str) -> bool:
    """Say whether a setting does nothing because the one that it refines is off."""
    of = _REFINES.get(key)
    if of is None:
        return False
    set_here = draft.value(of) not in (None, 0, "l2")
    return not set_here and not any(one.key == of and one.asks for one in draft.dropped)


def _family(draft: Draft, script: str) -> None:
    """Note the base model's family where the settings tell."""
    switch = next((d.value for d in draft.dropped if d.key == "sdxl"), None)
    if switch is True or script.startswith("sdxl_"):
        draft.family = "sdxl"
    elif switch is False or script == "train_network":
        draft.family = "sd"
    family = next((d.key for d in draft.dropped if d.key in FAMILY_MARKS and d.asks), None)
    foreign = script.endswith("_train_network") and not script.startswith(("sdxl_", "sd_"))
    if foreign or family or any(note.startswith("it is for") for note in draft.notes):
        draft.family = "other"
    if foreign or family:
        why = f"{script}.py" if foreign else family
        draft.notes.append(f"{why} says that the base is none of SD 1, SD 2 and SDXL, which is what lora_lab trains")


def defaults_for(draft: Draft) -> dict[str, object]:
    """Return what sd-scripts takes for what the file leaves out."""
    found = dict(ASSUMED)
    if draft.value("num_epochs") is not None or "num_epochs" in draft.unknown or "max_steps" in draft.unknown:
        del found["max_steps"]
    rated = draft.unknown.union(name for name in ("unet_lr", "text_encoder_lr") if draft.value(name) is not None)
    if {"unet_lr", "text_encoder_lr"} <= rated or ("unet_lr" in rated and draft.value("unet_only")):
        del found["learning_rate"]
    if draft.value("cache_latents_to_disk") and draft.value("cache_latents") is None:
        found["cache_latents"] = True  # sd-scripts verify_training_args
    return found


def _converted(name: str, value: object) -> object:
    """Return the value in our terms."""
    if name == "train_resolution":
        return resolution(value)
    if name in ("text_encoder_lr", "unet_lr") and isinstance(value, list):
        return _first_rate(value)
    if name == "optimizer_args":
        return arguments(value)
    if name == "clip_skip" and value == 0:
        return None
    if name == "base_weights_multiplier":
        return [of_blocks(one) for one in value] if isinstance(value, list) else of_blocks(value)
    return of_blocks(value) if name in BLOCK_ARGS else value


def resolution(value: object) -> object:
    """Return "512,768", "512" or [512, 768] as lora_lab takes it."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        return value[0] if len(value) == 2 and value[0] == value[1] and isinstance(value[0], int) else value
    if not isinstance(value, str):
        return value
    sides = re.findall(r"[0-9]{1,5}", value) if re.fullmatch(r"\s*[0-9]{1,5}\s*([,x]\s*[0-9]{1,5}\s*)?", value) else []
    if not sides:
        return value
    width, height = int(sides[0]), int(sides[-1])
    return width if width == height else f"{width},{height}"


def arguments(value: object) -> object:
    """Return `key=value` texts of a list, an object, or one text with quoted pairs."""
    if isinstance(value, str):
        try:
            return shlex.split(value) or None
        except ValueError:
            return value
    if isinstance(value, list) and not value:
        return None
    return value


def _first_rate(value: list[object]) -> object:
    """Return the first rate of a list; two text encoders may have two, lora_lab has one for both."""
    return typed("text_encoder_lr", value[0]) if value else None


def _without_counterpart(draft: Draft, item: Item) -> None:
    """Drop a setting; a family switch says nothing that the base model does not say."""
    if item.key in FAMILY_SWITCHES:
        draft.drop(item, "lora_lab sees the family in the base model", asks=False)
    elif item.key == "network_args":
        _network_arguments(draft, item)
    elif item.key == "network_module" and network_of(draft, _given_arguments(draft)) is None:
        draft.drop(item, _no_such_network(item.value))
    elif item.key == "network_module":
        _network_module(draft, item)
    else:
        draft.drop(item)


def _network_module(draft: Draft, item: Item) -> None:
    """Put the kind of a network that is here; LyCORIS names it in its arguments, if at all."""
    network = network_of(draft, _given_arguments(draft))
    assert network is not None
    if network.kind != "lora" and "network_type" not in draft.entries:
        draft.put("network_type", item, network.kind)
    else:
        draft.drop(item, "lora_lab's own network does the same", asks=False)


def _no_such_network(module: object) -> str:
    return f"lora_lab trains LoRA, LoHa, LoKr and DoRA; {module} does something else"


def _given_arguments(draft: Draft) -> Mapping[str, object] | None:
    """Return the network's arguments, None where they can't be read as such."""
    given = next((item.value for item in draft.tree.items if item.key == "network_args"), [])
    pairs = arguments(given)
    if pairs is None:
        return {}
    if isinstance(pairs, Mapping):
        return {str(key): value for key, value in pairs.items()}
    if isinstance(pairs, list) and all(isinstance(one, str) and "=" in one for one in pairs):
        halves = [one.partition("=") for one in pairs]
        return {key.strip(): text.strip() for key, _, text in halves}
    return None


def _network_arguments(draft: Draft, item: Item) -> None:
    """Put the arguments that are settings here; what is left over has no counterpart."""
    found = _given_arguments(draft)
    network = network_of(draft, found)
    if found is None or network is None:
        draft.drop(item)
        return
    put_arguments(draft, item, found, network)


def _network(draft: Draft) -> None:
    """Resolve what the network takes for what is left out, and say which sizes only another program knows."""
    found = _given_arguments(draft)
    module = next((item for item in draft.tree.items if item.key == "network_module"), None)
    network = network_of(draft, found)
    settle_blocks(draft)
    settle_merged(draft)
    if module is not None and network is not None and network.lycoris:
        settle_whole(draft, module, found or {}, network)
        settle_lycoris(draft, module, (found or {}).get("preset"), ASSUMED)
    if any(d.asks and d.key in _NETWORKS for d in draft.dropped):
        draft.unknown |= {"net_dim", "alpha"} & draft.entries.keys()  # they mean something else in other networks


def _warm_up(draft: Draft) -> None:
    """Turn warm-up steps below 1 into a ratio, as sd-scripts does."""
    steps = draft.value("lr_warmup_steps")
    if isinstance(steps, str) and re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]+)?%", steps.strip()):
        draft.move("lr_warmup_steps", "warmup_lr_ratio", float(steps.strip()[:-1]) / 100)
    elif isinstance(steps, str) and re.fullmatch(r"0?\.[0-9]+", steps):
        draft.move("lr_warmup_steps", "warmup_lr_ratio", float(steps))
    elif isinstance(steps, float) and 0 < steps < 1:
        draft.move("lr_warmup_steps", "warmup_lr_ratio", steps)
    elif isinstance(steps, float) and steps.is_integer():
        draft.change("lr_warmup_steps", int(steps))


def _parts(draft: Draft) -> None:
    """Say with a switch what a learning rate of 0 says: that part is not trained."""
    text, unet = draft.value("text_encoder_lr"), draft.value("unet_lr")
    if _is_zero(text) and not _is_zero(unet):
        _untrained(draft, "text_encoder_lr", "unet_only")
    elif _is_zero(unet) and not _is_zero(text):
        _untrained(draft, "unet_lr", "text_only")


def _untrained(draft: Draft, rate: str, switch: str) -> None:
    if draft.value(switch):
        draft.take_out(rate, f"{switch} says it already", asks=False)
    else:
        draft.entries.pop(switch, None)
        draft.phrases[switch] = f"{draft.spellings[rate]} 0"
        draft.move(rate, switch, True)


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _length(draft: Draft) -> None:
    """Let the epochs win over the steps: in sd-scripts they do, here it is the other way round."""
    if draft.value("num_epochs") is not None and draft.value("max_steps") is not None:
        theirs = draft.spellings["num_epochs"]
        steps = draft.spellings["max_steps"]
        draft.take_out("max_steps", f"{theirs} wins over it in sd-scripts", asks=False)
        draft.notes.append(f"{theirs} wins over {steps} in sd-scripts")
