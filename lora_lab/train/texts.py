"""Which texts a run can use, and their token ids, kept on the disk: a run that knows them all needs no tokenizer."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lora_lab.train.data import caption
from lora_lab.train.data.batches import AdapterOptions, Tokenize
from lora_lab.train.data.folder import Picture
from lora_lab.train.data.store import Store
from lora_lab.train.families.base import Base, Family

Ids = Mapping[tuple[str, int], Tensor]
"""(text, limit in tokens) → ids (..., chunks, 77)."""


def texts_of(
    training: Iterable[Picture], held_out: Iterable[Picture], options: Sequence[AdapterOptions]
) -> list[tuple[str, int]] | None:
    """Every (text, limit) that the runs of a pack can ask for, sorted.

    None where captions change with each use, or have weights, which only the tokenizer can tell.
    """
    found: set[tuple[str, int]] = set()
    for one in options:
        limit = one.max_clip_token_length
        for picture in training:
            texts = caption.fixed(picture.caption, one.of(picture).captions)
            if texts is None or one.weighted:
                return None
            found |= {(text, limit) for text in texts}
        found |= {(caption.plain(picture.caption, one.of(picture).captions), limit) for picture in held_out}
    return sorted(found)


def known_ids(wanted: Sequence[tuple[str, int]], base: tuple[Family, Base], tokenize: Tokenize, store: Store) -> Ids:
    """The ids of texts, from one entry of `store`, which is written where there is none.

    It is named after the texts, the tokenizers' files and the library that reads them.
    """
    family, model = base
    files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in family.tokenizer_files(model)]
    library = importlib.metadata.version("transformers")
    key = hashlib.sha256(json.dumps([family.name, files, library, wanted]).encode()).hexdigest()
    ids = (store.get("ids", key) or {}).get("ids")
    if ids is None:
        ids = torch.stack([tokenize(text, limit) for text, limit in wanted])
        store.put("ids", key, {"ids": ids})
    return dict(zip(wanted, ids, strict=True))
