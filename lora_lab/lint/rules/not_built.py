"""LL9xx: what the trainer cannot do yet. A rule goes when its feature comes."""

from collections.abc import Iterator

from lora_lab.lint.rule import Hit, Rule, View, rule
from lora_lab.lint.rules.base_model import NAMES, base_header

FAMILIES = ("sd1", "sd2", "sdxl")
"""What the trainer knows."""


@rule(
    "LL906",
    "base-family-not-built",
    "error",
    reads=("base_model",),
    source="lora_lab trainer",
    sees="disk",
)
def base_family_not_built(view: View) -> Iterator[Hit]:
    """The base model is of a family that the trainer does not know.

    What it does
    Reads the family from the base model's header or folder.

    Why is this bad
    The trainer refuses it: layers, text encoders and schedule are others.

    Bad
    ```json
    {"base_model": "flux"}
    ```
    ```files
    flux/model_index.json: {"_class_name": "FluxPipeline"}
    ```

    Good
    ```json
    {"base_model": "sd15"}
    ```
    ```files
    sd15/model_index.json: {"_class_name": "StableDiffusionPipeline"}
    ```
    """
    header = base_header(view)
    family = header.family if header and header.kind in ("checkpoint", "diffusers", "unet") else None
    if family is not None and family not in FAMILIES:
        message = f"base_model is {NAMES.get(family, family)}, which can't be trained here"
        yield Hit(message, ("base_model",), "use a model of Stable Diffusion 1.x, 2.x or SDXL")


NOT_BUILT: tuple[Rule, ...] = (base_family_not_built,)
