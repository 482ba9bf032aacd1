"""How many tokens CLIP's tokenizer makes of a caption, and which of its words lie beyond a limit.

The byte-pair encoding of Radford et al. 2021 (github.com/openai/CLIP, clip/simple_tokenizer.py), as transformers'
`CLIPTokenizer` has it; all Stable Diffusion families with a CLIP share this vocabulary. Neither transformers nor
tokenizers (which brings a hub client along) can be asked of a linter; counting needs the merges alone.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise

from lora_lab.config import resolve_path
from lora_lab.config.paths import PACKAGE, SCHEME

MERGES = f"{SCHEME}quickstart/base/tokenizer/merges.txt"

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_WIDE_SPACES = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_SPACE = re.compile(f"[\t\n\x0b\x0c\r {_WIDE_SPACES}]+")
_MARKS = re.compile("|".join(map(re.escape, _SPECIAL)))
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\t\n\x0b\x0c\r a-z0-9]+"
_ASCII_WORD = re.compile(_WORD)
_ASCII_PIECE = re.compile(rf"<\|startoftext\|>|<\|endoftext\|>|{_WORD}| ")


def most_tokens(text: str) -> int:
    """Return how many tokens a text has at most, cheaply: one for each byte that is no space."""
    small = text if text.isascii() else "".join(map(str.lower, unicodedata.normalize("NFC", text)))
    return len(small.encode("utf-8", "replace")) - small.count(" ")


def count_tokens(text: str) -> int:
    """Return how many tokens a text has, without those that begin and end it."""
    if text.isascii() and "<|" not in text:  # most captions: the same, without the way around other alphabets
        return sum(map(_tokens_of, _ASCII_WORD.findall(text.lower())))
    return sum(tokens for _, _, tokens in _pieces(text))


def beyond(text: str, limit: int) -> str:
    """Return the end of a text that a limit of tokens cuts off, from the first word that is not whole; "" for none.

    It is given as the tokenizer sees it: in small letters, with one space between words.
    """
    left, found = limit, ""
    for piece, gap, tokens in _pieces(text):
        left -= tokens
        if left < 0:
            found += (" " if gap and found else "") + piece
    return found.strip(" ,.;")


def _pieces(text: str) -> Iterator[tuple[str, bool, int]]:
    """Yield the pieces that the tokenizer never joins, with whether a space stands before, and their tokens."""
    at = 0
    for mark in _MARKS.finditer(text):  # only as it is written, before letters are made small
        yield from _words(text[at : mark.start()])
        yield mark[0], True, 1
        at = mark.end()
    yield from _words(text[at:])


def _words(text: str) -> Iterator[tuple[str, bool, int]]:
    """Yield the pieces of a text in which nothing is special."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    normal = "".join(map(str.lower, _SPACE.sub(" ", composed)))
    spaced = True
    for piece in _ASCII_PIECE.findall(normal) if normal.isascii() else _split(normal):
        if piece == " ":
            spaced = True
            continue
        yield piece, spaced, sum(map(_tokens_of, _parts(piece)))
        spaced = False


def _parts(piece: str) -> tuple[str, ...]:
    """Return a piece as it is encoded: special marks with capitals in them fall into three, as any text would."""
    return (piece[:2], piece[2:-2], piece[-2:]) if piece in _SPECIAL else (piece,)


def _split(text: str) -> Iterator[str]:
    """Yield the pieces of a text that is normal already, single spaces among them."""
    at = 0
    while at < len(text):
        end = _piece_end(text, at)
        yield text[at:end]
        at = end


def _piece_end(text: str, at: int) -> int:
    """Return where the piece that starts at an offset ends."""
    for fixed in (*_SPECIAL, *_ENDINGS):
        if text.startswith(fixed, at):
            return at + len(fixed)
    kind = _kind(text[at])
    end = at + 1
    if kind in "LO":
        while end < len(text) and _kind(text[end]) == kind:
            end += 1
    return end


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    """Return L for a letter, N for a number, Z for a space, O for anything else."""
    if char == " ":
        return "Z"
    category = unicodedata.category(char)[0]
    return category if category in "LN" else "O"


@lru_cache(maxsize=65_536)
def _tokens_of(piece: str) -> int:
    """Return how many tokens a piece becomes: the pair of lowest rank is joined until no pair has a rank."""
    ranks, letters = _merges(), _letters()
    word = [letters[byte] for byte in piece.encode("utf-8", "replace")]
    word[-1] += "</w>"
    while len(word) > 1:
        best = min(pairwise(word), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        word = _joined(word, best)
    return len(word)


def _joined(word: list[str], pair: tuple[str, str]) -> list[str]:
    """Return the word with every occurrence of a pair joined, from the left."""
    found: list[str] = []
    at = 0
    while at < len(word):
        if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
            found.append(pair[0] + pair[1])
            at += 2
        else:
            found.append(word[at])
            at += 1
    return found


@cache
def _merges() -> dict[tuple[str, str], int]:
    """Return the rank of each pair that is joined; the package holds the table beside its small base model."""
    lines = resolve_path(MERGES, PACKAGE).read_text("utf-8").split("\n")[1:]
    return {(pair[0], pair[2]): rank for rank, line in enumerate(lines) if (pair := line.partition(" "))[2]}


@cache
def _letters() -> dict[int, str]:
    """Return GPT-2's map from bytes to printable letters (Radford et al. 2019), in which the table is written."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
