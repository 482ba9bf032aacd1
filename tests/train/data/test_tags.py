"""Counting tags for the report and the metadata."""

from pathlib import Path

from lora_lab.train.data.folder import Picture
from lora_lab.train.data.tags import count_tags, occurrence_report, tag_frequency

PICTURES = [
    Picture(Path("a.png"), 8, 8, "lumi, Night,smile, lumi", 10, False, "10_x", "a"),
    Picture(Path("b.png"), 8, 8, "lumi,, night", 10, False, "10_x", "b"),
    Picture(Path("c.png"), 8, 8, "lumi", 1, False, "1_y", "c"),
]


def test_report_by_count_and_by_name() -> None:
    """Most frequent first with ties by name, or alphabetical; captions count once and repeats don't."""
    counts = count_tags(PICTURES)
    assert occurrence_report(counts) == "[3] lumi\n[1] Night\n[1] night\n[1] smile\n"
    assert occurrence_report(counts, alphabetical=True) == "[1] Night\n[3] lumi\n[1] night\n[1] smile\n"
    assert occurrence_report({}) == ""


def test_metadata_counts_every_mention_in_lower_case() -> None:
    """ss_tag_frequency is per folder, lower-cased, without repeats."""
    assert tag_frequency(PICTURES) == {"10_x": {"lumi": 3, "night": 2, "smile": 1}, "1_y": {"lumi": 1}}
