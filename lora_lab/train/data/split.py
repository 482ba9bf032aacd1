"""Holding pictures out of training for the validation loss."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from lora_lab.failure import Failure
from lora_lab.train.data.folder import Picture
from lora_lab.train.draws import seed_of


def split_validation(
    pictures: Sequence[Picture],
    split: float | Sequence[float],
    seed: int,
    same: Mapping[str, str] | None = None,
) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """(training, validation): round(n · split) pictures of each subset, at least one in all, are held out.

    `split` is one share for all, or that of each of the folders that a data set file names; whatever lies in several of
    them is on one side in all.

    A picture's rank is a hash of `seed` and its *content*: renaming, moving or reordering files changes nothing, and
    identical files are always on the same side (so a count can be missed where a folder has copies). Regularisation
    pictures are never held out, nor is what has their content. `same` maps content hashes to the one that stands for
    them (see `twins`): what is the same is on the same side too. At least one training picture stays. Raises Failure if
    `split` > 0 and there are not two different pictures.
    """
    share_of = {one.part: split if isinstance(split, int | float) else split[one.part] for one in pictures}
    if not any(share_of.values()):
        return tuple(pictures), ()
    content_of = {picture.digest: (same or {}).get(picture.digest, picture.digest) for picture in pictures}
    regularisation = {content_of[picture.digest] for picture in pictures if picture.is_reg}
    candidates = [picture for picture in pictures if content_of[picture.digest] not in regularisation]
    asked = {content_of[picture.digest] for picture in candidates if share_of[picture.part]}
    ranked = sorted(asked, key=lambda content: seed_of(seed, "split", content))
    if len(ranked) < 2:
        raise Failure(
            f"validation_split {max(share_of.values()):g} needs two different pictures, the data set has {len(ranked)}",
            "add pictures or set validation_split to 0",
        )
    found = [((one.part, one.subset), content_of[one.digest]) for one in candidates]
    held_out = _quotas_filled(found, share_of, ranked) or {ranked[0]}
    if len(held_out) == len(ranked):
        held_out.remove(ranked[-1])
    training = tuple(picture for picture in pictures if content_of[picture.digest] not in held_out)
    validation = tuple(picture for picture in candidates if content_of[picture.digest] in held_out)
    return training, validation


def _quotas_filled(
    candidates: Sequence[tuple[tuple[int, str], str]], share_of: Mapping[int, float], ranked: Sequence[str]
) -> set[str]:
    """Content hashes to hold out of ((part, subset), hash), subset by subset.

    A content that would overfill its subset's quota is passed over.
    """
    copies: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for subset, content in candidates:
        copies[subset][content] += 1
    held_out: set[str] = set()
    for subset in sorted(copies):
        count = copies[subset]
        quota = math.floor(sum(count.values()) * share_of[subset[0]] + 0.5)
        free = quota - sum(count[content] for content in held_out & set(count))
        for content in ranked:
            if content not in held_out and 0 < count.get(content, 0) <= free:
                held_out.add(content)
                free -= count[content]
    return held_out
