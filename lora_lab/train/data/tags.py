"""How often each tag occurs in the captions: for the report beside the LoRA and for its metadata."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from lora_lab.train.data.folder import Picture

_BETWEEN_TAGS = re.compile(r"[,\n]")  # captions of several lines have a line for each choice


def count_tags(pictures: Iterable[Picture]) -> Counter[str]:
    """Captions that carry a tag, per tag; repeats don't count, nor does a tag's second mention in one caption."""
    counts: Counter[str] = Counter()
    for picture in pictures:
        counts.update({tag.strip() for tag in _BETWEEN_TAGS.split(picture.caption)} - {""})
    return counts


def occurrence_report(counts: Mapping[str, int], alphabetical: bool = False) -> str:
    """One line `[count] tag` per tag, most frequent first (ties by tag), or sorted by tag."""
    by_count = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = sorted(counts.items()) if alphabetical else by_count
    return "".join(f"[{count}] {tag}\n" for tag, count in rows)


def tag_frequency(pictures: Iterable[Picture]) -> dict[str, dict[str, int]]:
    """`ss_tag_frequency` as sd-scripts writes it: per subset, lower-cased tags with every mention counted once."""
    frequency: dict[str, dict[str, int]] = {}
    for picture in pictures:
        counts = frequency.setdefault(picture.subset, {})
        for tag in _BETWEEN_TAGS.split(picture.caption):
            name = tag.strip().lower()
            if name:
                counts[name] = counts.get(name, 0) + 1
    return frequency
