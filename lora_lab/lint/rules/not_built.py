"""LL9xx: what the trainer cannot do yet. A row goes when its feature comes."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lora_lab.config import TrainConfig
from lora_lab.lint.rule import Hit, Rule, View, rule
from lora_lab.lint.rules.base_model import NAMES, base_header

FAMILIES = ("sd1", "sd2")
"""What the trainer knows."""


class NotBuilt(NamedTuple):
    """One thing that is missing: which key asks for it, when, and what to do until then."""

    code: str
    name: str
    key: str
    asked: Callable[[TrainConfig], bool]
    what: str
    remedy: str
    bad: object
    good: object


TABLE = (
    NotBuilt(
        "LL904", "tensorboard-not-built", "log_dir", lambda config: config.log_dir is not None,
        "TensorBoard logs (log_dir) are not written yet", "leave it out: runs are tracked in MLflow", "logs", None,
    ),
)  # fmt: skip


def _rule(row: NotBuilt) -> Rule:
    """Make the rule of a row."""

    def check(view: View) -> Iterator[Hit]:
        if row.asked(view.config):
            yield Hit(row.what, (row.key,), row.remedy)

    check.__doc__ = f"""{row.what[0].upper()}{row.what[1:]}.

    What it does
    Looks at `{row.key}`.

    Why is this bad
    The trainer refuses it, rather than leave it out silently.

    Bad
    ```json
    {json.dumps({row.key: row.bad})}
    ```

    Good
    ```json
    {json.dumps({row.key: row.good})}
    ```
    """
    return rule(row.code, row.name, "error", reads=(row.key,), source="lora_lab trainer")(check)


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
        yield Hit(message, ("base_model",), "use a model of Stable Diffusion 1.x or 2.x")


NOT_BUILT: tuple[Rule, ...] = (*(_rule(row) for row in TABLE), base_family_not_built)
