"""Tokens, keys and passwords in texts: found, so that they can be told of, and shown as stars."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_KINDS: Final = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,60}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})\b",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,60}",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,200}",
    "an AWS key": r"\bAKIA[A-Z0-9]{16}\b",
    "an API key": r"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{32,200}",
    "a private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----",
    "a password in an address": r"(?<=://)[^\s/:@\"'<>{}$%]{1,100}:[^\s/@\"'<>{}$%]{1,200}(?=@)",
    "a key or token": (
        r"(?i:(?<=api_key)|(?<=api-key)|(?<=apikey)|(?<=hf_token)|(?<=hub_token)|(?<=face_token)|(?<=access_token))"
        r"[\"']?[ \t]{0,9}[ =:][ \t]{0,9}[\"']?(?P<value>(?=[A-Za-z]{0,200}[0-9])[A-Za-z0-9_-]{20,200})"
    ),
}
"""Forms that their makers publish, each by its own beginning or place; a long word alone is no secret."""

_ANY = re.compile("|".join(f"(?P<k{number}>{pattern})" for number, pattern in enumerate(_KINDS.values())))
_NAMES = {f"k{number}": name for number, name in enumerate(_KINDS)}
_STARTS = re.compile(r"hf_|gh[pousr]_|github_pat|glpat|xox|AKIA|sk-|PRIVATE KEY|://|(?i:key|token)")
"""What at least is in a text that holds a secret: most have none of it."""


class Secret(NamedTuple):
    """Where in a text something secret stands, and what it is."""

    start: int
    end: int
    what: str


def secrets_in(text: str) -> Iterator[Secret]:
    """Yield what gives access to something, in the order of the text."""
    if _STARTS.search(text):
        for found in _ANY.finditer(text):
            kind = next(name for name in _NAMES if found[name])
            part = "value" if found["value"] else kind
            yield Secret(found.start(part), found.end(part), _NAMES[kind])


def masked(text: str) -> str:
    """Return the text with stars for what is secret, as many as it has letters."""
    parts, at = [], 0
    for start, end, _ in secrets_in(text):
        parts += [text[at:start], "*" * (end - start)]
        at = end
    return "".join([*parts, text[at:]]) if parts else text
