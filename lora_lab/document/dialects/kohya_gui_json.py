"""The JSON that kohya's GUI (bmaltais/kohya_ss) saves; guides publish parts of one.

The GUI converts what it loads, so a number in quotes is as good as one without, and an empty text is "not set". Its
`lr_warmup` is a percentage.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from lora_lab.config import BLOCK_ARGS
from lora_lab.document.dialects.draft import Draft, is_idle, typed
from lora_lab.document.dialects.names import GUI_BOXES, KOHYA_GUI, OTHER_FAMILY, theirs
from lora_lab.document.dialects.networks import gui_network, is_preset, is_whole, settle_lycoris
from lora_lab.document.dialects.sd_scripts import ASSUMED as SD_SCRIPTS_ASSUMED
from lora_lab.document.dialects.sd_scripts import arguments, settle, take
from lora_lab.document.document import Document
from lora_lab.document.tree import Item, Tree

NAME = "kohya-gui"
TITLE = "a kohya_ss GUI config"

ASSUMED: Final = {
    "net_dim": 8,
    "alpha": 1.0,
    "num_workers": 0,
    "max_bucket_resolution": 2048,
    "mixed_precision": "fp16",
    "optimizer_type": "AdamW8bit",
}
"""What the GUI's own fields hold before a file is loaded, where lora_lab takes something else."""


def convert(tree: Tree) -> Document:
    """Return the document with the GUI's own conversions done."""
    draft = Draft(tree)
    for item in tree.items:
        _take(draft, item)
    if draft.value("num_epochs") is None:
        _epochs(draft, tree)
    _drop_second_warm_up(draft)
    _drop_other_noise(draft, tree)
    if _is_zero(draft.value("unet_lr")) and _is_zero(draft.value("text_encoder_lr")):
        for name in ("unet_lr", "text_encoder_lr"):
            draft.change(name, None)  # the GUI passes on neither: the main rate counts
    _tabs(draft, tree)
    settle(draft)
    _too_long(draft, tree)
    if draft.value("optimizer_type") and draft.value("use_8bit_adam"):
        draft.take_out("use_8bit_adam", "the GUI looks at the optimizer only", asks=False)
    return draft.document(NAME, TITLE, theirs("sd-scripts") | theirs("kohya_gui"), dict(ASSUMED))


def _take(draft: Draft, item: Item) -> None:
    """Put one key of the GUI's."""
    key, value = item.key, item.value
    if key == "epoch":
        return  # see _epochs
    if key in GUI_BOXES:
        draft.drop(item, "lora_lab sees the family in the base model", asks=False)
    elif key.startswith(_ELSEWHERE) or key == "comment":
        draft.drop(item, "of a part of the GUI that is not about SD or SDXL", asks=False)
    elif key in _READINGS:
        name, read = _READINGS[key]
        draft.put(name, item, read(value))
        if key == "lr_warmup":
            draft.phrases[name] = "lr_warmup/100"
    elif key in KOHYA_GUI:
        name = KOHYA_GUI[key]
        said = name in draft.entries and draft.value(name) is not None  # under another name of the same setting
        if not (said and value in ("", None)):
            take(draft, item._replace(value=typed(name, value)), KOHYA_GUI)
    else:
        take(draft, item, {})


def _xformers(value: object) -> object:
    words = {"xformers": True, "sdpa": False, "none": False}
    return words.get(value.lower(), typed("xformers", value)) if isinstance(value, str) else value


def _ratio(value: object) -> object:
    """Return a percentage as a ratio, None for 0."""
    percent = typed("warmup_lr_ratio", value)
    if isinstance(percent, int | float) and not isinstance(percent, bool):
        if percent >= 100:
            return None  # steps, by mistake: see _too_long
        return round(percent / 100, 6) or None
    return percent or None


def _seed(value: object) -> object:
    """Return the seed; with 0 the GUI leaves it to chance."""
    return None if value in ("", 0, "0") else typed("test_seed", value)


def _timestep(value: object) -> object:
    """Return the largest timestep; the GUI does not pass on a 0."""
    return None if value in ("", 0, "0") else typed("max_timestep", value)


_ELSEWHERE = ("flux1_", "sd3_", "anima_", "hunyuan_", "lumina_", "=====", "_", "//", "#")
_READINGS: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "xformers": ("xformers", _xformers),
    "lr_warmup": ("warmup_lr_ratio", _ratio),
    "caption_extension": ("caption_extension", lambda value: ".caption" if value == "" else value),
    "optimizer_args": ("optimizer_args", arguments),
    "seed": ("test_seed", _seed),
    "max_timestep": ("max_timestep", _timestep),
}
"""Keys with a meaning of their own: our key, and how their value reads."""


def _epochs(draft: Draft, tree: Tree) -> None:
    """Take the number of epochs from `epoch`, which the GUI turns into steps unless steps are set."""
    item = next((item for item in tree.items if item.key == "epoch"), None)
    if item is None:
        return
    epochs = typed("num_epochs", item.value)
    if draft.value("max_steps") is not None and not is_idle("epoch", epochs):
        draft.drop(item, "max_train_steps wins over it in the GUI", asks=False)
    elif not is_idle("epoch", epochs):
        draft.put("num_epochs", item, epochs)


