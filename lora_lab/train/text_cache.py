"""The frozen text encoder's outputs, kept by what they depend on: the ids of the text that is used, and the encoder.

So they are right however captions are shuffled, dropped or drawn: another text is another entry. Each text is encoded
alone, so that an output depends on nothing else in its batch, and a run that goes on has the same one.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lora_lab.train.data.store import Store
from lora_lab.train.families.base import Encoded

KIND = "texts"
LIMIT = 1 << 30
"""Bytes of main memory at most; what was not asked for longest goes first, and is encoded again if it comes back."""

Encode = Callable[[Tensor, int], Encoded]
"""(ids (1, ...), clip_skip) → the encoder's output."""


class TextCache:
    """Outputs by text; `encoder` names the encoder's weights and precision."""

    def __init__(self, encoder: str = "", limit: int = LIMIT) -> None:
        self._encoder = encoder
        self._limit = limit
        self._known: OrderedDict[str, Encoded] = OrderedDict()
        self._bytes = 0
        self.computed = 0

    def of(self, ids: Tensor, clip_skips: Sequence[int], encode: Encode, store: Store | None = None) -> Encoded:
        """The outputs for ids (n, ...) on the device of training, one `clip_skip` each; `store` keeps them on disk."""
        rows = [self._one(ids[place], skip, encode, store) for place, skip in enumerate(clip_skips)]
        return _moved(Encoded.join(rows), ids.device)

    def key_of(self, ids: Tensor, clip_skip: int) -> str:
        """The content address of one text, 64 hex digits; the shape of its ids tells the token limit."""
        parts = [self._encoder, clip_skip, list(ids.shape), ids.flatten().tolist()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _one(self, ids: Tensor, clip_skip: int, encode: Encode, store: Store | None) -> Encoded:
        key = self.key_of(ids, clip_skip)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = _read(store, key) if store else None
        if found is None:
            with torch.no_grad():
                found = _moved(encode(ids[None], clip_skip), torch.device("cpu"))
            self.computed += 1
            if store:
                parts = {"states": found.states, "pooled": found.pooled}
                store.put(KIND, key, {name: part for name, part in parts.items() if part is not None})
        self._keep(key, found)
        return found

    def _keep(self, key: str, one: Encoded) -> None:
        self._known[key] = one
        self._bytes += _size(one)
        while self._bytes > self._limit and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= _size(oldest)


def _moved(one: Encoded, device: torch.device) -> Encoded:
    return Encoded(one.states.to(device), None if one.pooled is None else one.pooled.to(device))


def _size(one: Encoded) -> int:
    return sum(part.nbytes for part in (one.states, one.pooled) if part is not None)


def _read(store: Store, key: str) -> Encoded | None:
    entry = store.get(KIND, key) or {}
    return Encoded(entry["states"], entry.get("pooled")) if "states" in entry else None
