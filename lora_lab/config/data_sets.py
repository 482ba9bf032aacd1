"""What a run trains on, when a data set file says it: several data sets, each with its sizes, and their folders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lora_lab.config.train_config import TrainConfig

OF_A_FOLDER: Final = (
    *("caption_extension", "shuffle_captions", "keep_tokens", "keep_tokens_separator", "secondary_separator"),
    *("enable_wildcard", "token_warmup_min", "token_warmup_step", "caption_prefix", "caption_suffix"),
    *("caption_dropout_rate", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate"),
    *("color_aug", "flip_aug", "random_crop"),
)
"""Our keys that each folder of a data set file may set for itself, and the levels above for all of their folders."""

OF_ONE_FOLDER: Final = ("mask_folder", "alpha_mask")
"""Our keys that only a folder itself may set."""

OF_A_DATA_SET: Final = (
    *("batch_size", "train_resolution", "buckets", "min_bucket_resolution", "max_bucket_resolution"),
    *("bucket_reso_steps", "bucket_no_upscale", "validation_split", "validation_seed"),
)
"""Our keys that a data set may set for all of its pictures."""


@dataclass(frozen=True)
class Subset:
    """One folder of pictures. `settings` are our keys with the values that hold for it, whatever the run says.

    `class_tokens` is the caption of a picture without one.
    """

    folder: Path
    repeats: int = 1
    class_tokens: str = ""
    is_reg: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)

    def of(self, config: TrainConfig) -> TrainConfig:
        """Return the run's settings as they are for this folder."""
        return config.model_copy(update=dict(self.settings))


@dataclass(frozen=True)
class DataSet:
    """Folders that share sizes and buckets. No batch has pictures of two data sets."""

    subsets: tuple[Subset, ...]
    settings: Mapping[str, object] = field(default_factory=dict)

    def of(self, config: TrainConfig) -> TrainConfig:
        """Return the run's settings as they are for this data set."""
        return config.model_copy(update=dict(self.settings))
