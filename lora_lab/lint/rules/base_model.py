"""LL72x, LL73x: what the header of the base model or of the VAE says: what it is, and in which form."""

from collections.abc import Iterator

from lora_lab.document.model_header import PICKLED, ModelHeader
from lora_lab.lint.finding import removed
from lora_lab.lint.rule import OURS, Hit, View, rule

NAMES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "SDXL",
    "sdxl-refiner": "the SDXL refiner",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
    "chroma": "Chroma",
    "kolors": "Kolors",
    "auraflow": "AuraFlow",
    "lumina": "Lumina",
    "pixart": "PixArt",
    "cascade": "Stable Cascade",
    "qwen-image": "Qwen-Image",
    "hunyuan-video": "HunyuanVideo",
    "wan": "Wan",
    "sana": "Sana",
}
"""What people call the families."""

_KINDS = {
    "lora": "a LoRA",
    "vae": "a VAE",
    "unet": "a U-Net alone, without text encoder and VAE",
    "text_encoder": "a text encoder",
    "embedding": "an embedding (textual inversion)",
}
_TASKS = {5: "depth to picture", 7: "enlarging", 8: "editing by instruction", 9: "inpainting"}
_LOADER = "sd-scripts library/model_util.py load_models_from_stable_diffusion_checkpoint"


def base_header(view: View) -> ModelHeader | None:
    """Return what the base model says of itself, None if there is none, or something else in its place."""
    header = _any_header(view)
    return header if header and header.kind in ("checkpoint", "diffusers", "unet") else None


def _any_header(view: View) -> ModelHeader | None:
    """Return what is read where the base model should be."""
    return view.disk.model(view.disk.resolve(view.config.base_model))


@rule("LL724", "base-is-something-else", "error", reads=("base_model",), source=_LOADER, sees="disk")
def base_is_something_else(view: View) -> Iterator[Hit]:
    """The base model is a LoRA, a VAE, an embedding or another part of a model.

    What it does
    Reads the names of the tensors from the file's header, or the folder's configs.

    Why is this bad
    A LoRA is trained on a whole model: U-Net, text encoder and VAE. The run stops while loading.

    Bad
    ```json
    {"base_model": "style.safetensors"}
    ```
    ```files
    style.safetensors: safetensors {"lora_unet_a.lora_down.weight": {"dtype": "F16", "shape": [8, 320]}}
    ```

    Good
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {"_class_name": "StableDiffusionPipeline"}
    ```
    """
    header = _any_header(view)
    if header is None or (header.kind == "unet" and header.family not in (None, "sd1", "sd2", "sdxl")):
        return  # of a family that nothing here trains, which another rule says
    what = _KINDS.get(header.kind)
    if what:
        remedy = "give the model that the LoRA is to be trained on"
        if header.kind == "lora":
            remedy += "; a LoRA to start from belongs into lora_model_for_resume"
        yield Hit(f"base_model is {what}", ("base_model",), remedy)
    elif header.kind == "unknown":
        example = f", but {header.example}" if header.example else ""
        message = f"base_model has no tensors of a Stable Diffusion model{example}"
        yield Hit(message, ("base_model",), "give a whole model")


@rule("LL726", "base-of-another-task", "error", reads=("base_model",), source="diffusers unet in_channels", sees="disk")
def base_of_another_task(view: View) -> Iterator[Hit]:
    """The base model is made for inpainting or another task than drawing from text.

    What it does
    Reads how many channels the U-Net takes: 4, where it takes noise and words alone.

    Why is this bad
    9 channels mean that mask and picture are expected too. Training gives 4, so the run stops.

    Bad
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768, "in_channels": 9}
    ```

    Good
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768, "in_channels": 4}
    ```
    """
    header = base_header(view)
    if header and header.in_channels not in (None, 4) and header.family in (None, *list(NAMES)[:3]):
        task = _TASKS.get(header.in_channels or 0, "another task")
        message = f"base_model is made for {task}: its U-Net takes {header.in_channels} channels, not 4"
        yield Hit(message, ("base_model",), "give the ordinary model that it was made from")


