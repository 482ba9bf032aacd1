"""LL3xx: the LoRA file that a run starts from."""

from collections.abc import Iterator

from lora_lab.config import effective_alpha
from lora_lab.document.model_header import ModelHeader
from lora_lab.document.model_names import LoraFacts
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule
from lora_lab.lint.rules.base_model import NAMES, base_header

_LOADER = "lora_lab/train/lora_file.py; sd-scripts networks/lora.py load_weights"
_KEY = "lora_model_for_resume"
NETWORKS = {
    "locon": "a LoCon, which adapts 3 × 3 convolutions too",
    "dora": "a DoRA, which has magnitudes beside its matrices",
    "loha": "a LoHa",
    "lokr": "a LoKr",
    "oft": "an OFT",
    "ia3": "an (IA)³",
    "glora": "a GLoRA",
    "full": "a difference of whole matrices",
    "peft": "a LoRA in PEFT's format",
    "diffusers": "a LoRA in diffusers' format",
}


@rule(
    "LL310", "resume-rank-mismatch", "error", reads=(_KEY, "net_dim", "dim_from_weights"), source=_LOADER, sees="disk"
)
def resume_rank_mismatch(view: View) -> Iterator[Hit]:
    """The LoRA to start from has another rank.

    What it does
    Reads the rank from the header of the .safetensors file that `lora_model_for_resume` names.

    Why is this bad
    A rank can't change: the run stops when the file is loaded.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 32}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8, "unet_only": true}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```
    """
    header = _lora(view)
    own = view.config.dim_from_weights
    if header and header.ranks and not own and view.config.net_dim not in header.ranks:
        rank = min(header.ranks)
        message = f"net_dim is {view.config.net_dim}, but the LoRA to start from has rank {rank}"
        yield Hit(message, ("net_dim", _KEY), f"set net_dim to {rank}", set_to("net_dim", rank))


@rule(
    "LL311",
    "resume-alpha-mismatch",
    "error",
    reads=(_KEY, "alpha", "net_dim", "dim_from_weights"),
    source=_LOADER,
    sees="disk",
)
def resume_alpha_mismatch(view: View) -> Iterator[Hit]:
    """The LoRA to start from was trained with another alpha.

    What it does
    Compares `alpha` with `ss_network_alpha` in the file's metadata.

    Why is this bad
    Another alpha changes the strength of what the file has learned. The run stops; sd-scripts trains on, and saves a
    LoRA whose strength is off.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 32, "alpha": 16}
    ```
    ```files
    a.safetensors:safetensors {"__metadata__": {"ss_network_alpha": "8"}, "lora_unet.lora_down.weight": {"shape": [32]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 32, "alpha": 8, "unet_only": true}
    ```
    ```files
    a.safetensors:safetensors {"__metadata__": {"ss_network_alpha": "8"}, "lora_unet.lora_down.weight": {"shape": [32]}}
    ```
    """
    header = _lora(view)
    if header is None or header.alpha is None or header.ranks != {view.config.net_dim} or view.config.dim_from_weights:
        return
    alpha = effective_alpha(view.config)
    if abs(header.alpha - alpha) > 0.01 * header.alpha:
        message = f"alpha is {alpha:g}, but the LoRA to start from has {header.alpha:g}"
        yield Hit(message, ("alpha", _KEY), f"set alpha to {header.alpha:g}", set_to("alpha", header.alpha))


@rule("LL312", "resume-parts-mismatch", "error", reads=(_KEY, "unet_only", "text_only"), source=_LOADER, sees="disk")
def resume_parts_mismatch(view: View) -> Iterator[Hit]:
    """The LoRA to start from adapts other parts than this run trains.

    What it does
    Compares `unet_only` and `text_only` with the names of the file's tensors.

    Why is this bad
    The run stops; sd-scripts starts the missing part from nothing, or drops what the file has of it.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8, "unet_only": true}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```
    """
    header = _lora(view)
    if header is None or not header.ranks or (view.config.unet_only and view.config.text_only):
        return
    for has, wanted, part in (
        (header.unet, not view.config.text_only, "the U-Net"),
        (header.text_encoder, not view.config.unet_only, "the text encoder"),
    ):
        if has != wanted:
            says = "the LoRA to start from has" if has else "the LoRA to start from has nothing of"
            rest = f"{part}, which this run {'trains' if wanted else 'does not train'}"
            yield Hit(f"{says} {rest}", (_KEY,), "train the same parts as it: see unet_only and text_only")


