"""The caption pipeline: order, what is protected, what stays verbatim."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lora_lab.train.data.caption import CaptionOptions, process
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