@rule(
    "LL727",
    "base-of-another-script",
    "error",
    reads=("base_model",),
    source="https://github.com/kohya-ss/sd-scripts/issues/1942",
    sees="disk",
)
def base_of_another_script(view: View) -> Iterator[Hit]:
    """The file is for SDXL and the base is not, or the other way round.

    What it does
    Compares the base model with what the file says: its script (`train_network.py`, `sdxl_train_network.py`) or its
    switch `sdxl`.

    Why is this bad
    The weights do not fit: loading stops with a size mismatch, 640 against 1280 or 768 against 2048.

    Bad
    ```json
    {"pretrained_model_name_or_path": "base", "train_data_dir": "a/pictures", "LoRA_type": "Standard", "sdxl": true}
    ```
    ```files
    base/model_index.json: {}
    base/unet/config.json: {"cross_attention_dim": 768}
    ```

    Good
    ```json
    {"pretrained_model_name_or_path": "base", "train_data_dir": "a/pictures", "LoRA_type": "Standard", "sdxl": true}
    ```
    ```files
    base/model_index.json: {}
    base/unet/config.json: {"cross_attention_dim": 2048}
    ```
    """
    said = view.document.origin.family if view.document.origin else ""
    header = base_header(view)
    found = header.family if header else None
    fitting = {"sd": ("sd1", "sd2"), "sdxl": ("sdxl",)}.get(said)
    if fitting is None or found not in NAMES or found in fitting:
        return
    wanted = "SDXL" if said == "sdxl" else "Stable Diffusion 1.x or 2.x"
    remedy = "give such a model, or use the script of the other family"
    yield Hit(f"base_model is {NAMES[found]}, and this file is for {wanted}", ("base_model",), remedy)


@rule(
    "LL728",
    "clip-skip-with-sdxl",
    "warning",
    reads=("base_model", "clip_skip"),
    source="sd-scripts library/sdxl_train_util.py verify_sdxl_training_args",
    sees="disk",
    targets=OURS,  # theirs is told by their script: LL753
)
def clip_skip_with_sdxl(view: View) -> Iterator[Hit]:
    """`clip_skip` is set, and the base is SDXL.

    What it does
    Looks for `clip_skip` above 1 where the base's header says SDXL.

    Why is this bad
    It has no effect: SDXL always reads the last layer but one of both its text encoders.

    Bad
    ```json
    {"base_model": "xl", "clip_skip": 2}
    ```
    ```files
    xl/model_index.json: {"_class_name": "StableDiffusionXLPipeline"}
    xl/unet/config.json: {"cross_attention_dim": 2048}
    ```

    Good
    ```json
    {"base_model": "sd15", "clip_skip": 2}
    ```
    ```files
    sd15/model_index.json: {}
    sd15/unet/config.json: {"cross_attention_dim": 768}
    ```
    """
    header = base_header(view)
    if header and header.family == "sdxl" and view.config.clip_skip > 1:
        message = f"clip_skip {view.config.clip_skip} has no effect: SDXL has its layer fixed"
        yield Hit(message, ("clip_skip", "base_model"), "leave it out", removed("clip_skip", safe=False))


@rule(
    "LL730",
    "base-in-8-bits",
    "warning",
    reads=("base_model",),
    source="https://github.com/derrian-distro/LoRA_Easy_Training_Scripts/issues/241",
    sees="disk",
)
def base_in_8_bits(view: View) -> Iterator[Hit]:
    """The base model is stored in 8 bits or less.

    What it does
    Reads the number format of most of the U-Net's weights.

    Why is this bad
    The LoRA learns to mend the rounding, too, and fits the full model less well; many trainers refuse such a file.

    Bad
    ```json
    {"base_model": "small.safetensors"}
    ```
    ```files
    small.safetensors: safetensors {"model.diffusion_model.a": {"dtype": "F8_E4M3", "shape": [9]}}
    ```

    Good
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {}
    ```
    """
    header = base_header(view)
    dtype = header.dtypes.get("unet", "") if header else ""
    if dtype.startswith(("F8", "I8", "U8", "F4")):
        yield Hit(f"base_model is stored in 8 bits or less ({dtype})", ("base_model",), "give it in fp16, bf16 or fp32")


