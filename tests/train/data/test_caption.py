"""The caption pipeline: order, what is protected, what stays verbatim."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.train.data.caption import CaptionOptions, plain, process, tags_shown
from lora_lab.train.draws import python_draws

CAPTION = "lumi, white,  ghost ,blue eyes, night, smile"
TAGS = ["lumi", "white", "ghost", "blue eyes", "night", "smile"]


def _uses(options: CaptionOptions, count: int = 200, epoch: int = 1, caption: str = CAPTION) -> list[str]:
    return [process(caption, options, python_draws(7, "caption", use), epoch=epoch) for use in range(count)]


def test_verbatim_without_shuffle_and_tag_dropout() -> None:
    """Odd spaces survive, and keep_tokens alone changes nothing."""
    assert set(_uses(CaptionOptions(keep_tokens=2))) == {CAPTION}


def test_shuffling_keeps_the_first_tags_and_loses_none() -> None:
    """Over 200 shuffles the first two tags stay in front and the set of tags stays the same, with many orders seen."""
    results = [text.split(", ") for text in _uses(CaptionOptions(shuffle=True, keep_tokens=2))]
    assert all(tags[:2] == TAGS[:2] for tags in results)
    assert all(sorted(tags) == sorted(TAGS) for tags in results)
    assert len({tuple(tags) for tags in results}) == 24  # 4! orders of the loose tags


def test_without_keep_tokens_the_trigger_moves() -> None:
    """The first tag is not special on its own."""
    assert len({text.split(", ")[0] for text in _uses(CaptionOptions(shuffle=True))}) == len(TAGS)


def test_keep_tokens_beyond_the_caption_fixes_everything() -> None:
    """With as many kept tags as tags nothing moves and nothing drops."""
    assert set(_uses(CaptionOptions(shuffle=True, keep_tokens=9, tag_dropout_rate=0.9))) == {", ".join(TAGS)}


@given(
    st.lists(st.text(st.characters(exclude_characters=",", codec="utf-8"), max_size=5), max_size=8),
    st.integers(0, 9),
    st.integers(0, 1000),
)
def test_shuffling_preserves_the_multiset(tags: list[str], keep: int, use: int) -> None:
    """Any caption keeps its tags (stripped) and its first ones."""
    options = CaptionOptions(shuffle=True, keep_tokens=keep)
    result = process(",".join(tags), options, python_draws(1, "caption", use), epoch=1).split(",")
    stripped = [tag.strip() for tag in ",".join(tags).split(",")]
    assert Counter(tag.strip() for tag in result) == Counter(stripped)
    assert [tag.strip() for tag in result][:keep] == stripped[:keep]


def test_tag_dropout_drops_each_loose_tag_at_its_rate() -> None:
    """At rate 0.3 each loose tag is missing in about 30 % of 2000 uses, the kept tag never; the order stays."""
    results = [text.split(", ") for text in _uses(CaptionOptions(keep_tokens=1, tag_dropout_rate=0.3), 2000)]
    counts = Counter(tag for tags in results for tag in tags)
    assert counts["lumi"] == 2000
    assert all(abs(counts[tag] / 2000 - 0.7) < 0.05 for tag in TAGS[1:])
    assert all(tags == [tag for tag in TAGS if tag in tags] for tags in results)


def test_tag_dropout_at_1_leaves_only_kept_tags() -> None:
    """Rate 1 drops every loose tag."""
    assert set(_uses(CaptionOptions(keep_tokens=1, tag_dropout_rate=1.0))) == {"lumi"}
    assert set(_uses(CaptionOptions(tag_dropout_rate=1.0))) == {""}


def test_caption_dropout_rate() -> None:
    """At rate 0.25 about a quarter of 2000 captions are empty, the others verbatim; 0 and 1 are exact."""
    results = Counter(_uses(CaptionOptions(dropout_rate=0.25), 2000))
    assert set(results) == {"", CAPTION}
    assert abs(results[""] / 2000 - 0.25) < 0.04
    assert set(_uses(CaptionOptions(dropout_rate=1.0))) == {""}
    assert "" not in _uses(CaptionOptions(dropout_rate=0.0))


def test_every_n_epochs_counts_from_1() -> None:
    """With 3, epochs 3 and 6 are without captions; with 1, all are."""
    options = CaptionOptions(dropout_every_n_epochs=3)
    empty = [epoch for epoch in range(1, 8) if _uses(options, 1, epoch) == [""]]
    assert empty == [3, 6]
    assert _uses(CaptionOptions(dropout_every_n_epochs=1), 1, 1) == [""]


def test_dropout_comes_before_the_tags() -> None:
    """A dropped caption is empty even where tags are kept."""
    assert set(_uses(CaptionOptions(shuffle=True, keep_tokens=2, dropout_rate=1.0))) == {""}


def test_prefix_and_suffix() -> None:
    """Both stand at the caption with a space between, and count as its tags; a dropped caption has neither."""
    options = CaptionOptions(prefix="lumi,", suffix=", drawn")
    assert set(_uses(options, 5, caption="ghost")) == {"lumi, ghost , drawn"}
    kept = CaptionOptions(prefix="lumi,", suffix=", drawn", shuffle=True, keep_tokens=1)
    results = [text.split(", ") for text in _uses(kept, caption="ghost, night")]
    assert all(tags[0] == "lumi" and sorted(tags[1:]) == ["drawn", "ghost", "night"] for tags in results)
    assert len({tuple(tags) for tags in results}) == 6
    assert set(_uses(CaptionOptions(prefix="lumi,", dropout_rate=1.0))) == {""}


def test_separator_of_kept_tags() -> None:
    """Tags before the first mark stay in front, those after the second at the end, those between move and drop."""
    marked = "lumi, , white ||| a, b, c ||| night, sky"
    results = [text.split(", ") for text in _uses(CaptionOptions(shuffle=True, keep_separator="|||"), caption=marked)]
    assert all((tags[:2], tags[-2:]) == (["lumi", "white"], ["night", "sky"]) for tags in results)
    assert {tuple(sorted(tags[2:-2])) for tags in results} == {("a", "b", "c")}
    assert len({tuple(tags) for tags in results}) == 6
    dropped = CaptionOptions(keep_separator="|||", tag_dropout_rate=1.0)
    assert set(_uses(dropped, caption=marked)) == {"lumi, white, night, sky"}


def test_separator_overrides_the_count() -> None:
    """keep_tokens counts only in captions without the mark."""
    options = CaptionOptions(shuffle=True, keep_tokens=2, keep_separator="|||", tag_dropout_rate=1.0)
    assert set(_uses(options, caption="a ||| b, c, d")) == {"a"}
    assert set(_uses(options, caption="a, b, c, d")) == {"a, b"}


def test_separator_never_stays() -> None:
    """The mark is taken out even where nothing moves; a caption without it stays verbatim."""
    options = CaptionOptions(keep_separator="|||")
    assert set(_uses(options, caption="a,b ||| c")) == {"a, b, c"}
    assert set(_uses(options, caption="a,b  c")) == {"a,b  c"}


def test_secondary_separator() -> None:
    """Tags joined by it are one tag to shuffling and dropping, and have commas between them in the end."""
    options = CaptionOptions(shuffle=True, keep_tokens=1, secondary_separator=";;;")
    assert set(_uses(options, caption="a;;;b, c")) == {"a,b, c"}
    assert {"x, a,b", "a,b, x"} == set(
        _uses(CaptionOptions(shuffle=True, secondary_separator=";;;"), caption="a;;;b, x")
    )
    assert set(_uses(CaptionOptions(secondary_separator=";"), caption="a;b")) == {"a,b"}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a {red|blue} cat", {"a red cat", "a blue cat"}),
        ("{a|b}{c|d}", {"ac", "ad", "bc", "bd"}),
        ("{a|}x", {"ax", "x"}),
        ("{{a|b}} {c}", {"{a|b} c"}),
        ("{a|{{b}}}", {"a", "{b}"}),
        ("one\ntwo {x|y}", {"one", "two x", "two y"}),
        ("{} {", {"{} {"}),
    ],
)
def test_wildcards(caption: str, expected: set[str]) -> None:
    """One choice of each bracket, one line of several; doubled brackets are brackets; nothing without the option."""
    assert set(_uses(CaptionOptions(wildcards=True), caption=caption)) == expected
    assert set(_uses(CaptionOptions(), 5, caption=caption)) == {caption}


def test_wildcards_are_drawn_evenly() -> None:
    """Of three choices each comes in about a third of 3000 uses."""
    counts = Counter(_uses(CaptionOptions(wildcards=True), 3000, caption="{a|b|c}"))
    assert all(abs(counts[choice] - 1000) < 100 for choice in "abc")


def test_prefix_is_at_every_line() -> None:
    """Whichever line is drawn, prefix and suffix are at it."""
    options = CaptionOptions(wildcards=True, prefix="p", suffix="{s}")
    assert set(_uses(options, caption="one\ntwo")) == {"p one s", "p two s"}


def test_warm_up() -> None:
    """The number of sd-scripts, floor(step · (n - min) / steps) + min, and all tags from the last step on."""
    options = CaptionOptions(warmup_min=2, warmup_steps=80)
    shown = {step: tags_shown(12, options, step) for step in (0, 7, 8, 40, 79, 80, 1000)}
    assert shown == {0: 2, 7: 2, 8: 3, 40: 7, 79: 11, 80: 12, 1000: 12}


def test_warm_up_cuts_the_end_before_shuffling() -> None:
    """At the first step the first loose tag alone is there, besides the kept ones and those after the last mark."""
    options = CaptionOptions(shuffle=True, keep_tokens=1, warmup_steps=10)
    texts = {process("k, a, b, c", options, python_draws(1, "caption", n), epoch=1, step=0) for n in range(50)}
    assert texts == {"k, a"}
    late = {process("k, a, b, c", options, python_draws(1, "caption", n), epoch=1, step=10) for n in range(50)}
    assert len(late) == 6
    marked = CaptionOptions(keep_separator="|", warmup_steps=10)
    assert process("k | a, b | z", marked, python_draws(1, "caption", 1), epoch=1) == "k, a, z"


def test_fewer_tags_than_the_minimum() -> None:
    """A caption with fewer loose tags than the minimum is whole from the beginning."""
    options = CaptionOptions(warmup_min=9, warmup_steps=10)
    assert all(tags_shown(3, options, step) >= 3 for step in range(12))


def test_plain_has_no_draw_and_no_mark() -> None:
    """For validation: first line and choices, prefix and suffix, nothing moved or dropped; without options verbatim."""
    options = CaptionOptions(
        shuffle=True,
        tag_dropout_rate=1.0,
        dropout_rate=1.0,
        wildcards=True,
        prefix="p,",
        suffix=", s",
        keep_separator="|||",
        secondary_separator=";;;",
        warmup_steps=9,
    )
    assert plain("a ||| {b|c};;;d\nother", options) == "p, a, b,d, s"
    assert plain(CAPTION, CaptionOptions(shuffle=True, tag_dropout_rate=0.5, keep_tokens=1)) == CAPTION
