"""LL9xx: what the trainer cannot do yet. A row goes when its feature comes."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lora_lab.config import TrainConfig
from lora_lab.lint.rule import Hit, Rule, View, rule

_SINGLE_FILE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


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
        "LL901", "sd2-not-built", "v2", lambda config: config.v2,
        "Stable Diffusion 2.x models (v2) can't be trained yet", "use an SD 1.x model and v2 false", True, False,
    ),
    NotBuilt(
        "LL902", "single-file-base-not-built", "base_model",
        lambda config: config.base_model.lower().endswith(_SINGLE_FILE),
        "a base model in one file can't be loaded yet", "give the folder of a diffusers model (with model_index.json)",
        "models/sd15.safetensors", "models/sd15",
    ),
    NotBuilt(
        "LL903", "single-file-vae-not-built", "vae", lambda config: (config.vae or "").lower().endswith(_SINGLE_FILE),
        "a VAE in one file can't be loaded yet", "give the folder of a diffusers VAE, or null for the base model's own",
        "vae.pt", None,
    ),
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


NOT_BUILT: tuple[Rule, ...] = tuple(_rule(row) for row in TABLE)
