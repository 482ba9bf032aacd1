"""Tokens are counted as transformers' CLIPTokenizer makes them."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.config import resolve_path
from lora_lab.config.paths import PACKAGE
from lora_lab.lint.clip_tokens import MERGES, beyond, count_tokens, most_tokens

TEXTS = [
    "",
    " ",
    "a cat",
    "1girl, solo, long_hair, looking_at_viewer, :d, ^_^, >:3",
    "saber_(fate), hatsune miku (vocaloid), re:zero",
    "(blue eyes:1.3), [red|green], {a|b|c}, __colour__, <lora:thing:0.8>, AND, BREAK",
    "it's we'll THEY'RE 'tis rock'n'roll ''s I've you'd I'm don't",
    "A photograph of 2 dogs, 12345 steps, f/1.8, 35mm, 4k, 8K UHD",
    "日本語のキャプション、猫 と 犬",
    "кошка на стуле, Ελληνικά ΑΣ ΟΔΟΣ, İstanbul ǅ ﬁ",
    "e\u0301 \u00e9 A\u030a Å ½ ² Ⅷ ٣ 一",
    "😀😀 ok 👩‍👩‍👧 🏳️‍🌈 ♥ →",
    "tab\tand\nbreak\u2003wide\u00a0hard\u200bzero\x1cold",
    "<|endoftext|> a<|startoftext|>b <|EndOfText|> !<|endoftext|>!",
    "word" * 60,
    "!!!!????....,,,,----",
]

_anything = st.one_of(
    st.characters(exclude_categories=("Cs", "Cn")),
    st.sampled_from(
        [*"aeZ ,()_{}|<>:!.'’019\t\n", "'s", "'LL", "<|endoftext|>", "<|EndOfText|>", "😀", "e\u0301", "Σ"]
    ),
)
texts = st.lists(_anything, max_size=60).map("".join)


@cache
def tokenizer() -> Any:
    """Return the tokenizer of the package's own base model."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(resolve_path(MERGES, PACKAGE).parent)


def truth(text: str) -> list[int]:
    """Return the ids that transformers makes of a text, without begin and end."""
    ids: list[int] = tokenizer()(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("text", TEXTS)
def test_count(text: str) -> None:
    """Tags, sentences, other alphabets, signs, emoji, the syntax of prompts."""
    assert count_tokens(text) == len(truth(text))


@settings(max_examples=500)
@given(texts)
def test_count_of_anything(text: str) -> None:
    """Any text has as many tokens as transformers makes of it, and no more than the cheap bound says."""
    assert count_tokens(text) == len(truth(text))
    assert count_tokens(text) <= most_tokens(text)


@settings(max_examples=200)
@given(texts, st.integers(0, 30))
def test_what_lies_beyond(text: str, limit: int) -> None:
    """Something is shown as cut off exactly where there are more tokens than the limit, signs alone apart."""
    lost = beyond(text, limit)
    if lost:
        assert count_tokens(text) > limit
    if count_tokens(text) <= limit:
        assert lost == ""


@pytest.mark.parametrize(
    ("text", "limit", "lost"),
    [
        ("a cat, with Blue_eyes (sitting) on a chair's back", 6, "eyes (sitting) on a chair's back"),
        ("one two three", 2, "three"),
        ("one two three", 3, ""),
        ("one,  two ,\tthree.", 3, "three"),
        ("Grün, größer", 4, "größer"),
    ],
)
def test_lost_words(text: str, limit: int, lost: str) -> None:
    """The lost words read as they were written, in small letters, from the first that is not whole."""
    assert beyond(text, limit) == lost


def test_lost_words_are_those_of_the_tokenizer() -> None:
    """What is left out of the ids that the trainer gets, decoded, is what is shown."""
    text = ", ".join(f"tag number{i}" for i in range(30))
    limit = 75
    decoded = tokenizer().decode(truth(text)[limit:])
    assert decoded.replace(" ", "").strip(",").endswith(beyond(text, limit).replace(" ", ""))
    assert beyond(text, limit).endswith("tag number29")
