"""What happens to a caption each time its picture is used: dropout, wildcards, shuffling, tag dropout, warm-up."""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_lab.config import TrainConfig

_WILDCARD = re.compile(r"\{([^}]+)\}")
_OPEN, _CLOSE = "\0", "\1"  # stand for {{ and }} while wildcards are looked for


@dataclass(frozen=True)
class CaptionOptions:
    """Caption settings of one run; rates are probabilities, `keep_tokens` counts comma-separated tags.

    `warmup_steps` are optimizer steps, 0 for none; at the first of them `warmup_min` loose tags are shown.
    """

    shuffle: bool = False
    keep_tokens: int = 0
    dropout_rate: float = 0.0
    dropout_every_n_epochs: int | None = None
    tag_dropout_rate: float = 0.0
    prefix: str = ""
    suffix: str = ""
    keep_separator: str = ""
    secondary_separator: str = ""
    wildcards: bool = False
    warmup_min: int = 1
    warmup_steps: int = 0


def from_config(config: "TrainConfig", total_steps: int) -> CaptionOptions:
    """The caption settings that `config` names, for a run of that many steps."""
    warmup = config.token_warmup_step
    return CaptionOptions(
        shuffle=config.shuffle_captions,
        keep_tokens=config.keep_tokens or 0,
        dropout_rate=config.caption_dropout_rate or 0.0,
        dropout_every_n_epochs=config.caption_dropout_every_n_epochs,
        tag_dropout_rate=config.caption_tag_dropout_rate or 0.0,
        prefix=config.caption_prefix or "",
        suffix=config.caption_suffix or "",
        keep_separator=config.keep_tokens_separator or "",
        secondary_separator=config.secondary_separator or "",
        wildcards=config.enable_wildcard,
        warmup_min=config.token_warmup_min,
        warmup_steps=math.floor(warmup * total_steps if warmup < 1 else warmup),
    )


def process(caption: str, options: CaptionOptions, draws: random.Random, *, epoch: int, step: int = 0) -> str:
    """The text to train on, in the order of sd-scripts `process_caption`; `epoch` counts from 1, `step` from 0.

    Whole caption dropped → else one of its lines, with prefix and suffix, and one option of each wildcard → with
    shuffling, tag dropout, warm-up or a separator of kept tags: split into kept and loose tags, the loose ones cut by
    the warm-up, shuffled, thinned; all joined with ", " → secondary separators become commas. Two things differ: prefix
    and suffix are at every line, not at the first and last, and a separator of kept tags never stays in the text.
    """
    every = options.dropout_every_n_epochs
    if draws.random() < options.dropout_rate or (every and epoch % every == 0):
        return ""
    text = _worded(caption, options, draws.choice)
    moves = options.shuffle or options.tag_dropout_rate > 0 or options.warmup_steps
    if not moves and not _is_separated(text, options):
        return _commas(text, options)
    kept, loose, last = _parts(text, options)
    loose = loose[: tags_shown(len(loose), options, step)]
    if options.shuffle:
        draws.shuffle(loose)
    if options.tag_dropout_rate > 0:
        loose = [tag for tag in loose if draws.random() >= options.tag_dropout_rate]
    return _commas(", ".join(kept + loose + last), options)


def plain(caption: str, options: CaptionOptions) -> str:
    """The text without any draw, for validation: first line, first options, nothing moved or dropped, no marks left."""
    text = _worded(caption, options, lambda choices: choices[0])
    if _is_separated(text, options):
        text = ", ".join(tag for part in _parts(text, options) for tag in part)
    return _commas(text, options)


def fixed(caption: str, options: CaptionOptions) -> frozenset[str] | None:
    """Every text that `process` can make of a caption; None where that is too many, as every use may be another."""
    choices = options.wildcards and (
        "\n" in caption or _WILDCARD.search(" ".join((options.prefix, caption, options.suffix)))
    )
    if options.shuffle or options.tag_dropout_rate > 0 or options.warmup_steps or choices:
        return None
    dropped = options.dropout_rate > 0 or options.dropout_every_n_epochs
    return frozenset({plain(caption, options), *([""] if dropped else [])})


def tags_shown(count: int, options: CaptionOptions, step: int) -> int:
    """How many of `count` loose tags the warm-up shows at a step: from its minimum in a straight line to all."""
    if step >= options.warmup_steps:
        return count
    return math.floor(step * ((count - options.warmup_min) / options.warmup_steps)) + options.warmup_min


def _worded(caption: str, options: CaptionOptions, choose: Callable[[list[str]], str]) -> str:
    """One line of the caption with prefix, suffix, and wildcards `{a|b}` replaced; `{{` and `}}` are brackets."""
    line = choose(caption.split("\n")) if options.wildcards else caption
    text = " ".join(part for part in (options.prefix, line, options.suffix) if part)
    if not options.wildcards:
        return text
    hidden = text.replace("{{", _OPEN).replace("}}", _CLOSE)
    chosen = _WILDCARD.sub(lambda match: choose(match[1].split("|")), hidden)
    return chosen.replace(_OPEN, "{").replace(_CLOSE, "}")


def _is_separated(text: str, options: CaptionOptions) -> bool:
    return bool(options.keep_separator) and options.keep_separator in text


def _parts(text: str, options: CaptionOptions) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, loose tags, and tags that stay at the end."""
    if not _is_separated(text, options):
        tags = [tag.strip() for tag in text.split(",")]
        return tags[: options.keep_tokens], tags[options.keep_tokens :], []
    parts = text.split(options.keep_separator, 2)
    kept, loose, *last = ([tag.strip() for tag in part.split(",") if tag.strip()] for part in parts)
    return kept, loose, last[0] if last else []


def _commas(text: str, options: CaptionOptions) -> str:
    return text.replace(options.secondary_separator, ",") if options.secondary_separator else text
