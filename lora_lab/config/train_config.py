"""The one flat model that every part of lora_lab reads."""

from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from lora_lab.config.about import About, Topic
from lora_lab.config.caption_parts import CaptionParts
from lora_lab.config.captions import Captions
from lora_lab.config.duration import Duration
from lora_lab.config.files import Files
from lora_lab.config.machine import Machine
from lora_lab.config.masks import Masks
from lora_lab.config.merged import Merged
from lora_lab.config.network import Network
from lora_lab.config.network_blocks import NetworkBlocks
from lora_lab.config.network_kinds import NetworkKinds
from lora_lab.config.noise_loss import NoiseLoss
from lora_lab.config.optimizer import Optimizer
from lora_lab.config.pictures import Pictures
from lora_lab.config.sampling import Sampling

TOPICS: tuple[type[Topic], ...] = (
    Files,
    Captions,
    CaptionParts,
    Network,
    NetworkKinds,
    NetworkBlocks,
    Merged,
    Optimizer,
    Duration,
    Pictures,
    Masks,
    NoiseLoss,
    Machine,
    Sampling,
)


class TrainConfig(
    Sampling,
    Machine,
    NoiseLoss,
    Masks,
    Pictures,
    Duration,
    Optimizer,
    Merged,
    NetworkBlocks,
    NetworkKinds,
    Network,
    CaptionParts,
    Captions,
    Files,
):
    """All settings of one training run; the JSON key is the attribute's name, and an explicit null is the default.

    Building it raises pydantic's ValidationError; `lora_lab.config.check` collects every problem instead.
    """

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        stands_for = {key: null_means(key) if value is None else value for key, value in values.items()}
        found = {key: value for key, value in stands_for.items() if value is not None}
        if "dataset_config" not in found:
            return {"img_folder": "", **found}  # which is refused, as it is too short
        return {key: value for key, value in found.items() if (key, value) != ("img_folder", "")}


def null_means(key: object) -> object:
    """Return the value that an explicit null of that key stands for, or None where it is the default."""
    field = TrainConfig.__pydantic_fields__.get(key) if isinstance(key, str) else None
    return about(field.metadata).null_means if field else None


def about(metadata: list[Any]) -> About:
    """Return the `About` among a field's metadata."""
    return next(item for item in metadata if isinstance(item, About))
