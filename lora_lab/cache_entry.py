"""What an entry of the cache looks like inside: a safetensors file that names itself and seals its content."""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lora_lab.cache_folder import Entry

_LARGEST_HEADER = 1 << 20
_BITS = {"F32": (4, 0x7F800000), "F16": (2, 0x7C00), "BF16": (2, 0x7F80), "I64": (8, None)}
"""Bytes of a number, and the bits of its exponent: all of them are set in what is not finite (IEEE 754)."""


class Block(NamedTuple):
    """One tensor: name, dtype as safetensors calls it, shape, bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: Any


def seal(key: str, blocks: Iterable[Block]) -> str:
    """Return the SHA-256 of an entry's name and all that its tensors are."""
    digest = hashlib.sha256(key.encode())
    for block in sorted(blocks, key=lambda block: block.name):
        digest.update(json.dumps([block.name, block.dtype, list(block.shape)]).encode())
        digest.update(block.content)
    return digest.hexdigest()


def about(path: Path) -> Mapping[str, str]:
    """Return what an entry's header says of it: `base`, `data`; nothing where it can't be read."""
    try:
        with path.open("rb") as file:
            header, _ = _header(file.read(8), file.read)
    except (OSError, ValueError):
        return {}
    said = header.get("__metadata__")
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def fault(entry: Entry) -> str | None:
    """Say what is wrong with an entry, or None: whether it is readable, whole, itself, and all its numbers finite."""
    if entry.path.name.startswith("."):
        return "left unfinished by a crash"
    try:
        content = entry.path.read_bytes()
        return _hash_fault(content) if entry.kind == "hashes" else _fault(entry.path.stem, content)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is damaged"


def _hash_fault(content: bytes) -> str | None:
    known = json.loads(content)
    return None if isinstance(known, str) and len(bytes.fromhex(known)) == 32 else "is damaged"


def _fault(key: str, content: bytes) -> str | None:
    view = memoryview(content)
    header, start = _header(content[:8], lambda size: content[8 : 8 + size])
    said = header.pop("__metadata__", None)
    if not isinstance(said, dict) or "seal" not in said:
        return "is another program's file"
    if said.get("key") != key:
        return "is another entry's file"
    blocks = []
    for name, block in header.items():
        first, last = block["data_offsets"]
        blocks.append(Block(name, block["dtype"], tuple(block["shape"]), view[start + first : start + last]))
    if not blocks or seal(key, blocks) != said["seal"] or start + sum(len(b.content) for b in blocks) != len(content):
        return "is damaged"
    return None if all(_finite(block) for block in blocks) else "holds numbers that are not finite"


def _header(length: bytes, read: Any) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and where its data begins. Raises ValueError."""
    if len(length) != 8 or (size := struct.unpack("<Q", length)[0]) > _LARGEST_HEADER:
        raise ValueError("no safetensors file")
    header = json.loads(read(size))
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header, 8 + size


def _finite(block: Block) -> bool:
    import numpy  # only where the trainer is, which wrote the entry

    width, exponent = _BITS[block.dtype]
    if exponent is None:
        return True
    bits = numpy.frombuffer(block.content, dtype=f"<u{width}")
    return not bool(((bits & exponent) == exponent).any())
