"""The cache on the disk as the trainer uses it: what is damaged is made anew, and without it training goes on."""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from lora_lab import cache_folder
from lora_lab.cache_entry import Block, seal
from lora_lab.cache_folder import default_folder, path_of
from lora_lab.whole_files import write_whole

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}

MOST_MAPPED = 20_000
"""Entries that stay mapped into memory: Linux lets a process have 65,530 mappings (vm.max_map_count)."""


class Store:
    """A folder of entries, shared with all other processes that use it.

    What is read stays on the disk, mapped into memory, so that the workers of a sweep share it. `tell` hears one line
    for what is damaged, for a folder that can't be written, and for what goes to keep the limit.
    """

    def __init__(
        self,
        folder: Path | None = None,
        tell: Callable[[str], None] = lambda line: None,
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Use `folder`, else the usual one; nothing is made there before something is written.

        `about` goes into what is written, for people who ask what takes the room: the `base` and the `data`.
        """
        self.folder = folder or default_folder()
        self._tell = tell
        self._about = about
        self._lock = threading.Lock()
        self._lease: cache_folder.Lease | None = None
        self._mapped = 0
        self._written = 0
        self._writable = True
        self._damaged: list[Path] = []

    def get(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """Return the tensors of an entry; None where there is none, or one that is not what was written."""
        path = path_of(self.folder, kind, key)
        if not path.exists():
            return None
        self._begin()
        try:
            with safetensors.safe_open(path, "pt") as file:
                said = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            whole = said.get("seal") == _seal(key, found)
        except (OSError, safetensors.SafetensorError, KeyError, RuntimeError, ValueError):
            whole = False
        if not whole:
            self._damaged.append(path)
            return None
        with contextlib.suppress(OSError):  # another user's
            os.utime(path)
        self._mapped += len(found)
        return found if self._mapped <= MOST_MAPPED else {name: tensor.clone() for name, tensor in found.items()}

    def put(self, kind: str, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Write an entry, so that a reader sees all of it or nothing.

        Where it can't be written, a line says so once, and nothing more is written.
        """
        if not self._writable:
            return
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        path = path_of(self.folder, kind, key)
        try:
            self._begin()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, save(plain, {**self._about, "key": key, "seal": _seal(key, plain)}))
            self._written += path.stat().st_size
        except OSError as error:
            self._writable = False
            self._tell(
                f"the cache {self.folder} cannot be written ({error.strerror or error}); training goes on without it"
            )

    def settle(self) -> None:
        """Tell what was damaged since the last time and, where something was written, keep the limit."""
        if self._damaged:
            many = f"{len(self._damaged)} entries of the cache were" if len(self._damaged) > 1 else "a cache entry was"
            self._tell(f"{many} damaged and made anew ({self._damaged[0]})")
            self._damaged.clear()
        limit = cache_folder.limit() if self._written else None
        if limit is not None:
            found = cache_folder.entries(self.folder)
            since = cache_folder.in_use_since(self.folder)
            gone = cache_folder.remove(cache_folder.to_remove(found, keep_under=limit, in_use_since=since))
            if gone:
                size = sum(entry.size for entry in gone) / 1e6
                self._tell(f"the cache is full: {len(gone)} entries ({size:.0f} MB) that were not used for longest go")
        self._written = 0

    def close(self) -> None:
        """Say that this process needs nothing of the folder any more."""
        if self._lease is not None:
            self._lease.end()
            self._lease = None

    def _begin(self) -> None:
        with self._lock:
            if self._lease is None:
                with contextlib.suppress(OSError):  # then what this run uses is safe only by its age
                    self._lease = cache_folder.Lease(self.folder)


def _seal(key: str, tensors: Mapping[str, Tensor]) -> str:
    return seal(
        key,
        (
            Block(name, _NAMES[tensor.dtype], tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy())
            for name, tensor in tensors.items()
        ),
    )
