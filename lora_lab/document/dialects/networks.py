"""What `network_module` and `network_args` mean here: sd-scripts' networks.lora, .loha and .lokr, and LyCORIS'.

Sources: sd-scripts networks/*.py create_network; LyCORIS lycoris/kohya.py create_network, docs/Network-Args.md.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from lora_lab.config import BLOCK_ARGS, NETWORK_ARGS
from lora_lab.config import is_whole as is_whole_lokr
from lora_lab.document.dialects.draft import Draft, is_idle, typed
from lora_lab.document.document import Entry
from lora_lab.document.tree import Item

LYCORIS: Final = "lycoris.kohya"
WHOLE: Final = 100_000
"""The rank that says by custom that a LoKr's matrices are to be whole."""
_MODULES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("networks.lora", "sd_scripts.networks.lora"), "lora"),
    **dict.fromkeys(("networks.loha", "sd_scripts.networks.loha"), "loha"),
    **dict.fromkeys(("networks.lokr", "sd_scripts.networks.lokr"), "lokr"),
}
_ALGORITHMS: Final[Mapping[str, str]] = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_GUI_TYPES: Final[Mapping[str, str]] = {
    "LyCORIS/LoCon": "lora",
    "LyCORIS/LoHa": "loha",
    "LyCORIS/LoKr": "lokr",
}
_OURS: Final[Mapping[str, str]] = {
    **{name: name for name in NETWORK_ARGS},
    "factor": "lokr_factor",
    "decompose_both": "decompose_both",
    "dora_wd": "use_dora",
    "use_tucker": "use_tucker",
    "use_cp": "use_tucker",  # as LyCORIS called it before 2.0
    "use_conv_cp": "use_tucker",
    "dropout": "network_dropout",
}
"""Arguments that are settings here, with our names."""

_PRESETS: Final[Mapping[str, tuple[bool, bool]]] = {
    "full": (True, False),
    "attn-mlp": (False, False),
    "unet-only": (True, True),
    "unet-transformer-only": (False, True),
}
"""LyCORIS' presets that can be had here: whether convolutions are adapted, and whether the U-Net alone is."""

_OF_LOKR: Final = ("lokr_factor", "decompose_both")
_MEANS_NOTHING: Final[Mapping[str, tuple[object, ...]]] = {
    "block_size": (4, "4"),
    "wd_on_output": (True, "True", "true"),
    "disable_conv_cp": (True, "True", "true"),
    "preset": tuple(_PRESETS),
}


class Network(NamedTuple):
    """A network that can be trained here: its `network_type`, and whether LyCORIS' rules hold for it."""

    kind: str
    lycoris: bool


def network_of(draft: Draft, arguments: Mapping[str, object] | None) -> Network | None:
    """Return which network a file asks for, None where lora_lab does not have it. Without a module it is plain LoRA."""
    module = next((one.value for one in draft.tree.items if one.key == "network_module"), None)
    if module is None or is_idle("network_module", module):
        return Network("lora", False)
    if module == LYCORIS:
        algorithm = str((arguments or {}).get("algo") or "lora").lower()
        return Network(_ALGORITHMS[algorithm], True) if algorithm in _ALGORITHMS else None
    return Network(_MODULES[module], False) if isinstance(module, str) and module in _MODULES else None


def gui_network(draft: Draft) -> Network | None:
    """Return the network that the GUI's `LoRA_type` names, None for all that are not LyCORIS' or are not here."""
    kind = _GUI_TYPES.get(str(next((one.value for one in draft.tree.items if one.key == "LoRA_type"), "")))
    return Network(kind, True) if kind else None


def put_arguments(draft: Draft, item: Item, found: Mapping[str, object], network: Network) -> None:
    """Put a network's arguments that are settings here; drop the item, by the names of the rest, where some are not."""
    for key, value in found.items():
        name = _OURS.get(key)
        if name is None or not _heard(name, network):
            continue
        number = of_blocks(value) if name in BLOCK_ARGS else typed(name, value)
        off = number == 0 and name not in ("conv_alpha", "lokr_factor", *BLOCK_ARGS) and not isinstance(number, bool)
        draft.put(name, item, None if off else number)
    if draft.value("use_tucker") and is_whole(draft, network):
        draft.take_out("use_tucker", "of a LoKr of whole matrices nothing is left for it", asks=False)
    if network.kind != "lora":
        draft.put("network_type", item, network.kind)
    convolutions = draft.value("conv_dim") is not None or draft.value("conv_block_dims") is not None
    if not network.lycoris and convolutions and "conv_alpha" not in found:
        draft.put("conv_alpha", item, 1.0)
    left = [key for key, value in found.items() if _is_left(key, value, network, draft)]
    if left:
        draft.drop(item, f"lora_lab has no {', '.join(left)}")