@rule("LL313", "resume-is-no-lora", "error", reads=(_KEY,), source=_LOADER, sees="disk")
def resume_is_no_lora(view: View) -> Iterator[Hit]:
    """The file to start from is no LoRA in kohya's format.

    What it does
    Looks for `lora_down` tensors in the header of the .safetensors file.

    Why is this bad
    The run stops. A checkpoint belongs into `base_model`; LyCORIS and PEFT files have tensors of other names.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors"}
    ```
    ```files
    a.safetensors: safetensors {"model.weight": {"shape": [8, 4]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8, "unet_only": true}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"shape": [8, 4]}}
    ```
    """
    header = _header(view)
    if header and not (header.lora and header.lora.ranks):
        what = f"has no lora_down tensors, but {header.example}" if header.example else "has no tensors"
        if header.lora:
            what = f"is {NETWORKS.get(header.lora.network, 'another network')}, not a LoRA in kohya's format"
        yield Hit(f"{view.config.lora_model_for_resume} {what}", (_KEY,), "name a LoRA that kohya's or this tool wrote")


@rule("LL314", "resume-clip-skip", "warning", reads=(_KEY, "clip_skip"), source="sd-scripts ss_clip_skip", sees="disk")
def resume_clip_skip(view: View) -> Iterator[Hit]:
    """The LoRA to start from was trained with another `clip_skip`.

    What it does
    Compares `clip_skip` with `ss_clip_skip` in the file's metadata.

    Why is this bad
    The U-Net's part was trained on the text features of another layer.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "clip_skip": 1, "unet_only": true}
    ```
    ```files
    a.safetensors:safetensors {"__metadata__": {"ss_clip_skip": "2"}, "lora_unet.lora_down.weight": {"shape": [32]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "clip_skip": 2, "unet_only": true}
    ```
    ```files
    a.safetensors:safetensors {"__metadata__": {"ss_clip_skip": "2"}, "lora_unet.lora_down.weight": {"shape": [32]}}
    ```
    """
    header = _lora(view)
    if header and header.clip_skip and header.clip_skip != view.config.clip_skip:
        message = f"clip_skip is {view.config.clip_skip}, but the LoRA to start from has {header.clip_skip}"
        fix = set_to("clip_skip", header.clip_skip)
        yield Hit(message, ("clip_skip", _KEY), f"set clip_skip to {header.clip_skip}", fix)


@rule(
    "LL315", "resume-other-network", "error", reads=(_KEY, "conv_dim", "dim_from_weights"), source=_LOADER, sees="disk"
)
def resume_other_network(view: View) -> Iterator[Hit]:
    """The LoRA to start from adapts convolutions too and the config does not, or it carries the magnitudes of DoRA.

    What it does
    Looks for 3 × 3 kernels among the `lora_down` tensors of the file's header, and for `dora_scale`.

    Why is this bad
    Without `conv_dim` a run trains linear layers and 1 × 1 convolutions only. It would lose what the file has beyond
    them, so it stops.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_conv1.lora_down.weight": {"shape": [8, 320, 3, 3]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "alpha": 8, "unet_only": true}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_proj_in.lora_down.weight": {"shape": [8, 320, 1, 1]}}
    ```
    """
    found = _lora(view)
    wide = view.config.conv_dim or view.config.dim_from_weights
    if found and (found.network == "dora" or (found.network == "locon" and not wide)):
        message = f"the LoRA to start from is {NETWORKS[found.network]}"
        remedy = "set dim_from_weights to true" if found.network == "locon" else "name a plain LoRA"
        yield Hit(message, (_KEY,), f"{remedy}, or start from nothing")


@rule("LL316", "resume-other-family", "error", reads=(_KEY, "base_model"), source=_LOADER, sees="disk")
def resume_other_family(view: View) -> Iterator[Hit]:
    """The LoRA to start from was made for another family than the base model's.

    What it does
    Compares the width of the text features that the LoRA takes with that of the base model.

    Why is this bad
    Its tensors do not fit the layers: the run stops.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "base_model": "sd15", "net_dim": 8}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_attn2_to_k.lora_down.weight": {"shape": [8, 2048]}}
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "base_model": "sd15", "net_dim": 8, "alpha": 8, "unet_only": true}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_attn2_to_k.lora_down.weight": {"shape": [8, 768]}}
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    """
    header, base = _header(view), base_header(view)
    made_for = header.family if header and header.lora else None
    if base and base.family and made_for and made_for != base.family:
        made, found = (NAMES.get(family, family) for family in (made_for, base.family))
        message = f"the LoRA to start from was made for {made}, and the base model is {found}"
        yield Hit(message, (_KEY, "base_model"), "name a LoRA of the base's family")


def _header(view: View) -> ModelHeader | None:
    """Return what the header of the file says; None if there is no file or none that can be read."""
    name = view.config.lora_model_for_resume
    return view.disk.model(view.disk.resolve(name)) if name else None


def _lora(view: View) -> LoraFacts | None:
    """Return what the header of a LoRA says; None if there is none that can be read."""
    header = _header(view)
    return header.lora if header else None
