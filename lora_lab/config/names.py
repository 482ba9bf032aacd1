"""Keys that are not ours: other tools' names for them, slips of the hand, and leftovers of old files."""

import difflib
from collections.abc import Mapping
from typing import Final

from lora_lab.config.parameters import PARAMETERS

IGNORED_KEYS: Final = frozenset({"$schema", "list_of_json_to_run"})
"""Accepted without a word: the editor's schema link, and a key that an old tool saved by accident."""

UNSUPPORTED_KEYS: Final[Mapping[str, str]] = {
    "use_lion": 'write "optimizer_type": "Lion" instead',
    "lowram": "leave it out, and save memory with gradient_checkpointing or a smaller batch_size",
}
"""Keys of old files that ask for what is had in another way; false and null are accepted without a word."""

_OTHER_NAMES: Final[Mapping[str, str]] = {
    "optimizer": "optimizer_type",
    "seed": "test_seed",
    "lr": "learning_rate",
    "rank": "net_dim",
    "lora_rank": "net_dim",
    "network_train_unet_only": "unet_only",
}
_NOTES: Final[Mapping[str, str]] = {
    "lr_warmup": " (there it is a percentage: divide by 100)",
    "max_train_epochs": " (there it wins over the steps, here max_steps wins)",
    "epoch": " (max_steps wins over it here)",
}


def _aliases() -> dict[str, str]:
    aliases = {alias: name for name, known in PARAMETERS.items() for alias in known.aliases.values()}
    aliases |= _OTHER_NAMES
    return {alias: name for alias, name in aliases.items() if alias not in PARAMETERS}


ALIASES: Final[Mapping[str, str]] = _aliases()
"""Another tool's name → ours, where they differ."""


def nearest_key(word: str) -> str | None:
    """Return the key that an unknown word probably means, or None: another tool's name first, then a like spelling."""
    folded = word.strip().lstrip("-").replace("-", "_").casefold()
    if folded in PARAMETERS:
        return folded
    if folded in ALIASES:
        return ALIASES[folded]
    close = difflib.get_close_matches(folded[:60], [*PARAMETERS, *ALIASES], n=1, cutoff=0.72)
    return ALIASES.get(close[0], close[0]) if close else None


def note_on(word: str) -> str:
    """Return what to mind when a value moves from another tool's key to ours, "" where it means the same."""
    return _NOTES.get(word, "")