def _heard(name: str, network: Network) -> bool:
    """Say whether a network looks at a setting of ours."""
    if name in _OF_LOKR:
        return network.kind == "lokr"
    return (name not in BLOCK_ARGS or not network.lycoris) and (
        name != "use_tucker" or network.lycoris or network.kind != "lora"
    )


def settle_blocks(draft: Draft) -> None:
    """Take out what sd-scripts' networks.lora does not look at; here it would have an effect."""
    if draft.value("conv_block_dims") is None:
        draft.take_out("conv_block_alphas", "sd-scripts looks at it with conv_block_dims only", asks=False)
    if all(draft.value(key) is None for key in ("block_dims", "down_lr_weight", "mid_lr_weight", "up_lr_weight")):
        for key in ("block_alphas", "conv_block_dims", "conv_block_alphas"):
            draft.take_out(key, "sd-scripts looks at it with block_dims or a weight of blocks only", asks=False)


def settle_merged(draft: Draft) -> None:
    """Give each file that is merged its multiplier: in sd-scripts it is 1 where the list is too short."""
    files, given = draft.value("base_weights"), draft.value("base_weights_multiplier")
    if isinstance(files, list) and isinstance(given, list):
        draft.change("base_weights_multiplier", [*given, *[1.0] * (len(files) - len(given))][: len(files)])
    elif isinstance(files, list) and isinstance(given, int | float) and len(files) > 1:
        draft.change("base_weights_multiplier", [given, *[1.0] * (len(files) - 1)])


def of_blocks(value: object) -> object:
    """Return what a setting of blocks stands for: a number, a list of them, or the name of a curve.

    sd-scripts takes an empty place for 0. What is neither stays as it is, and the check says so.
    """
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if value.strip() == "":
        return None
    try:
        found = [float(part or 0) for part in parts]
    except ValueError:
        return value.strip()
    whole: list[int | float] = [int(one) if one.is_integer() else one for one in found]
    return whole if len(whole) > 1 else whole[0]


def _is_left(key: str, value: object, network: Network, draft: Draft) -> bool:
    """Say whether an argument asks for something that is not here."""
    if key in BLOCK_ARGS and network.lycoris:
        return not is_idle(key, value)
    if key in _OURS or is_idle(key, value) or value in _MEANS_NOTHING.get(key, ()) or value in ("False", "false"):
        return False
    return not (network.lycoris and (key == "algo" or (key == "full_matrix" and network.kind == "lokr")))


def settle_whole(draft: Draft, item: Item, found: Mapping[str, object], network: Network) -> None:
    """Give a LoKr of LyCORIS' `full_matrix` the rank that says so here; `item` is what names the network."""
    if network.kind == "lokr" and typed("use_dora", found.get("full_matrix")) is True:
        draft.put("net_dim", item, WHOLE)
        if draft.value("conv_dim") is not None:
            draft.change("conv_dim", WHOLE)


def is_whole(draft: Draft, network: Network) -> bool:
    """Say whether no matrix of a LoKr is a product, so that nothing is left for Tucker's decomposition."""
    sizes = [one.value for one in draft.tree.items if one.key == "network_dim"]
    rank = typed("net_dim", sizes[-1]) if sizes else None
    factor = draft.value("lokr_factor")
    if network.kind != "lokr" or not isinstance(rank, int):
        return False
    return is_whole_lokr(rank, factor if isinstance(factor, int) else -1)


def is_preset(preset: object) -> bool:
    """Say whether the layers of a LyCORIS preset can be adapted here; none at all is `full`."""
    return str(preset or "full") in _PRESETS


def settle_lycoris(draft: Draft, item: Item, preset: object, assumed: Mapping[str, object]) -> None:
    """Resolve what LyCORIS takes for what is left out; `item` is what names it.

    Its convolutions are adapted unless the preset says otherwise, as large and strong as the other layers.
    """
    known = _PRESETS.get(str(preset or "full"))
    if known is None:
        draft.notes.append(f"its LyCORIS preset {preset} adapts other layers than lora_lab can")
        return
    convolutions, unet_alone = known
    for ours, other in (("conv_dim", "net_dim"), ("conv_alpha", "alpha")):
        if not convolutions:
            draft.take_out(ours, f"the preset {preset} leaves the convolutions alone", asks=False)
        elif ours not in draft.entries:
            value = draft.value(other) if other in draft.entries else assumed[other]
            draft.entries[ours] = Entry(ours, value, item.key_span, item.value_span)
            draft.spellings[ours] = item.key
    if unet_alone and not draft.value("unet_only"):
        draft.entries["unet_only"] = Entry("unet_only", True, item.key_span, item.value_span)
        draft.spellings["unet_only"] = item.key