def _drop_second_warm_up(draft: Draft) -> None:
    """Keep one of the two ways to say how long the rate climbs: steps win, where they are set."""
    if draft.value("lr_warmup_steps") is not None:
        draft.take_out("warmup_lr_ratio", "lr_warmup_steps wins over it", asks=False)
    else:
        draft.entries.pop("lr_warmup_steps", None)


_ORIGINAL = ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale")
_MULTIRES = ("multires_noise_iterations", "multires_noise_discount")


def _drop_other_noise(draft: Draft, tree: Tree) -> None:
    """Keep the settings of the kind of noise offset that is chosen: the GUI passes on no others (lora_gui.py)."""
    kind = next((item.value for item in tree.items if item.key == "noise_offset_type"), None)
    if kind is None:
        return
    for name in _ORIGINAL if kind == "Multires" else _MULTIRES:
        draft.take_out(name, f"noise_offset_type is {kind}", asks=False)
    if not draft.value("noise_offset"):
        draft.take_out("adaptive_noise_scale", "the GUI passes it on with noise_offset only", asks=False)


def _tabs(draft: Draft, tree: Tree) -> None:
    """Pass over what other tabs and boxes of the GUI are about: it saves all of its fields, used or not."""
    boxes = [box for box in GUI_BOXES if any(item.key == box and item.value in (True, "true") for item in tree.items)]
    draft.notes += [f"it is for {GUI_BOXES[box]}; lora_lab trains SD 1, SD 2 and SDXL" for box in boxes]
    idle = {"learning_rate_te", "learning_rate_te1", "learning_rate_te2", "weights", "template", "init_word"}
    idle |= set() if boxes else OTHER_FAMILY
    idle |= _network(draft, tree)
    draft.dropped = [replace(one, asks=one.asks and one.key not in idle) for one in draft.dropped]
    inversion = any(item.key in ("token_string", "num_vectors_per_token") and item.value for item in tree.items)
    if inversion and "LoRA_type" not in tree.keys:
        draft.notes.append("it is for textual inversion, which lora_lab does not do")
    elif any(key.startswith("leco_") for key in tree.keys):
        draft.notes.append("it is for LECO, which lora_lab does not do")
    elif "learning_rate_te" in tree.keys and not {"network_dim", "LoRA_type"} & tree.keys:
        draft.notes.append("it is for the GUI's Dreambooth or fine-tuning tab, which trains the whole model")


def _network(draft: Draft, tree: Tree) -> set[str]:
    """Take over what belongs to the network that is chosen; returns the GUI's fields that belong to others.

    The GUI saves every network's fields, and passes on those of `LoRA_type` (lora_gui.py).
    """
    item = next((item for item in tree.items if item.key == "LoRA_type"), None)
    kind, network = item.value if item else "Standard", gui_network(draft)
    if network is None or network.kind != "lokr":
        for name in ("lokr_factor", "decompose_both"):
            draft.take_out(name, f"LoRA_type is {kind}", asks=False)
    if network is None:
        _take_out_of_lycoris(draft, kind, item)
        return _OF_NETWORKS if kind in ("Standard", "Kohya LoCon") else set()
    assert item is not None
    for name in BLOCK_ARGS:
        draft.take_out(name, f"LoRA_type is {kind}", asks=False)
    draft.dropped = [one for one in draft.dropped if one.key != "LoRA_type"]
    if network.kind != "lora":
        draft.put("network_type", item, network.kind)
    preset = next((one.value for one in tree.items if one.key == "LyCORIS_preset"), None)
    settle_lycoris(draft, item, preset, {**SD_SCRIPTS_ASSUMED, **ASSUMED})
    for cp in (one for one in tree.items if one.key == "use_cp" and typed("use_tucker", one.value) is True):
        draft.put("use_tucker", cp, True)  # its name before
    if is_whole(draft, network):
        draft.take_out("use_tucker", "of a LoKr of whole matrices nothing is left for it", asks=False)
    known = {"LyCORIS_preset"} if is_preset(preset) else set()
    return known | {"use_cp", "unit", "constrain", "rescaled", "train_on_input", "conv_dims", "conv_alphas"}


def _take_out_of_lycoris(draft: Draft, kind: object, item: Item | None) -> None:
    """Take out what the GUI does not pass on to a plain LoRA."""
    convolutions = () if kind == "Kohya LoCon" else ("conv_dim", "conv_alpha")
    for name in ("use_dora", "use_tucker", *convolutions):
        draft.take_out(name, f"LoRA_type is {kind}", asks=False)
    if convolutions and draft.value("conv_block_dims") is not None and item is not None:
        draft.put("conv_alpha", item, 1.0)  # what sd-scripts takes then


_OF_NETWORKS = {
    *("conv_dims", "conv_alphas", "factor", "unit", "use_cp", "use_tucker", "decompose_both", "LyCORIS_preset"),
    *("use_scalar", "rescaled", "constrain", "train_norm", "train_on_input", "bypass_mode", "rank_dropout_scale"),
    "dora_wd",
}
"""The GUI's fields that its plain LoRA does not look at."""


def _too_long(draft: Draft, tree: Tree) -> None:
    """Note a warm-up of all steps or more, which a percentage of 100 is."""
    given = next((item.value for item in tree.items if item.key == "lr_warmup"), None)
    percent = typed("warmup_lr_ratio", given)
    if isinstance(percent, int | float) and percent >= 100:
        draft.notes.append(f"its lr_warmup {percent:g} is a percentage: the learning rate never gets to its height")


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0
