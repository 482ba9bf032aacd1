"""LoRA files that become a part of the base before training."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic, same
from lora_lab.config.files import Text

_SOURCE = "sd-scripts train_network.py base_weights"
Multiplier = Annotated[float, Field(ge=-10.0, le=10.0)]


class Merged(Topic):
    """What the base is made of beside its own file."""

    title: ClassVar[str] = "Merged into the base"

    base_weights: Annotated[
        Text | Annotated[list[Text], Field(min_length=1)] | None,
        About(
            row=133,
            meaning=(
                "LoRA files (LoRA, DoRA, LoHa or LoKr) that are merged into the base model before training starts, "
                "and stay frozen with it."
            ),
            typical="null; a style or character LoRA on top of which something else is to be learned.",
            pitfalls=(
                Pitfall(
                    "The new LoRA is only what comes on top: used without the merged ones it does less, or other "
                    "things.",
                    _SOURCE,
                ),
                Pitfall("The files must be for the base's family.", _SOURCE),
                Pitfall("Runs with other merged files cannot be trained in one pack.", "lora_lab/config/packs.py"),
            ),
            misread="Not the file to go on from: that is `lora_model_for_resume`.",
            path_kind="files",
            since="2023-05",
            names=same("base_weights"),
        ),
    ] = None
    base_weights_multiplier: Annotated[
        Multiplier | Annotated[list[Multiplier], Field(min_length=1)] | None,
        About(
            row=134,
            meaning="How strong each file of `base_weights` is merged: one number for all, or one for each.",
            typical="null, which is 1; 0.5 to 1.",
            pitfalls=(
                Pitfall("It has no effect without `base_weights`.", _SOURCE),
                Pitfall("In sd-scripts files without a number of their own are merged with 1.", _SOURCE),
            ),
            since="2023-05",
            type_text="number from -10 to 10, or list of them",
            names=same("base_weights_multiplier"),
        ),
    ] = None


def with_multipliers(
    files: str | Sequence[str] | None, multipliers: float | Sequence[float] | None
) -> list[tuple[str, float]]:
    """Return the files with what each is multiplied by.

    Raises ValueError where a list of multipliers is not as long as that of the files.
    """
    names = [files] if isinstance(files, str) else list(files or ())
    if multipliers is None or isinstance(multipliers, int | float):
        return [(name, 1.0 if multipliers is None else float(multipliers)) for name in names]
    if names and len(multipliers) != len(names):
        raise ValueError(f"base_weights has {len(names)} files, base_weights_multiplier {len(multipliers)} numbers")
    return list(zip(names, map(float, multipliers), strict=False))
