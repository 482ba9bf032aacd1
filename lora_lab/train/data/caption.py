"""What happens to a caption each time its picture is used: dropout, shuffling, tag dropout."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_lab.config import TrainConfig


@dataclass(frozen=True)
class CaptionOptions:
    """Caption settings of one run; rates are probabilities, `keep_tokens` counts comma-separated tags."""

    shuffle: bool = False
    keep_tokens: int = 0
    dropout_rate: float = 0.0
    dropout_every_n_epochs: int | None = None
    tag_dropout_rate: float = 0.0


def from_config(config: "TrainConfig") -> CaptionOptions:
    """The caption settings that `config` names."""
    return CaptionOptions(
        shuffle=config.shuffle_captions,
        keep_tokens=config.keep_tokens or 0,
        dropout_rate=config.caption_dropout_rate or 0.0,
        dropout_every_n_epochs=config.caption_dropout_every_n_epochs,
        tag_dropout_rate=config.caption_tag_dropout_rate or 0.0,
    )


def process(caption: str, options: CaptionOptions, draws: random.Random, *, epoch: int) -> str:
    """The text to train on, in the order of sd-scripts `process_caption`; `epoch` counts from 1.

    Whole caption dropped → else, only with shuffling or tag dropout: split at commas, keep the first `keep_tokens`,
    shuffle and thin the rest, join with ", ". Otherwise the caption is used verbatim.
    """
    every = options.dropout_every_n_epochs
    if draws.random() < options.dropout_rate or (every and epoch % every == 0):
        return ""
    if not options.shuffle and options.tag_dropout_rate <= 0:
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    kept, loose = tags[: options.keep_tokens], tags[options.keep_tokens :]
    if options.shuffle:
        draws.shuffle(loose)
    if options.tag_dropout_rate > 0:
        loose = [tag for tag in loose if draws.random() >= options.tag_dropout_rate]
    return ", ".join(kept + loose)
