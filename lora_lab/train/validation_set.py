"""What a run's validation loss is measured on, in one line: equal lines, comparable losses.

The line names everything that the number depends on besides the LoRA itself: which pictures are held out, their
captions as written, the size that each is judged at, the noise, the base and what it predicts. How a run words a
caption (prefix, clip skip, token limit) is left out: that is the run's own way of asking the same question.
"""

import hashlib
import json

from lora_lab.config import TrainConfig
from lora_lab.tracking.events import NO_VALIDATION
from lora_lab.train.dataset import Dataset
from lora_lab.train.step import Session
from lora_lab.train.validate import TIMESTEPS

LENGTH = 12
"""Hex digits of each part: enough for all the data sets that a person ever has."""


def validation_set(dataset: Dataset, session: Session, config: TrainConfig) -> str:
    """Return `pictures=… captions=… sizes=… noise=… base=… vae=… target=… schedule=…`, or "none"."""
    held_out = dataset.validation
    if held_out is None:
        return NO_VALIDATION
    placed = list(zip(held_out.pictures, held_out.placements, strict=True))
    levels = [f"{float(session.base.alphas_cumprod[timestep]):.4g}" for timestep in TIMESTEPS]
    parts = {
        "pictures": _hash(sorted(picture.digest for picture, _ in placed)),
        "captions": _hash(sorted([picture.digest, picture.caption.partition("\n")[0]] for picture, _ in placed)),
        "sizes": _hash(sorted([picture.digest, *place] for picture, place in placed)),
        "noise": _hash([TIMESTEPS, sorted([picture.digest, picture.item] for picture, _ in placed)]),
        "base": session.base.content[:LENGTH],
        "vae": session.base.vae_hash[:LENGTH],
        "target": "velocity" if config.v_parameterization else "noise",
        "schedule": _hash(levels),
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())


def short_name(judged_on: str) -> str:
    """Return a short name of a validation set: runs with the same one compare by `val_loss`."""
    return judged_on if judged_on == NO_VALIDATION else hashlib.sha256(judged_on.encode()).hexdigest()[:LENGTH]


def _hash(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
