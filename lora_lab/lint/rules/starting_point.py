"""LL3xx: the LoRA file that a run starts from."""

from collections.abc import Iterator

from lora_lab.config import effective_alpha
from lora_lab.config.blocks import adapts_convolutions
from lora_lab.document.lora_facts import LoraFacts
from lora_lab.document.model_header import ModelHeader
from lora_lab.lint.finding import set_to
from lora_lab.lint.rule import Hit, View, rule
from lora_lab.lint.rules.base_model import NAMES, base_header

_LOADER = "lora_lab/train/lora_file.py; sd-scripts networks/lora.py load_weights"
_KEY = "lora_model_for_resume"
WHOLE = 100_000
"""The rank that says by custom that a LoKr's matrices are to be whole."""

_SPOKEN = {"lora": "LoRA", "loha": "LoHa", "lokr": "LoKr"}
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
    "LL310",
    "resume-rank-mismatch",
    "error",
    reads=(_KEY, "net_dim", "conv_dim", "dim_from_weights", "network_type", "block_dims", "conv_block_dims"),
    source=_LOADER,
    sees="disk",
)
def resume_rank_mismatch(view: View) -> Iterator[Hit]:
    """The LoRA to start from has another rank.

    What it does
    Reads the rank from the header of the .safetensors file that `lora_model_for_resume` names: of a LoRA in kohya's,
    diffusers' or PEFT's names, a LoHa, or a LoKr, whose larger matrix is whole from half its width on.

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
    header, config = _lora(view), view.config
    if header is None or config.dim_from_weights or header.kind != config.network_type:
        return
    if header.ranks and config.net_dim not in header.ranks and config.block_dims is None:
        rank = min(header.ranks)
        message = f"net_dim is {config.net_dim}, but the LoRA to start from has rank {rank}"
        yield Hit(message, ("net_dim", _KEY), f"set net_dim to {rank}", set_to("net_dim", rank))
    elif not header.ranks and config.net_dim < header.whole_from and config.block_dims is None:
        message = f"net_dim is {config.net_dim}, but the LoKr to start from has whole matrices"
        yield Hit(message, ("net_dim", _KEY), f"set net_dim to {WHOLE}", set_to("net_dim", WHOLE))
    wide = config.conv_dim if config.conv_block_dims is None else None
    if wide and header.conv_ranks and wide not in header.conv_ranks and config.network_type != "lokr":
        rank = min(header.conv_ranks)
        message = f"conv_dim is {wide}, but the LoRA to start from has rank {rank} at its convolutions"
        yield Hit(message, ("conv_dim", _KEY), f"set conv_dim to {rank}", set_to("conv_dim", rank))


@rule(
    "LL311",
    "resume-alpha-mismatch",
    "error",
    reads=(_KEY, "alpha", "net_dim", "dim_from_weights", "network_type", "block_alphas"),
    source=_LOADER,
    sees="disk",
)
def resume_alpha_mismatch(view: View) -> Iterator[Hit]:
    """The LoRA to start from was trained with another alpha.

    What it does
    Compares `alpha` with `ss_network_alpha` in the file's metadata, or with what diffusers notes there; a file of
    diffusers or PEFT that notes none acts as if it were the rank. A LoKr of whole matrices has no use for it.

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
    own = view.config.dim_from_weights or view.config.block_alphas is not None
    if header is None or header.alpha is None or header.ranks != {view.config.net_dim} or own:
        return
    if header.kind != view.config.network_type:
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
    if header is None or header.kind is None or (view.config.unet_only and view.config.text_only):
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
    """The file to start from is no LoRA that can be read.

    What it does
    Looks in the header of the .safetensors file for the tensors of a LoRA in kohya's, diffusers' or PEFT's names, of a
    LoHa or a LoKr.

    Why is this bad
    The run stops. A checkpoint belongs into `base_model`; other networks of LyCORIS can't be trained here.

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
    if header and not (header.lora and header.lora.kind):
        what = f"has no lora_down tensors, but {header.example}" if header.example else "has no tensors"
        if header.lora:
            what = f"is {NETWORKS.get(header.lora.network, 'another network')}, which can't be trained on here"
        yield Hit(f"{view.config.lora_model_for_resume} {what}", (_KEY,), "name a LoRA, LoHa or LoKr")


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
    "LL315",
    "resume-other-network",
    "error",
    reads=(_KEY, "conv_dim", "conv_block_dims", "dim_from_weights", "network_type", "use_dora"),
    source=_LOADER,
    sees="disk",
)
def resume_other_network(view: View) -> Iterator[Hit]:
    """The LoRA to start from is of another kind than the config trains.

    What it does
    Compares `network_type`, `use_dora` and `conv_dim` with the tensors in the file's header.

    Why is this bad
    A LoHa can't become a LoRA, nor can a file lose its convolutions or magnitudes, or get them: the run stops.

    Bad
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a_conv1.lora_down.weight": {"shape": [8, 320, 3, 3]}}
    ```

    Good
    ```json
    {"lora_model_for_resume": "a.safetensors", "net_dim": 8, "network_type": "loha", "unet_only": true}
    ```
    ```files
    a.safetensors: safetensors {"lora_unet_a.hada_w1_b": {"shape": [8, 320]}, "lora_unet_a.hada_w1_a": {}}
    ```
    """
    found, config = _lora(view), view.config
    if found is None or found.kind is None:
        return
    wide = adapts_convolutions(config)
    if found.kind != config.network_type:
        message = f"the file to start from is a {_SPOKEN[found.kind]}, and network_type is {config.network_type}"
        fix = set_to("network_type", found.kind)
        yield Hit(message, (_KEY, "network_type"), f"set network_type to {found.kind}", fix)
    elif found.dora != config.use_dora:
        says = "has a DoRA's magnitudes" if found.dora else "has no DoRA's magnitudes"
        fix = set_to("use_dora", found.dora)
        remedy = f"set use_dora to {str(found.dora).lower()}"
        yield Hit(f"the LoRA to start from {says}, and use_dora asks otherwise", (_KEY, "use_dora"), remedy, fix)
    elif found.convolutions != wide and not config.dim_from_weights and found.unet:
        says = "is a LoCon, which adapts convolutions too" if found.convolutions else "adapts no convolutions"
        remedy = "set dim_from_weights to true, or start from nothing"
        yield Hit(f"the LoRA to start from {says}, and conv_dim says otherwise", (_KEY, "conv_dim"), remedy)


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
