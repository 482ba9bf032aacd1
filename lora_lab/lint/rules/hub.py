"""LL126: models that are on a hub rather than on this machine."""

from collections.abc import Iterator

from lora_lab.config import hub_name
from lora_lab.lint.rule import OURS, Hit, View, rule


@rule(
    "LL126",
    "model-from-hub",
    "info",
    reads=("base_model", "vae"),
    source="lora_lab trainer; diffusers DiffusionPipeline.download",
    sees="disk",
    targets=OURS,
)
def model_from_hub(view: View) -> Iterator[Hit]:
    """A model is named as on a hub.

    What it does
    Looks for an `owner/name` in `base_model` and `vae` that neither a file nor a folder here is called like.

    Why is this bad
    It is fetched when the training starts, some gigabytes, unless the hub's cache has it; without network the run ends
    there. If a path was meant, it is misspelt.

    Bad
    ```json
    {"base_model": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
    ```

    Good
    ```json
    {"base_model": "models/sd15"}
    ```
    ```files
    models/sd15/model_index.json: {}
    ```
    """
    for key in ("base_model", "vae"):
        name = hub_name(getattr(view.config, key) or "", view.disk.folder)
        if name:
            yield Hit(f"{key} {name} is taken for a model on the hub", (key,), f"for a path, write ./{name}")
