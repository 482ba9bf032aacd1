"""Which runs can be compared: a validation loss says something only beside others measured on the same thing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lora_lab.sweep.grid import label
from lora_lab.sweep.run_folder import CONFIG
from lora_lab.tracking.events import NO_VALIDATION

OF_THE_VALIDATION: Final = frozenset({"val_loss", "best_val_loss"})
"""Metrics that are measured on the held-out pictures; all others compare whatever is held out."""

JUDGING: Final = (
    *("base_model", "vae", "v2", "v_parameterization", "zero_terminal_snr"),
    *("img_folder", "reg_img_folder", "caption_extension", "validation_split", "validation_seed"),
    *("train_resolution", "buckets", "min_bucket_resolution", "max_bucket_resolution"),
    *("bucket_reso_steps", "bucket_no_upscale"),
)
"""The parameters that decide what a validation loss is measured on."""

_WORDS: Final[Mapping[str, str]] = {
    "pictures": "other pictures are held out",
    "captions": "the held-out pictures have other captions",
    "sizes": "the held-out pictures are judged at other sizes",
    "noise": "the held-out pictures have other names, which decide their noise",
    "base": "the base model is another one",
    "vae": "the VAE is another one",
    "target": "what is predicted is something else",
    "schedule": "the noise schedule is another one",
}


@dataclass(frozen=True)
class Judging:
    """What a run is judged on: `told` by its training (the tag `VALIDATION_SET`; "" in records of earlier versions).

    `settings` are the values of `JUDGING`, as far as they are known: they tell of earlier records, and say why.
    """

    told: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparable:
    """Which of several runs compare. `letters` has one for each run: "A" is the largest group, "" can't be ranked.

    `reasons` say, for every letter but "A", why its runs do not compare with those of "A".
    """

    letters: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_alike(self) -> bool:
        """Whether every run that can be ranked compares with every other."""
        return not self.reasons


def mixed(metric: str, axes: Sequence[str]) -> str:
    """Say in a line that a sweep's runs will not all compare, where it varies what they are judged on; else ""."""
    deciding = [axis for axis in axes if axis in JUDGING] if metric in OF_THE_VALIDATION else []
    if not deciding:
        return ""
    names = ", ".join(deciding)
    return f"{names} decides what {metric} is measured on: only runs with the same are ranked together"


def judging_of(told: str, folder: Path) -> Judging:
    """Return what the run in a folder is judged on; its settings are those of the `config.json` there."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return Judging(told, settings_of(values) if isinstance(values, dict) else {})
    except (OSError, ValueError, RecursionError):
        return Judging(told)


def settings_of(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that decide what a validation loss is measured on."""
    return {key: values[key] for key in JUDGING if key in values}


def comparable(metric: str, runs: Sequence[tuple[Judging, bool]]) -> Comparable:
    """Return which runs compare by a metric; of each its judging, and whether it has the metric.

    A run without the metric, or without held-out pictures where the metric needs them, is in no group.
    """
    if metric not in OF_THE_VALIDATION:
        return Comparable(tuple("A" if measured else "" for _, measured in runs))
    known = {_text(judging.settings): judging.told for judging, _ in runs if judging.told and judging.settings}
    keys = [_key(judging, known) if measured else "" for judging, measured in runs]
    found = [key for key in keys if key]
    order = sorted(dict.fromkeys(found), key=lambda key: -found.count(key))
    letters = {key: _letter(place) for place, key in enumerate(order)}
    examples = {key: judging for (judging, _), key in zip(reversed(runs), reversed(keys), strict=True)}
    reasons = {letters[key]: why(examples[key], examples[order[0]]) for key in order[1:]}
    return Comparable(tuple(letters.get(key, "") for key in keys), reasons)


def _key(judging: Judging, known: Mapping[str, str]) -> str:
    """Return what is equal for runs that compare.

    The record of an earlier version goes with newer ones of the same settings, else with its like.
    """
    if judging.told == NO_VALIDATION:
        return ""
    return judging.told or known.get(_text(judging.settings)) or f"settings {_text(judging.settings)}"


def why(one: Judging, other: Judging) -> str:
    """Say in a few words why one run's validation loss does not compare with another's."""
    differs = [
        f"{key} {_short(one.settings[key])}, not {_short(other.settings[key])}"
        for key in JUDGING
        if key in one.settings and key in other.settings and one.settings[key] != other.settings[key]
    ]
    if differs:
        return "; ".join(differs)
    if not one.told or not other.told:
        return "an earlier version of lora_lab trained some of them and did not record what they are judged on"
    ours, theirs = _parts(one.told), _parts(other.told)
    said = [words for part, words in _WORDS.items() if ours.get(part) != theirs.get(part)]
    return "; ".join(said) or "they are judged on something else"


def _parts(told: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in told.split())


def _text(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _short(value: object) -> str:
    """Return a value in a few letters: of a long path its end."""
    text = label(value)
    return text if len(text) <= 40 else f"…{text[-39:]}"


def _letter(place: int) -> str:
    """Return A, B, …, Z, AA, AB, …"""
    before, last = divmod(place, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)
