"""A look at a base's header, before anything heavy is loaded: is it of the family that the config says?"""

from pathlib import Path

from lora_lab.document.model_header import ModelHeader, read_model_header
from lora_lab.failure import Failure

_NAMES = {"sd1": "an SD 1.x", "sd2": "an SD 2.x", "sdxl": "an SDXL", "sdxl-refiner": "an SDXL refiner"}
_FLAGS = {"sd1": 'set "v2": false', "sd2": 'set "v2": true', "sdxl": 'set "v2": false'}
_CHANNELS = {5: "depth", 7: "upscaling", 8: "editing", 9: "inpainting"}


def family_of(path: Path, v2: bool) -> str:
    """Return the family to load a base as: SDXL where its header says that it is, which no key of a config does.

    `v2` tells SD 1.x from SD 2.x; with SDXL it stays what it says, so that `check_header` can name the contradiction.
    """
    header = read_model_header(path) if path.exists() else None
    if header is not None and header.family == "sdxl" and not v2:
        return "sdxl"
    return "sd2" if v2 else "sd1"


def check_header(path: Path, family: str) -> ModelHeader:
    """Return what the header of a model says. Raises Failure when it is none, or of another family or purpose."""
    if not path.exists():
        raise Failure(f"base_model {path} does not exist", "give the path of a model, or the name of one on a hub")
    header = read_model_header(path)
    if header is None:
        raise Failure(f"base_model {path} is no model that can be read", "give a whole file or a folder of diffusers")
    if header.kind not in ("checkpoint", "diffusers"):
        what = {"lora": "a LoRA", "vae": "a VAE alone", "unet": "a U-Net alone", "text_encoder": "a text encoder alone"}
        raise Failure(
            f"base_model {path} is {what.get(header.kind, 'something else')}, not a whole model",
            "give the model that the LoRA is to be trained on",
        )
    if header.family not in (None, family):
        found = _NAMES.get(header.family, f"a {header.family}")
        raise Failure(
            f"base_model {path} is {found} model, the config trains {_NAMES[family]} model",
            _FLAGS.get(header.family, "only SD 1.x, SD 2.x and SDXL can be trained so far"),
        )
    if header.in_channels not in (None, 4):
        purpose = _CHANNELS.get(header.in_channels, "another purpose")
        raise Failure(
            f"base_model {path} is a model for {purpose}: its U-Net takes {header.in_channels} channels",
            "give the ordinary model that it was made from",
        )
    return header