@rule(
    "LL731",
    "pickled-model",
    "info",
    reads=("base_model", "vae"),
    source="https://docs.python.org/3/library/pickle.html",
)
def pickled_model(view: View) -> Iterator[Hit]:
    """A model is a pickle: .ckpt, .pt, .pth or .bin.

    What it does
    Looks at the endings of `base_model`, `vae` and `lora_model_for_resume`.

    Why is this bad
    Many programs run whatever a pickle says when they load it. This one takes only tensors from it and never runs it.

    Bad
    ```json
    {"lora_model_for_resume": "old.pt", "net_dim": 8}
    ```
    ```files
    old.pt: x
    ```

    Good
    ```json
    {"base_model": "models/sd15"}
    ```
    ```files
    models/sd15/model_index.json: {}
    ```
    """
    for key in ("base_model", "vae", "lora_model_for_resume"):
        value = view.values.get(key)
        if isinstance(value, str) and value.lower().endswith(PICKLED):
            message = f"{key} is a pickle, which can run code where it is loaded carelessly"
            yield Hit(message, (key,), "take the .safetensors file of the same model, if its maker has one")


@rule("LL734", "vae-is-something-else", "error", reads=("vae",), source=_LOADER, sees="disk")
def vae_is_something_else(view: View) -> Iterator[Hit]:
    """`vae` names a file or folder without a VAE in it.

    What it does
    Reads the names of the tensors from the file's header, or the folder's configs. A whole model has a VAE inside.

    Why is this bad
    The run stops while loading.

    Bad
    ```json
    {"vae": "other"}
    ```
    ```files
    other/config.json: {"_class_name": "UNet2DConditionModel"}
    ```

    Good
    ```json
    {"vae": "good"}
    ```
    ```files
    good/config.json: {"_class_name": "AutoencoderKL", "latent_channels": 4}
    ```
    """
    header = _vae_header(view)
    if header and header.kind not in ("vae", "checkpoint", "diffusers"):
        example = f"has tensors like {header.example}" if header.example else "has none of its tensors"
        what = _KINDS.get(header.kind) or f"no VAE: it {example}"
        yield Hit(
            f"vae is {what}", ("vae",), "give a VAE, or null for the base model's own", removed("vae", safe=False)
        )


@rule("LL735", "vae-of-another-family", "error", reads=("vae",), source="diffusers vae latent_channels", sees="disk")
def vae_of_another_family(view: View) -> Iterator[Hit]:
    """The VAE's latents have another number of channels than Stable Diffusion's.

    What it does
    Reads it from the header: 4 in Stable Diffusion 1, 2 and SDXL, 16 in Stable Diffusion 3, Flux and later ones.

    Why is this bad
    The U-Net takes 4 channels, so the run stops at its first step.

    Bad
    ```json
    {"vae": "flux-ae"}
    ```
    ```files
    flux-ae/config.json: {"_class_name": "AutoencoderKL", "latent_channels": 16}
    ```

    Good
    ```json
    {"vae": "good"}
    ```
    ```files
    good/config.json: {"_class_name": "AutoencoderKL", "latent_channels": 4}
    ```
    """
    header = _vae_header(view)
    if header and header.latent_channels not in (None, 4):
        message = f"vae has {header.latent_channels} channels in its latents, and Stable Diffusion has 4"
        yield Hit(message, ("vae",), "give one of the base's family, or null", removed("vae", safe=False))


def _vae_header(view: View) -> ModelHeader | None:
    """Return what the VAE says of itself, None where none is named or it can't be read."""
    return view.disk.model(view.disk.resolve(view.config.vae)) if view.config.vae else None
